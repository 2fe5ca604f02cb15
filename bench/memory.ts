import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { RedisStore as ConnectRedisStore } from 'connect-redis';
import session from 'express-session';
import { createClient } from 'redis';
import { type RedisServer, startRedis } from '../test/support/redis-server';
import { managerOn, TTL, userIds } from './contestants';
import { infoNumber } from './redis-info';
import { judge, type Part } from './report';
import { type Effort, interleave } from './rounds';

const LOGINS_AT_A_TIME = 100;
const SESSIONS_A_USER = [1, 3];
/** Signs a user in, and closes its connection at the end. */
interface Contestant {
  login(userId: string): Promise<unknown>;
  close(): Promise<unknown>;
}

type ContestantMaker = (url: string) => Promise<Contestant>;

const CONTESTANTS: Record<string, ContestantMaker> = {
  tokensession: async (url) => {
    const sessions = managerOn(url);
    return { login: (userId) => sessions.setToken(userId), close: () => sessions.close() };
  },

  'connect-redis': async (url) => {
    const client = await createClient({ url }).connect();
    const store = new ConnectRedisStore({ client });
    return {
      login: (userId) => store.set(sessionId(), { cookie: new session.Cookie({ maxAge: TTL * 1000 }), userId }),
      close: () => client.close(),
    };
  },
};

/**
 * The memory of a session in an otherwise empty Redis: used_memory after the logins minus before, tables of keys
 * included.
 */
export async function benchMemory({ users }: Effort): Promise<Part> {
  const contestants = SESSIONS_A_USER.flatMap((sessions) =>
    Object.keys(CONTESTANTS).map((name) => contestantName(name, sessions)),
  );
  const samples = await interleave(contestants, { rounds: 2, warmUps: 0 }, async (contestant) => {
    const [name = '', sessions] = contestant.split(', ');
    return { bytes: await bytesPerSession(name, users, Number.parseInt(sessions ?? '', 10)) };
  });
  return {
    title: `Redis memory: ${users.toLocaleString('en')} users, no attributes`,
    metrics: [{ name: 'bytes', label: 'bytes a session', digits: 0 }],
    samples,
    targets: SESSIONS_A_USER.map((sessions) =>
      judge(samples, {
        metric: 'bytes',
        ours: contestantName('tokensession', sessions),
        theirs: contestantName('connect-redis', sessions),
        atMost: 1,
      }),
    ),
  };
}

function contestantName(name: string, sessions: number): string {
  return `${name}, ${sessions} a user`;
}

async function bytesPerSession(name: string, users: number, sessionsPerUser: number): Promise<number> {
  const redis = await startRedis();
  try {
    // Memory that Redis needs from the first login on, such as scripts, belongs to no session.
    await logIn(name, redis.url, ['first']);
    const before = await usedMemory(redis);
    for (let round = 0; round < sessionsPerUser; round++) await logIn(name, redis.url, userIds(users));
    return ((await usedMemory(redis)) - before) / (users * sessionsPerUser);
  } finally {
    await redis.stop();
  }
}

async function logIn(name: string, url: string, ids: readonly string[]): Promise<void> {
  const contestant = await (CONTESTANTS[name] as ContestantMaker)(url);
  for (let first = 0; first < ids.length; first += LOGINS_AT_A_TIME) {
    const some = ids.slice(first, first + LOGINS_AT_A_TIME);
    await Promise.all(some.map((userId) => contestant.login(userId)));
  }
  await contestant.close();
}

/** Waits until the value is stable: Redis frees buffers of closed connections, and outgrown tables, after a while. */
async function usedMemory(redis: RedisServer): Promise<number> {
  let previous: number;
  let used = Number.NaN;
  do {
    previous = used;
    await sleep(250);
    used = await infoNumber(redis, 'used_memory');
  } while (Math.abs(used - previous) > 1024 || Number.isNaN(previous));
  return used;
}

/** Like those of express-session: 24 random bytes. */
function sessionId(): string {
  return randomBytes(24).toString('base64url');
}
