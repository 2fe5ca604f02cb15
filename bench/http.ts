import { startRedis } from '../test/support/redis-server';
import { Child } from './child';
import { Load } from './load';
import { type CpuPlan, pin, pinInTurns } from './machine';
import { judge, type Part } from './report';
import { type Effort, interleaveAfresh, type Sample } from './rounds';

/** So many that requests wait for the server, and checks share a script. */
const MANY = 32;

const CACHED = 'tokensession, cached';
/** The least that it can cost. */
const CACHED_BY_HAND = 'cached by hand';
const UNCACHED = 'tokensession';
/** Handwritten, with a signature and a list of each user's sessions, as ours have. */
const LISTED = 'GETEX, signed and listed';

const MOST = ['bare', 'floor', CACHED_BY_HAND, CACHED, UNCACHED, 'GETEX', LISTED];

interface Comparison {
  /** The server program of a framework. */
  program: string;
  title: string;
  connections: number;
  contestants: readonly string[];
  /** How much less CPU the first contestant is to take than the second. */
  wanted: readonly (readonly [ours: string, theirs: string, atLeast: number])[];
}

const COMPARISONS = {
  express: {
    program: 'express-server.ts',
    title: 'Express 5',
    connections: MANY,
    contestants: [...MOST, 'express-session', 'express-session, not rolling', 'express-session, our store'],
    wanted: [
      [CACHED, 'bare', 0.95],
      [CACHED, 'floor', 0.96],
      [UNCACHED, LISTED, 1],
      [UNCACHED, 'express-session', 1.5],
    ],
  },
  data: {
    program: 'express-server.ts',
    title: 'Express 5, 1 KiB of session data',
    connections: MANY,
    contestants: [
      UNCACHED,
      'tokensession, eager data',
      'tokensession, reads data',
      'tokensession, writes a key',
      'express-session, reads data',
      'express-session, our store, reads data',
      'express-session, writes a key',
      'express-session, our store, writes a key',
    ],
    wanted: [],
  },
  lone: {
    program: 'express-server.ts',
    title: 'Express 5',
    connections: 1,
    contestants: [...MOST, 'express-session', 'express-session, not rolling'],
    wanted: [],
  },
  koa: {
    program: 'koa-server.ts',
    title: 'Koa 3',
    connections: MANY,
    contestants: [...MOST, 'koa-session'],
    wanted: [
      [CACHED, 'bare', 0.85],
      [CACHED, 'floor', 0.92],
      [UNCACHED, LISTED, 1],
      [UNCACHED, 'koa-session', 2.5],
    ],
  },
  node: {
    program: 'node-server.ts',
    title: 'node:http',
    connections: MANY,
    contestants: [
      'bare',
      'floor',
      CACHED,
      UNCACHED,
      'touchToken, cached',
      'touchToken',
      'GETEX',
      LISTED,
      'iron-session',
      'iron-session, not rolling',
    ],
    wanted: [],
  },
  fastify: {
    program: 'fastify-server.ts',
    title: 'Fastify 5',
    connections: MANY,
    contestants: ['bare', 'floor', CACHED, UNCACHED, '@fastify/session', '@fastify/session, not rolling'],
    wanted: [],
  },
  hono: {
    program: 'hono-server.ts',
    title: 'Hono 4',
    connections: MANY,
    contestants: ['bare', 'floor', CACHED, UNCACHED, 'hono-sessions', 'hono-sessions, in the cookie'],
    wanted: [],
  },
  fetch: {
    program: 'fetch-server.ts',
    title: 'Request and Response',
    connections: MANY,
    contestants: ['bare', 'floor', CACHED, UNCACHED, 'iron-session', 'iron-session, not rolling'],
    wanted: [],
  },
} satisfies Record<string, Comparison>;

/** Contestants without sessions. They get the cookies of ours, and treat every request as the first user's. */
const WITHOUT_SESSIONS = ['bare', 'floor'];

/** Each contestant in processes of its own, and all on one Redis; each connection is of another user. */
export function benchHttp(comparison: keyof typeof COMPARISONS) {
  const { program, title, connections, contestants, wanted }: Comparison = COMPARISONS[comparison];
  return async ({ bursts, httpWarmUps, burstMs }: Effort, cpus: CpuPlan): Promise<Part> => {
    const redis = await startRedis();
    pinInTurns(redis.pid, cpus.measured);
    pinInTurns(process.pid, cpus.measured);
    try {
      const samples = await interleaveAfresh(contestants, { ...bursts, warmUps: httpWarmUps }, async () => {
        const servers = await openServers(program, contestants, connections, redis.url, cpus.measured);
        return {
          measure: (name) => measure(servers.get(name) as Server, burstMs),
          check: () => checkAll([...servers.values()]),
          async stop() {
            await closeServers([...servers.values()]);
            await redis.admin.flushall();
          },
        };
      });
      return {
        title: `${title}: a request of a signed-in user, ${connections} connection${connections === 1 ? '' : 's'}`,
        metrics: [{ name: 'cpuMicros', label: 'server CPU µs/request', digits: 1 }],
        samples,
        standards: WITHOUT_SESSIONS.filter((name) => name in samples),
        targets: wanted.map(([ours, theirs, atLeast]) =>
          judge(samples, { metric: 'cpuMicros', ours: theirs, theirs: ours, atLeast }),
        ),
      };
    } finally {
      await redis.stop();
      pin(process.pid, cpus.load);
    }
  };
}

/** A contestant, and the connections to it. */
export interface Server {
  name: string;
  port: number;
  child: Child;
  cookies: readonly string[];
  load: Load | null;
}

/** Starts a process of each contestant, signs users in, and checks that all do what they should. */
async function openServers(
  program: string,
  contestants: readonly string[],
  connections: number,
  redisUrl: string,
  cpu: number | null,
): Promise<ReadonlyMap<string, Server>> {
  const servers = new Map<string, Server>();
  try {
    for (const name of contestants) {
      const server = await startServer(program, name, redisUrl, cpu);
      servers.set(name, server);
      pinInTurns(server.child.pid, cpu);
    }
    const ours = await cookiesOf(servers.get(UNCACHED) as Server, connections);
    for (const server of servers.values()) {
      await sendTo(server, WITHOUT_SESSIONS.includes(server.name) ? ours : await cookiesOf(server, connections));
    }
    await checkAll([...servers.values()]);
    return servers;
  } catch (error) {
    await closeServers([...servers.values()]);
    throw error;
  }
}

async function startServer(program: string, name: string, redisUrl: string, cpu: number | null): Promise<Server> {
  const child = await Child.start(program, [name, redisUrl], cpu);
  return { name, port: await child.ask<number>('port'), child, cookies: [], load: null };
}

/** Starts a contestant with sessions, and opens the connections to it. */
export async function openServer(program: string, name: string, redisUrl: string, cpu: number | null): Promise<Server> {
  const server = await startServer(program, name, redisUrl, cpu);
  await sendTo(server, await cookiesOf(server, MANY));
  return server;
}

export async function closeServers(servers: readonly Server[]): Promise<void> {
  for (const { load } of servers) load?.close();
  await Promise.all(servers.map(({ child }) => child.stop()));
}

const urlOf = ({ port }: Server) => `http://127.0.0.1:${port}`;

/** Opens a connection to a server for each cookie. */
async function sendTo(server: Server, cookies: readonly string[]): Promise<void> {
  server.cookies = cookies;
  const visitors = cookies.map((cookie, index) => ({
    cookie,
    body: JSON.stringify({ user: userId(WITHOUT_SESSIONS.includes(server.name) ? 0 : index) }),
  }));
  server.load = await Load.open(server.port, visitors);
}

/** Signs users in. */
async function cookiesOf(server: Server, users: number): Promise<string[]> {
  const cookies: string[] = [];
  for (let index = 0; index < users; index++) {
    const response = await fetch(`${urlOf(server)}/login/${userId(index)}`, { method: 'POST' });
    if (!response.ok) throw new Error(`a login at ${server.name} got ${response.status}: ${await response.text()}`);
    cookies.push(cookieHeaderOf(response.headers.getSetCookie()));
  }
  return cookies;
}

/** What a browser sends after these lines: of several about one cookie, the last one is its. */
function cookieHeaderOf(lines: readonly string[]): string {
  const pairs = new Map(lines.map((line) => [line.split('=', 1)[0], line.split(';', 1)[0]]));
  return [...pairs.values()].join('; ');
}

/**
 * Checks that all respond with the same headers, except for renewed cookies, and that only the bare one accepts
 * anonymous requests.
 */
async function checkAll(servers: readonly Server[]): Promise<void> {
  const heads = new Set<string>();
  for (const server of servers) {
    const { headers } = await fetch(urlOf(server), { headers: { cookie: server.cookies[0] ?? '' } });
    heads.add(JSON.stringify([...headers].filter(([name]) => name !== 'date' && name !== 'set-cookie')));
    const { status } = await fetch(urlOf(server));
    if (server.name !== 'bare' && status !== 401) throw new Error(`${server.name} lets anybody in`);
  }
  if (heads.size > 1) throw new Error(`headers that differ: ${[...heads].join(' ')}`);
}

async function measure({ name, child, load }: Server, durationMs: number): Promise<Sample> {
  await (load as Load).burst(0);
  const send = () =>
    (load as Load).burst(durationMs).catch((cause) => {
      throw new Error(`${name} failed`, { cause });
    });
  return { cpuMicros: await child.cpuMicrosPerCall(send) };
}

function userId(index: number): string {
  return `user-${String(index).padStart(2, '0')}`;
}
