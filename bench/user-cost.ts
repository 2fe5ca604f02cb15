import type { TokenManager } from 'tokensession';
import { type RedisServer, startRedis } from '../test/support/redis-server';
import { managerOn, storeData } from './contestants';
import type { Part } from './report';
import { type Effort, interleave, type Sample, spreadOf } from './rounds';

const KIB = 1024;
const MOST_SESSIONS = 250;
/** Ended sessions that the store remembers of a user. */
const MOST_ENDED = 100;
const ATTRIBUTES = {
  device: 'web',
  ip: '192.0.2.1',
  userAgent: 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Firefox/140.0',
};

/** A user's live and ended sessions, and the bytes of data in each live one. */
interface Load {
  sessions: number;
  ended: number;
  bytes: number;
}

const USERS: Record<string, Load> = {
  'one session': { sessions: 1, ended: 0, bytes: 0 },
  'the worst user': { sessions: MOST_SESSIONS, ended: MOST_ENDED, bytes: 0 },
  'one session, 1 KiB': { sessions: 1, ended: 0, bytes: KIB },
  'one session, 64 KiB': { sessions: 1, ended: 0, bytes: 64 * KIB },
  '250 sessions, 64 KiB each': { sessions: MOST_SESSIONS, ended: 0, bytes: 64 * KIB },
};

/** Prepares a call on a session, and gives the measured one. */
type Verb = (manager: TokenManager, token: string, userId: string) => Promise<() => Promise<unknown>>;

const ON_ONE_SESSION: Record<string, Verb> = {
  check: async (manager, token) => () => manager.checkToken(token),
  'touch that slides': async (manager, token) => () => manager.touchToken(token),
  'touch with a new token': async (manager, token) => {
    const child = await manager.rotateToken(token);
    return () => manager.touchToken(child as string);
  },
  refresh: async (manager, token) => () => manager.refreshToken(token),
  'read one key': async (manager, token) => () => manager.sessionData(token).get('cart'),
  'write a small key': async (manager, token) => () => manager.sessionData(token).set('theme', 'dark'),
  end: async (manager, token) => () => manager.deleteToken(token),
  'a reuse': async (manager, token) => {
    const child = await manager.rotateToken(token);
    await manager.touchToken(child as string);
    return () => manager.checkToken(token);
  },
};
const ON_ALL: Record<string, Verb> = {
  getBan: async (manager, _, userId) => () => manager.getBan(userId),
  list: async (manager, _, userId) => () => manager.listUserSessions(userId),
  login: async (manager, _, userId) => () => manager.setToken(userId, undefined, ATTRIBUTES),
  'end of all sessions': async (manager, _, userId) => () => manager.deleteUserToken(userId),
  ban: async (manager, _, userId) => () => manager.banUser(userId),
};
const VERBS = { ...ON_ONE_SESSION, ...ON_ALL };
const ON_DATA = [
  'touch that slides',
  'end',
  'read one key',
  'write a small key',
  'list',
  'login',
  'end of all sessions',
];
const isMeasured = (verb: string, { bytes }: Load) =>
  bytes > 0 ? ON_DATA.includes(verb) : !/^(read|write) /.test(verb);

/** Measured calls in a round: each on another session, or on another user. */
const CALLS = { onOneSession: 20, onAll: 3 };

/**
 * Redis's time for one call of each verb, by the size of the user: the median of a round's calls, by `usec` of INFO
 * commandstats. SLOWLOG would also take the time to log each command inside. A login is over the limit, and ends a
 * session.
 */
export async function benchUserCost({ rounds }: Effort): Promise<Part> {
  const redis = await startRedis();
  try {
    const samples = await interleave(Object.keys(VERBS), { rounds, warmUps: 1 }, async (verb) => {
      const sample: Sample = {};
      for (const [user, load] of Object.entries(USERS)) {
        if (isMeasured(verb, load)) sample[user] = await measure(redis, verb, load);
      }
      return sample;
    });
    return {
      title: 'What one user can cost, µs of Redis for a call',
      metrics: Object.keys(USERS).map((user) => ({ name: user, label: user, digits: 0 })),
      samples,
      targets: [],
    };
  } finally {
    await redis.stop();
  }
}

async function measure(redis: RedisServer, verb: string, load: Load): Promise<number> {
  await redis.admin.flushall();
  const options = {
    maxSessions: Math.max(load.sessions, load.ended),
    rotationGrace: 0,
    // Room for the small key.
    maxDataBytes: 65 * KIB,
  };
  const manager = managerOn(redis.url, options, 30_000);
  try {
    const isOnOne = verb in ON_ONE_SESSION;
    const calls = isOnOne ? CALLS.onOneSession : CALLS.onAll;
    const subjects: [token: string, userId: string][] = [];
    for (let user = 0; subjects.length <= calls; user++) {
      const tokens = await begin(manager, `user ${user}`, load);
      for (const token of isOnOne ? tokens : tokens.slice(0, 1)) subjects.push([token, `user ${user}`]);
    }
    const acts: (() => Promise<unknown>)[] = [];
    for (const [token, userId] of subjects.slice(0, calls + 1)) {
      acts.push(await (VERBS[verb] as Verb)(manager, token, userId));
    }
    // Loads the scripts.
    await acts.shift()?.();
    const micros: number[] = [];
    for (const act of acts) {
      await redis.admin.config('RESETSTAT');
      await act();
      micros.push(scriptTime(await redis.admin.info('commandstats')));
    }
    return spreadOf(micros).median;
  } finally {
    await manager.close();
  }
}

/** The time of all scripts since the last reset. A reuse is found by one, and ended by another. */
function scriptTime(commandstats: string): number {
  const times = [...commandstats.matchAll(/^cmdstat_eval(?:sha)?:calls=\d+,usec=(\d+)/gm)];
  return times.reduce((sum, [, usec]) => sum + Number(usec), 0);
}

/** Starts a user's sessions. Returns the tokens of the live ones. */
async function begin(manager: TokenManager, userId: string, { sessions, ended, bytes }: Load): Promise<string[]> {
  const gone = await times(ended, () => manager.createSession(userId, { attributes: ATTRIBUTES }));
  await Promise.all(gone.map(({ id }) => manager.deleteSession(userId, id)));
  const tokens = await times(sessions, () => manager.setToken(userId, undefined, ATTRIBUTES));
  if (bytes > 0) await Promise.all(tokens.map((token) => storeData(manager, token, bytes)));
  return tokens;
}

function times<Result>(count: number, act: () => Promise<Result>): Promise<Result[]> {
  return Promise.all(Array.from({ length: count }, act));
}
