import type { TokenManager } from 'tokensession';
import { type RedisServer, startRedis } from '../test/support/redis-server';
import { managerOn, storeData } from './contestants';
import { infoNumber } from './redis-info';
import type { Part } from './report';
import { type Effort, interleave, type Sample } from './rounds';
import { keyOf } from './soak/keys';

const KIB = 1024;
/** The most data of a session with the default limits. */
const MOST = 64 * KIB;
const MOST_SESSIONS = 250;
/** Users measured at a time; memory holds few of those with the most data. */
const USERS = { few: 5, many: 100 };

/** A user's sessions, the bytes of data in each, and the measured operation. */
interface Row {
  sessions: number;
  bytes: number;
  users: number;
  act: (manager: TokenManager, userId: string, token: string, redis: RedisServer) => Promise<unknown>;
}

const endOne: Row['act'] = (manager, _, token) => manager.deleteToken(token);
const endAll: Row['act'] = (manager, userId) => manager.deleteUserToken(userId);
const ban: Row['act'] = (manager, userId) => manager.banUser(userId);
/** At the limit, so that a login ends the oldest session. */
const login: Row['act'] = (manager, userId) => manager.setToken(userId);
const unlink: Row['act'] = (_manager, _user, token, { admin }) => admin.unlink(keyOf(token));
const del: Row['act'] = (_manager, _user, token, { admin }) => admin.del(keyOf(token));

const one = { sessions: 1, users: USERS.many };
const all = { sessions: MOST_SESSIONS, users: USERS.few };
const ROWS: Record<string, Row> = {
  'end of the only session, no data': { ...one, bytes: 0, act: endOne },
  'end of the only session, 64 KiB': { ...one, bytes: MOST, act: endOne },
  'end of one of 250 sessions, 64 KiB each': { ...all, bytes: MOST, act: endOne },
  'login that ends one of 250, 64 KiB each': { ...all, bytes: MOST, act: login },
  'end of all 250, no data': { ...all, bytes: 0, act: endAll },
  'end of all 250, 1 KiB each': { ...all, bytes: KIB, act: endAll },
  'end of all 250, 64 KiB each': { ...all, bytes: MOST, act: endAll },
  'ban that ends all 250, 64 KiB each': { ...all, bytes: MOST, act: ban },
  'UNLINK of the key of 250, 64 KiB each': { ...all, bytes: MOST, act: unlink },
  'DEL of the key of 250, 64 KiB each': { ...all, bytes: MOST, act: del },
};

/**
 * How long the end of sessions with much data blocks Redis's thread, and how much memory the data takes. `usec` of INFO
 * commandstats: for a script it includes the commands inside.
 */
export async function benchEndings({ rounds }: Effort): Promise<Part> {
  const samples = await interleave(Object.keys(ROWS), { rounds, warmUps: 0 }, (name) => measure(ROWS[name] as Row));
  return {
    title: 'Session data: the end of sessions, µs of Redis',
    metrics: [
      { name: 'micros', label: 'µs/call', digits: 0 },
      { name: 'slowest', label: 'slowest call', digits: 0 },
      { name: 'freeing', label: 'of it HDEL', digits: 0 },
      { name: 'bytes', label: 'bytes a session', digits: 0 },
    ],
    samples,
    targets: [],
    notes: [
      `bytes of Redis a session, of ${MEMORY_USERS} users with one each: ${await bytesWithData(0)}, ` +
        `with 1 KiB of data ${await bytesWithData(KIB)}`,
    ],
  };
}

const MEMORY_USERS = 2000;

async function measure({ sessions, bytes, users, act }: Row): Promise<Sample> {
  const redis = await startRedis({ 'slowlog-log-slower-than': '-1', 'slowlog-max-len': '1000' });
  const manager = open(redis);
  try {
    const first = await begin(manager, 'first', { sessions, bytes });
    await act(manager, 'first', first, redis);
    const before = await infoNumber(redis, 'used_memory');
    const tokens: [userId: string, token: string][] = [];
    for (let user = 0; user < users; user++) {
      tokens.push([`user ${user}`, await begin(manager, `user ${user}`, { sessions, bytes })]);
    }
    const held = (await infoNumber(redis, 'used_memory')) - before;
    await redis.admin.config('SET', 'slowlog-log-slower-than', '0');
    await redis.admin.slowlog('RESET');
    await redis.admin.config('RESETSTAT');
    for (const [userId, token] of tokens) await act(manager, userId, token, redis);
    const log = (await redis.admin.slowlog('GET', -1)) as [number, number, number, string[]][];
    const calls = log.filter(([, , , [command = '']]) => /^(evalsha|fcall|del|unlink)$/i.test(command));
    const micros = calls.map(([, , taken]) => taken);
    const freed = /^cmdstat_hdel:calls=\d+,usec=(\d+)/m.exec(await redis.admin.info('commandstats'));
    return {
      micros: micros.reduce((sum, taken) => sum + taken, 0) / users,
      slowest: Math.max(...micros),
      freeing: Number(freed?.[1] ?? 0) / users,
      bytes: held / (users * sessions),
    };
  } finally {
    await manager.close();
    await redis.stop();
  }
}

async function bytesWithData(bytes: number): Promise<string> {
  const redis = await startRedis();
  const manager = open(redis);
  try {
    await begin(manager, 'first', { sessions: 1, bytes });
    const before = await infoNumber(redis, 'used_memory');
    for (let user = 0; user < MEMORY_USERS; user++) await begin(manager, `user ${user}`, { sessions: 1, bytes });
    return Math.round(((await infoNumber(redis, 'used_memory')) - before) / MEMORY_USERS).toLocaleString('en');
  } finally {
    await manager.close();
    await redis.stop();
  }
}

function open({ url }: RedisServer): TokenManager {
  return managerOn(url, { maxSessions: MOST_SESSIONS }, 30_000);
}

/** Starts a user's sessions with data of that size. Returns the token of one of them. */
async function begin(
  manager: TokenManager,
  userId: string,
  { sessions, bytes }: { sessions: number; bytes: number },
): Promise<string> {
  const tokens: string[] = [];
  for (let i = 0; i < sessions; i++) {
    const token = await manager.setToken(userId);
    if (bytes > 0) await storeData(manager, token, bytes);
    tokens.push(token);
  }
  return tokens[Math.floor(sessions / 2)] as string;
}
