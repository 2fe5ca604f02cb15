import autocannon from 'autocannon';
import { startRedis } from '../test/support/redis-server';
import { Child } from './child';
import { type CpuPlan, pin } from './machine';
import { judge, type Part } from './report';
import { type Effort, interleave, type Sample } from './rounds';

const CONNECTIONS = 32;

/**
 * The server program of each framework, the names that it knows the contestants by, and what is wanted of the first to
 * the second.
 */
const FRAMEWORKS = {
  express: {
    program: 'express-server.ts',
    title: 'Express 5',
    contestants: [
      'bare',
      'tokensession, cached',
      'tokensession',
      'GETEX',
      'express-session',
      'express-session, not rolling',
    ],
    wanted: [
      ['tokensession, cached', 'bare', 0.95],
      ['tokensession', 'express-session', 1.5],
    ],
  },
  koa: {
    program: 'koa-server.ts',
    title: 'Koa 3',
    contestants: ['bare', 'tokensession, cached', 'tokensession', 'GETEX', 'koa-session'],
    wanted: [
      ['tokensession, cached', 'bare', 0.85],
      ['tokensession', 'koa-session', 2.5],
    ],
  },
  node: {
    program: 'node-server.ts',
    title: 'node:http',
    contestants: ['bare', 'tokensession, cached', 'tokensession', 'GETEX'],
    wanted: [],
  },
} as const;

/** Each server in a process of its own, and all on one Redis; 32 connections, each of another user. */
export function benchHttp(framework: keyof typeof FRAMEWORKS) {
  const { program, title, contestants, wanted } = FRAMEWORKS[framework];
  return async ({ httpRounds, httpMs }: Effort, cpus: CpuPlan): Promise<Part> => {
    const redis = await startRedis();
    pin(redis.pid, cpus.redis);
    const servers = new Map<string, Server>();
    try {
      for (const name of contestants) {
        servers.set(name, await startServer(program, name, redis.url, cpus.measured));
      }
      await checkHeaders([...servers.values()]);
      const samples = await interleave(contestants, { rounds: httpRounds, warmUp: true }, (name) =>
        measure(servers.get(name) as Server, httpMs),
      );
      return {
        title: `${title}: a request of a signed-in user, ${CONNECTIONS} connections`,
        metrics: [
          { name: 'requestsPerSecond', label: 'requests/s', digits: 0 },
          { name: 'cpuMicros', label: 'server CPU µs/request', digits: 1 },
          { name: 'busyPercent', label: 'server busy %', digits: 0 },
        ],
        samples,
        targets: wanted.map(([ours, theirs, atLeast]) =>
          judge(samples, { metric: 'requestsPerSecond', ours, theirs, atLeast }),
        ),
      };
    } finally {
      await Promise.all([...servers.values()].map(({ child }) => child.stop()));
      await redis.stop();
    }
  };
}

interface Server {
  name: string;
  url: string;
  child: Child;
  /** Of a user each. */
  cookies: string[];
}

async function startServer(program: string, name: string, redisUrl: string, cpu: number | null): Promise<Server> {
  const child = await Child.start(program, [name, redisUrl], cpu);
  const url = `http://127.0.0.1:${await child.ask<number>('port')}`;
  const server: Server = { name, url, child, cookies: [] };
  for (let index = 0; index < CONNECTIONS; index++) {
    server.cookies.push(isBare(name) ? UNREAD_COOKIE : await signIn(url, userId(index)));
  }
  return server;
}

const isBare = (name: string) => name === 'bare';

/** As long as ours, so that a server without sessions gets the same request. */
const UNREAD_COOKIE = `session=${'x'.repeat(88)}`;

async function signIn(url: string, user: string): Promise<string> {
  const response = await fetch(`${url}/login/${user}`, { method: 'POST' });
  if (!response.ok) throw new Error(`the login of ${user} got ${response.status}: ${await response.text()}`);
  const cookies = response.headers.getSetCookie().map((cookie) => cookie.split(';', 1)[0]);
  return cookies.join('; ');
}

/** All answer with the same headers, but for the cookie of those that renew it with each response. */
async function checkHeaders(servers: readonly Server[]): Promise<void> {
  const heads = new Set<string>();
  for (const { url, cookies } of servers) {
    const { headers } = await fetch(url, { headers: { cookie: cookies[0] ?? '' } });
    heads.add(JSON.stringify([...headers].filter(([name]) => name !== 'date' && name !== 'set-cookie')));
  }
  if (heads.size > 1) throw new Error(`headers that differ: ${[...heads].join(' ')}`);
}

async function measure(server: Server, durationMs: number): Promise<Sample> {
  // Before and after: a server that answers 401, or with somebody else's name, must not win.
  await checkAnswers(server);
  const cpuBefore = await server.child.ask<number>('cpu');
  const { requests, seconds } = await load(server, durationMs);
  const cpuAfter = await server.child.ask<number>('cpu');
  await checkAnswers(server);
  const requestsPerSecond = requests / seconds;
  const cpuMicros = (cpuAfter - cpuBefore) / requests;
  return { requestsPerSecond, cpuMicros, busyPercent: (requestsPerSecond * cpuMicros) / 1e4 };
}

async function checkAnswers({ name, url, cookies }: Server): Promise<void> {
  for (const [index, cookie] of cookies.entries()) {
    const response = await fetch(url, { headers: { cookie } });
    const body = await response.text();
    const expected = JSON.stringify({ user: isBare(name) ? 'user-00' : userId(index) });
    if (response.status !== 200 || body !== expected) {
      throw new Error(`${name} answered ${userId(index)} with ${response.status} ${body}`);
    }
  }
  if (!isBare(name) && (await fetch(url)).status !== 401) throw new Error(`${name} lets anybody in`);
}

async function load(
  { name, url, cookies }: Server,
  durationMs: number,
): Promise<{ requests: number; seconds: number }> {
  let next = 0;
  const result = await autocannon({
    url,
    connections: CONNECTIONS,
    duration: durationMs / 1000,
    setupClient: (client) => client.setHeaders({ cookie: cookies[next++ % cookies.length] ?? '' }),
  });
  if (result.errors > 0 || result.non2xx > 0 || result['2xx'] === 0) {
    throw new Error(
      `${name}: ${result.errors} errors, ${result.non2xx} answers other than 2xx, ${result['2xx']} good ones`,
    );
  }
  return { requests: result['2xx'], seconds: (result.finish.getTime() - result.start.getTime()) / 1000 };
}

function userId(index: number): string {
  return `user-${String(index).padStart(2, '0')}`;
}
