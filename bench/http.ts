import autocannon from 'autocannon';
import { startRedis } from '../test/support/redis-server';
import { Child } from './child';
import { type CpuPlan, pin } from './machine';
import { judge, type Part } from './report';
import { type Effort, interleave, type Sample } from './rounds';

const CONNECTIONS = 32;

/** The server program of each framework, and the names that it knows the contestants by. */
const FRAMEWORKS = {
  express: {
    program: 'express-server.ts',
    title: 'Express 5: a request of somebody signed in',
    contestants: ['bare', 'tokensession', 'express-session', 'express-session, not rolling'],
    theirs: 'express-session',
    atLeast: 1.4,
  },
  koa: {
    program: 'koa-server.ts',
    title: 'Koa 3: a request of somebody signed in',
    contestants: ['bare', 'tokensession', 'koa-session'],
    theirs: 'koa-session',
    atLeast: 2,
  },
};

/** Each server in a process of its own, and all on one Redis; 32 connections, each of another user. */
export function benchHttp(framework: keyof typeof FRAMEWORKS) {
  const { program, title, contestants, theirs, atLeast } = FRAMEWORKS[framework];
  return async ({ rounds, httpMs }: Effort, cpus: CpuPlan): Promise<Part> => {
    const redis = await startRedis();
    pin(redis.pid, cpus.redis);
    const servers = new Map<string, Server>();
    try {
      for (const name of contestants) {
        servers.set(name, await startServer(program, name, redis.url, cpus.measured));
      }
      const samples = await interleave(contestants, { rounds, warmUp: true }, (name) =>
        measure(servers.get(name) as Server, httpMs),
      );
      return {
        title: `${title}, ${CONNECTIONS} connections`,
        metrics: [
          { name: 'requestsPerSecond', label: 'requests/s', digits: 0 },
          { name: 'cpuMicros', label: 'server CPU µs/request', digits: 1 },
        ],
        samples,
        targets: [judge(samples, { metric: 'requestsPerSecond', ours: 'tokensession', theirs, atLeast })],
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
  /** Of a user each; of a server without sessions, empty. */
  cookies: string[];
}

async function startServer(program: string, name: string, redisUrl: string, cpu: number | null): Promise<Server> {
  const child = await Child.start(program, [name, redisUrl], cpu);
  const url = `http://127.0.0.1:${await child.ask<number>('port')}`;
  const server: Server = { name, url, child, cookies: [] };
  for (let index = 0; index < CONNECTIONS; index++) {
    server.cookies.push(name === 'bare' ? '' : await signIn(url, userId(index)));
  }
  return server;
}

async function signIn(url: string, user: string): Promise<string> {
  const response = await fetch(`${url}/login/${user}`, { method: 'POST' });
  if (!response.ok) throw new Error(`the login of ${user} got ${response.status}: ${await response.text()}`);
  const cookies = response.headers.getSetCookie().map((cookie) => cookie.split(';', 1)[0]);
  return cookies.join('; ');
}

async function measure(server: Server, durationMs: number): Promise<Sample> {
  // Before and after: a server that answers 401, or with somebody else's name, must not win.
  await checkAnswers(server);
  const cpuBefore = await server.child.ask<number>('cpu');
  const { requests, seconds } = await load(server, durationMs);
  const cpuAfter = await server.child.ask<number>('cpu');
  await checkAnswers(server);
  return { requestsPerSecond: requests / seconds, cpuMicros: (cpuAfter - cpuBefore) / requests };
}

async function checkAnswers({ name, url, cookies }: Server): Promise<void> {
  for (const [index, cookie] of cookies.entries()) {
    const response = await fetch(url, { headers: { cookie } });
    const body = await response.text();
    const expected = JSON.stringify({ user: name === 'bare' ? 'user-00' : userId(index) });
    if (response.status !== 200 || body !== expected) {
      throw new Error(`${name} answered ${userId(index)} with ${response.status} ${body}`);
    }
  }
  if (name !== 'bare' && (await fetch(url)).status !== 401) throw new Error(`${name} lets anybody in`);
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
