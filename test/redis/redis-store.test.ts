import { hash } from 'node:crypto';
import dns from 'node:dns';
import { setTimeout as sleep } from 'node:timers/promises';
import { inspect } from 'node:util';
import { type Command, Redis } from 'ioredis';
import { Redis as Redis5 } from 'ioredis5';
import {
  createRedisClient,
  type NewSession,
  RedisStore,
  type Store,
  type TokenClaims,
  TokenManager,
  type TokenManagerOptions,
} from 'tokensession';
import { requestSessionsOf } from '../../src/manager/token-manager';
import { defineScripts } from '../../src/redis/connection/script-commands';
import { SCRIPTS } from '../../src/redis/scripts/index';
import { readClaims, tagOf } from '../../src/token/token';
import { closeAfterEach } from '../support/closing';
import { ask, callsOf, freePort, type RedisServer, scriptCalls, startRedis, timeOf } from '../support/redis-server';
import { secondsLeft } from '../support/seconds-left';
import { idOf } from '../support/session-id';
import { claimsOf, newSession, PATIENT, randomPrefixes, SECRET, sidsOf } from '../support/stores';
import { answered, until } from '../support/until';
import { moveRecords } from '../support/virtual-time';

const PASSWORD = 'a password for tests';
let server: RedisServer;
let prefixes: ReturnType<typeof randomPrefixes>;
const closing = closeAfterEach();

function manage(
  redis: ConstructorParameters<typeof RedisStore>[0] = server.url,
  options: Partial<TokenManagerOptions<unknown>> = {},
) {
  const manager = new TokenManager({
    store: new RedisStore(redis, { ...prefixes, ...PATIENT }),
    secret: SECRET,
    ...options,
  });
  closing(() => manager.close());
  return manager;
}

const keyOf = (token: string, prefix = prefixes.tokenKeyPrefix) => `${prefix}:{${token.split('.')[0]}}`;
/** Lets this much time pass for the records of this test. */
const elapse = (seconds: number) => moveRecords(server.admin, prefixes, -1000 * seconds);

beforeAll(async () => {
  server = await startRedis({ requirepass: PASSWORD });
});
beforeEach(() => {
  prefixes = randomPrefixes();
});
afterAll(() => server.stop());

describe('what is in Redis', () => {
  it('contains no data of an ended session, nor of one that nothing can show any more', async () => {
    const sessions = manage();
    const [ended, expired, live] = [
      await sessions.setToken('ada'),
      await sessions.setToken('ada'),
      await sessions.setToken('ada'),
    ];
    for (const token of [ended, expired, live]) await sessions.sessionData(token).set('key', 1);
    await sessions.deleteToken(ended);
    const longAgo = (await timeOf(server)) - 3 * 3_600_000;
    await server.admin.hset(keyOf(live), idOf(expired), `${longAgo}:${longAgo}:1000:0`);
    await sessions.setToken('ada');
    const fields = await server.admin.hkeys(keyOf(live));
    expect(fields.filter((field) => field.endsWith('.d'))).toEqual([`${idOf(live)}.d`]);
  });

  it('is one hash a user, with a field for each session, and one string for the cached user info', async () => {
    const sessions = manage(server.url, { getUserInfo: (id) => ({ name: id }), absoluteTtl: 3600 });
    const plain = await sessions.setToken('ada', 60);
    // For two logins in one millisecond, the second record would also store when its token was made.
    await sleep(2);
    const known = await sessions.setToken('ada', 100, { device: 'web' });
    await sessions.addUser('ada');
    await sessions.touchToken(known);
    expect((await server.admin.keys(`*${prefixes.tokenKeyPrefix.slice(6)}*`)).sort()).toEqual([
      keyOf(plain),
      keyOf(plain, prefixes.userKeyPrefix),
    ]);
    const hash = await server.admin.hgetall(keyOf(plain));
    const record = /^(\d{13}):(\d{13}):60000:(\d{13})$/.exec(hash[idOf(plain)] ?? '');
    expect(Number(record?.[3]) - Number(record?.[2])).toBe(3_600_000);
    expect(hash).toEqual({
      id: 'ada',
      v: '1',
      [idOf(plain)]: record?.[0],
      [idOf(known)]: expect.stringMatching(/^\d{13}:\d{13}:100000:\d{13}$/),
      [`${idOf(known)}.a`]: '{"device":"web"}',
    });
    expect(await server.admin.get(keyOf(plain, prefixes.userKeyPrefix))).toMatch(/^\d{13}:\d{13}:{"name":"ada"}$/);
  });

  it('has its expiry extended once a sixtieth of the ttl has passed, not at each use', async () => {
    const sessions = manage();
    const token = await sessions.setToken('ada', 600);
    const key = keyOf(token);
    const before = await callsOf(server, 'pexpire');
    for (let i = 0; i < 5; i++) expect(await sessions.touchToken(token)).not.toBeNull();
    // A sixtieth may have begun between two of them.
    expect((await callsOf(server, 'pexpire')) - before).toBeLessThanOrEqual(1);
    await server.admin.pexpire(key, 1_180_000);
    const [created, seen, ...rest] = (await server.admin.hget(key, idOf(token)))?.split(':') ?? [];
    await server.admin.hset(key, idOf(token), [created, Number(seen) - 10_000, ...rest].join(':'));
    await sessions.touchToken(token);
    expect(await server.admin.pttl(key)).toBeGreaterThan(1_190_000);
  });

  it('lives at most an hour longer than the absolute expiry, however often the session slides', async () => {
    const sessions = manage(server.url, { absoluteTtl: 600 });
    const token = await sessions.setToken('ada', 3600);
    expect(await sessions.refreshToken(token)).toBe(true);
    expect(await server.admin.pttl(keyOf(token))).toBeLessThanOrEqual(4_200_000);
  });

  it('lives up to an hour longer than its longest session; a login or kick shortens that', async () => {
    const sessions = manage();
    const pttl = () => server.admin.pttl(keyOf(short));
    const short = await sessions.setToken('ada', 10);
    const long = await sessions.setToken('ada', 1000);
    expect(await pttl()).toBeGreaterThan(1_990_000);
    await sessions.touchToken(short);
    expect(await pttl()).toBeGreaterThan(1_990_000);
    await sessions.deleteToken(long);
    expect(await pttl()).toBeGreaterThan(1_990_000);
    await sessions.setToken('ada', 10);
    expect(await pttl()).toBeLessThanOrEqual(20_000);
    await sessions.refreshToken(short, 500);
    expect(await pttl()).toBeGreaterThan(990_000);
    await sessions.refreshToken(short, 5);
    expect(await pttl()).toBeGreaterThan(990_000);
    await sessions.deleteUserToken('ada', { except: short });
    expect(await pttl()).toBeLessThanOrEqual(10_000);
    await sessions.touchToken(short);
    expect(await pttl()).toBeGreaterThan(6_000);
    await sessions.setToken('ada', 24 * 3600);
    expect(await pttl()).toBeLessThanOrEqual(25 * 3_600_000);
    expect(await pttl()).toBeGreaterThan(25 * 3_600_000 - 10_000);
  });

  it('loses sessions long expired, with their attributes, at the next login', async () => {
    const sessions = manage();
    const expired = await sessions.setToken('ada', 60, { device: 'old' });
    await sessions.setToken('ada', 3600);
    await elapse(60);
    const fields = () => server.admin.hkeys(keyOf(expired));
    expect(await fields()).toContain(idOf(expired));
    expect(await sessions.inspectToken(expired)).toEqual({ session: null, reason: 'expired' });
    await sessions.setToken('ada', 3600);
    expect(await fields()).toContain(idOf(expired));
    await elapse(60);
    await sessions.setToken('ada', 3600);
    expect((await fields()).filter((field) => field.startsWith(idOf(expired)))).toEqual([]);
  });

  it('has layout 1 after any operation on the user', async () => {
    const sessions = manage(server.url, { maxSessions: 2 });
    const calls: ((token: string, userId: string) => Promise<unknown>)[] = [
      async (token) => sessions.touchToken((await sessions.reauthenticateToken(token))?.token as string),
      async (token) => sessions.touchToken((await sessions.rotateToken(token)) as string),
      (_token, userId) => sessions.deleteUserToken(userId),
      (_token, userId) => sessions.banUser(userId),
      (_token, userId) => Promise.all([sessions.setToken(userId), sessions.setToken(userId)]),
    ];
    for (const [i, call] of calls.entries()) {
      const token = await sessions.setToken(`user ${i}`, 60, { device: 'web' });
      await call(token, `user ${i}`);
      expect(await server.admin.hget(keyOf(token), 'v')).toBe('1');
    }
  });

  it('contains only the newest used token of a rotation, and nothing before its use', async () => {
    const sessions = manage();
    const token = await sessions.setToken('ada', 60);
    const before = await server.admin.hgetall(keyOf(token));
    const next = (await sessions.rotateToken(token)) as string;
    const proved = (await sessions.reauthenticateToken(next))?.token as string;
    await sessions.checkToken(proved);
    expect(await server.admin.hgetall(keyOf(token))).toEqual(before);
    await sessions.touchToken(proved);
    const hash = await server.admin.hgetall(keyOf(token));
    expect(Object.keys(hash).sort()).toEqual(Object.keys(before).sort());
    const { gen, mintedAt, provedAt } = readClaims(proved) as TokenClaims;
    expect(hash[idOf(token)]).toMatch(new RegExp(`^\\d{13}:\\d{13}:60000:0:${gen}:${mintedAt}:\\d{13}:${provedAt}$`));
  });

  it('uses the default prefixes when none are set', async () => {
    const manager = new TokenManager({
      store: new RedisStore(server.url, PATIENT),
      secret: SECRET,
      getUserInfo: () => 'x',
    });
    const token = await manager.setToken('ada');
    await manager.addUser('ada');
    const keys = [keyOf(token, 'session-token'), keyOf(token, 'session-user')];
    expect(await server.admin.exists(...keys)).toBe(2);
    await server.admin.del(...keys);
    await manager.close();
  });
});

describe('by the clock of Redis, while a test waits,', () => {
  /** Gives the time of Redis at the first answer that is nothing. Each earlier one must be from before `at`. */
  async function endOf(answer: () => Promise<{ checkedAt: Date } | null>, at: number): Promise<number> {
    return until('it has ended', async () => {
      const found = await answer();
      if (found === null) return timeOf(server);
      expect(found.checkedAt.getTime()).toBeLessThan(at);
      return null;
    });
  }

  it('a session that is not used ends after its ttl, and its key after another', async () => {
    const sessions = manage();
    const { token, expiresAt } = await sessions.createSession('ada', { ttl: 1 });
    expect(await endOf(() => sessions.checkToken(token), +expiresAt)).toBeGreaterThanOrEqual(+expiresAt);
    await until('the key is gone', async () => (await server.admin.exists(keyOf(token))) === 0);
    expect(await timeOf(server)).toBeGreaterThanOrEqual(+expiresAt + 1000);
  });

  it('a former token ends after the grace, a ban after its time', async () => {
    const sessions = manage(server.url, { rotationGrace: 1, onReuse: 'ignore' });
    const token = await sessions.setToken('ada');
    const next = (await sessions.rotateToken(token)) as string;
    await sessions.banUser('grace', { seconds: 1 });
    const banned = await sessions.getBan('grace');
    const used = (await sessions.touchToken(next))?.checkedAt as Date;
    const [graceEnd, banEnd] = [+used + 1000, banned?.until?.getTime() ?? 0];
    expect(await endOf(() => sessions.checkToken(token), graceEnd)).toBeGreaterThanOrEqual(graceEnd);
    await until('the ban is over', async () => (await sessions.getBan('grace')) === null);
    expect(await timeOf(server)).toBeGreaterThanOrEqual(banEnd);
    expect(await sessions.checkToken(await sessions.setToken('grace'))).not.toBeNull();
  });

  it('cached user info ends after its ttl', async () => {
    const getUserInfo = jest.fn((id: string) => ({ name: id }));
    const sessions = manage(server.url, { getUserInfo, userInfoTtl: 1 });
    const token = await sessions.setToken('ada');
    const begin = await timeOf(server);
    await until('it is loaded again', async () => {
      await sessions.touchToken(token);
      return getUserInfo.mock.calls.length === 2;
    });
    expect(await timeOf(server)).toBeGreaterThanOrEqual(begin + 1000);
  });
});

describe('a damaged record', () => {
  const refused = (code: string) => expect.objectContaining({ name: 'SessionError', code, status: 500 });

  it.each([
    [
      'a value of another type',
      (key: string) => server.admin.multi().del(key).set(key, 'x').exec(),
      'ERR_STORE_CORRUPT',
    ],
    ['no layout version', (key: string) => server.admin.hdel(key, 'v'), 'ERR_STORE_CORRUPT'],
    ['no user id', (key: string) => server.admin.hdel(key, 'id'), 'ERR_STORE_CORRUPT'],
    ['a newer layout', (key: string) => server.admin.hset(key, 'v', '3'), 'ERR_STORE_LAYOUT'],
  ])('%s: is an error, not "not signed in"; it lets no user in and is not overwritten', async (_case, damage, code) => {
    const sessions = manage();
    const [token, other] = [await sessions.setToken('ada'), await sessions.setToken('grace')];
    await damage(keyOf(token));
    const before = await server.admin.dump(keyOf(token));
    await expect(sessions.checkToken(token)).rejects.toEqual(refused(code));
    await expect(sessions.touchToken(token)).rejects.toEqual(refused(code));
    await expect(sessions.setToken('ada')).rejects.toEqual(refused(code));
    await expect(sessions.listUserSessions('ada')).rejects.toEqual(refused(code));
    expect(await server.admin.dump(keyOf(token))).toEqual(before);
    expect(await sessions.touchToken(other)).not.toBeNull();
  });

  it('of another user lets no user in and accepts no login, even under the right key', async () => {
    const sessions = manage();
    const token = await sessions.setToken('ada');
    await server.admin.hset(keyOf(token), 'id', 'eve');
    await expect(sessions.checkToken(token)).rejects.toEqual(refused('ERR_STORE_CORRUPT'));
    await expect(sessions.touchToken(token)).rejects.toEqual(refused('ERR_STORE_CORRUPT'));
    await expect(sessions.setToken('ada')).rejects.toEqual(refused('ERR_STORE_CORRUPT'));
    await expect(sessions.listUserSessions('ada')).rejects.toEqual(refused('ERR_STORE_CORRUPT'));
    expect(await server.admin.hget(keyOf(token), 'id')).toBe('eve');
  });

  it.each([
    '',
    'x',
    '1:2:3',
    '1:2:3:4:',
    '1:2:3:4:5:6',
    'ended:',
    'ended:9999999999999999:revoked:',
    '1:2:3:4:5',
    '1:2:3:4:5:6:7:8:9',
    '1:2:3:4:0:1:1:9999999999999999',
    '1:2:3:4:0:-1:1:1',
    '1:1:9999999999999999:0',
    '-1:2:3:4',
    '1e3:2:3:4',
    '1.5:2:3:4',
  ])(
    'a session record %j: an error for that session, none for the others, and deleteUserToken removes it',
    async (record) => {
      const sessions = manage();
      const [damaged, healthy] = [await sessions.setToken('ada'), await sessions.setToken('ada')];
      await server.admin.hset(keyOf(damaged), idOf(damaged), record);
      const corrupt = expect.objectContaining({
        code: 'ERR_STORE_CORRUPT',
        message: expect.stringContaining('deleteUserToken'),
      });
      await expect(sessions.touchToken(damaged)).rejects.toEqual(corrupt);
      await expect(sessions.refreshToken(damaged)).rejects.toEqual(corrupt);
      await expect(sessions.listUserToken('ada')).rejects.toEqual(corrupt);
      await expect(sessions.setToken('ada')).rejects.toEqual(corrupt);
      expect(await server.admin.hget(keyOf(damaged), idOf(damaged))).toBe(record);
      expect(await sessions.touchToken(healthy)).not.toBeNull();
      expect(await sessions.deleteUserToken('ada')).toBe(1);
      expect(await server.admin.hexists(keyOf(damaged), idOf(damaged))).toBe(0);
      expect(await sessions.checkToken(await sessions.setToken('ada'))).not.toBeNull();
    },
  );

  it('of a ban alone is an error for that user', async () => {
    const sessions = manage();
    const token = await sessions.setToken('ada');
    await server.admin.unlink(keyOf(token));
    await server.admin.hset(keyOf(token), 'ban', `${await timeOf(server)}:0:`);
    await expect(sessions.getBan('ada')).rejects.toEqual(refused('ERR_STORE_CORRUPT'));
    await expect(sessions.setToken('ada')).rejects.toEqual(refused('ERR_STORE_CORRUPT'));
    expect(await sessions.deleteUserToken('ada')).toBe(0);
    expect(await sessions.checkToken(token)).toBeNull();
  });

  it.each(['', 'x', '1:2', '1:9999999999999999:'])(
    'a ban %j: an error for logins alone, until it is lifted, renewed or removed',
    async (text) => {
      const sessions = manage();
      const corrupt = expect.objectContaining({ code: 'ERR_STORE_CORRUPT' });
      const live = await sessions.setToken('ada');
      const damage = () => server.admin.multi().hset(keyOf(live), 'ban', text).persist(keyOf(live)).exec();
      const heal: (() => Promise<unknown>)[] = [
        () => sessions.unbanUser('ada'),
        () => sessions.deleteUserToken('ada'),
        () => sessions.banUser('ada').then(() => sessions.unbanUser('ada')),
      ];
      for (const call of heal) {
        await damage();
        await expect(sessions.setToken('ada')).rejects.toEqual(corrupt);
        await expect(sessions.getBan('ada')).rejects.toEqual(corrupt);
        await call();
        expect(await sessions.getBan('ada')).toBeNull();
        expect(await server.admin.pttl(keyOf(live))).not.toBe(-1);
        expect(await sessions.checkToken(await sessions.setToken('ada'))).not.toBeNull();
      }
    },
  );

  it.each(['{', 'null', '"x"', '7', '{\n}'])(
    'attributes %j: an error, and the session can still be ended',
    async (json) => {
      const sessions = manage();
      const token = await sessions.setToken('ada', 60, { device: 'web' });
      await server.admin.hset(keyOf(token), `${idOf(token)}.a`, json);
      await expect(sessions.checkToken(token)).rejects.toEqual(refused('ERR_STORE_CORRUPT'));
      expect(await sessions.deleteToken(token)).toBe(true);
    },
  );

  it.each(['{', 'null', '"x"', '7', '{\n}'])(
    'attributes %j: count for no device when a login meets its limit',
    async (json) => {
      const sessions = manage(server.url, { maxSessionsPerDevice: 1 });
      const damaged = await sessions.setToken('ada', 60, { device: 'web' });
      await server.admin.hset(keyOf(damaged), `${idOf(damaged)}.a`, json);
      const web = await sessions.setToken('ada', 60, { device: 'web' });
      expect(await server.admin.hexists(keyOf(damaged), `${idOf(damaged)}.a`)).toBe(1);
      expect(await sessions.checkToken(web)).not.toBeNull();
      await sessions.setToken('ada', 60);
      expect(await server.admin.hexists(keyOf(damaged), `${idOf(damaged)}.a`)).toBe(0);
    },
  );

  it('is named by its key in the error of every call with a token of its user', async () => {
    const client = new Redis(server.url, { keyPrefix: 'shop:' });
    closing(() => client.disconnect());
    const sessions = manage(client);
    const [newer, damaged] = [await sessions.setToken('ada'), await sessions.setToken('eve')];
    const keyIn = (token: string) => `shop:${keyOf(token)}`;
    await server.admin.hset(keyIn(newer), 'v', '3');
    await server.admin.hset(keyIn(damaged), idOf(damaged), 'x');
    for (const token of [newer, damaged]) {
      const data = sessions.sessionData(token);
      for (const call of [
        () => sessions.checkToken(token),
        () => sessions.touchToken(token),
        () => sessions.refreshToken(token),
        () => data.get('cart'),
        () => requestSessionsOf(sessions).open(token, true),
      ]) {
        const error = await call().catch((reason: unknown) => reason);
        expect(error).toMatchObject({ status: 500, key: keyIn(token) });
        expect(inspect(error)).toContain(`key: '${keyIn(token)}'`);
      }
    }
    await expect(sessions.deleteToken(newer)).rejects.toMatchObject({ status: 500, key: keyIn(newer) });
    const failed = new Promise((resolve) => sessions.once('watch-failed', resolve));
    sessions.watch(newer);
    expect(await failed).toMatchObject({ error: { status: 500, key: keyIn(newer) } });
  });

  it.each(['v', 'id'])('without its field %j is removed by deleteUserToken, as the error says', async (field) => {
    const sessions = manage();
    const token = await sessions.setToken('ada');
    await server.admin.hdel(keyOf(token), field);
    const corrupt = expect.objectContaining({
      code: 'ERR_STORE_CORRUPT',
      message: expect.stringContaining('deleteUserToken'),
    });
    await expect(sessions.setToken('ada')).rejects.toEqual(corrupt);
    await expect(sessions.deleteUserToken('ada', { except: token })).rejects.toEqual(corrupt);
    expect(await sessions.deleteUserToken('ada')).toBe(1);
    expect(await server.admin.exists(keyOf(token))).toBe(0);
    expect(await sessions.checkToken(await sessions.setToken('ada'))).not.toBeNull();
  });

  it('of the last session goes with its key when that session is ended', async () => {
    const sessions = manage();
    const token = await sessions.setToken('ada');
    await server.admin.hset(keyOf(token), idOf(token), 'x');
    expect(await sessions.deleteToken(token)).toBe(false);
    expect(await server.admin.exists(keyOf(token))).toBe(0);
  });

  it('of another session is removed with the others when one session is kept', async () => {
    const sessions = manage();
    const [kept, damaged] = [await sessions.setToken('ada'), await sessions.setToken('ada')];
    await server.admin.hset(keyOf(kept), idOf(damaged), 'x');
    expect(await sessions.deleteUserToken('ada', { except: kept })).toBe(0);
    expect(await sessions.listUserToken('ada')).toEqual([kept]);
  });

  it.each(['end', 'endAll'] as const)(
    'of a session from another store is not taken over again after %s',
    async (end) => {
      const store = new RedisStore(server.url, { ...prefixes, ...PATIENT });
      closing(() => store.close());
      const [userId, tag, sid] = ['ada', tagOf('ada'), 'a'.repeat(22)];
      const limits = { maxSessions: 100, maxOnDevice: 0, onLimit: 'replace', replaces: [] } as const;
      const lifetime = { ttlMs: 60_000, absoluteTtlMs: 0, provedAt: 0 };
      const moved = { userId, sid, ...lifetime, attributes: { moved: true }, ...limits } as const;
      await store.create(tag, moved);
      await server.admin.hset(`${prefixes.tokenKeyPrefix}:{${tag}}`, sid, 'x');
      if (end === 'end') await store.end(tag, sid, null);
      else await store.endAll(tag, { except: null, message: null, goneAtVersion: null });
      await expect(store.create(tag, moved)).rejects.toMatchObject({ code: 'ERR_NO_SESSION' });
      expect(await server.admin.pttl(`${prefixes.tokenKeyPrefix}:{${tag}}`)).toBeGreaterThan(0);
    },
  );

  it('without an expiry keeps every session, and gets an expiry at the next login', async () => {
    const sessions = manage();
    const [short, long] = [await sessions.setToken('ada', 5), await sessions.setToken('ada', 500)];
    await server.admin.persist(keyOf(short));
    await sessions.touchToken(short);
    expect(await server.admin.pttl(keyOf(long))).toBe(-1);
    await sessions.refreshToken(short);
    expect(await server.admin.pttl(keyOf(long))).toBe(-1);
    await sessions.setToken('ada', 5);
    expect(await server.admin.pttl(keyOf(long))).toBeGreaterThan(490_000);
  });

  it('of a newer layout cannot be ended: an older service must not delete half of it', async () => {
    const sessions = manage();
    const token = await sessions.setToken('ada');
    await server.admin.hset(keyOf(token), 'v', '3');
    await expect(sessions.deleteToken(token)).rejects.toEqual(refused('ERR_STORE_LAYOUT'));
    await expect(sessions.deleteUserToken('ada')).rejects.toEqual(refused('ERR_STORE_LAYOUT'));
    await expect(sessions.refreshToken(token)).rejects.toEqual(refused('ERR_STORE_LAYOUT'));
    expect(await server.admin.exists(keyOf(token))).toBe(1);
  });

  it('of a newer layout keeps its user info where an older service finds no such user', async () => {
    let exists = true;
    const sessions = manage(undefined, { getUserInfo: () => (exists ? { name: 'Ada' } : null) });
    const token = await sessions.setToken('ada');
    await sessions.addUser('ada');
    await server.admin.hset(keyOf(token), 'v', '3');
    exists = false;
    await expect(sessions.addUser('ada')).rejects.toEqual(refused('ERR_STORE_LAYOUT'));
    expect(await sessions.deleteUser('ada')).toBe(true);
  });
});

it('a kick that is repeated spares the session that it has kept, and those that began after it', async () => {
  const sessions = manage();
  const [ended, kept] = [await sessions.setToken('ada'), await sessions.setToken('ada')];
  await sleep(5);
  const before = await timeOf(server);
  await sleep(5);
  const later = await sessions.setToken('ada');
  await defineScripts(server.admin).revoke(1, keyOf(ended), before, idOf(kept), '', '');
  expect(await sessions.listUserToken('ada')).toEqual([kept, later]);
});

describe('a ban that is repeated', () => {
  const keyOfUser = (userId: string) => `${prefixes.tokenKeyPrefix}:{${tagOf(userId)}}`;
  const repeat = (userId: string, ban: string, before = 0) =>
    defineScripts(server.admin).revoke(1, keyOfUser(userId), before, '', userId, ban);
  const stored = async (userId: string) => (await server.admin.hget(keyOfUser(userId), 'ban')) as string;

  it('holds on a server that did not have it, and ends sessions that began before it', async () => {
    const sessions = manage();
    const token = await sessions.setToken('ada');
    const since = (await timeOf(server)) + 1000;
    await repeat('ada', `${since}:0:spam`, since);
    expect(await sessions.inspectToken(token)).toEqual({ session: null, reason: 'banned', message: 'spam' });
    await expect(sessions.setToken('ada')).rejects.toMatchObject({ code: 'ERR_USER_BANNED' });
    const longAgo = (await timeOf(server)) - 3_600_000;
    await repeat('grace', `${longAgo}:0:`, longAgo);
    expect(await sessions.getBan('grace')).toBeNull();
    await repeat('grace', `${since}:0:`);
    expect(await sessions.getBan('grace')).toEqual({ since: new Date(since), until: null });
  });

  it('ends the logins that a server without it has accepted', async () => {
    const sessions = manage();
    const since = await timeOf(server);
    await sleep(5);
    const token = await sessions.setToken('ada');
    await repeat('ada', `${since}:0:spam`, since);
    expect(await sessions.inspectToken(token)).toEqual({ session: null, reason: 'banned', message: 'spam' });
    expect(await sessions.listUserSessions('ada')).toEqual([]);
  });

  it('does not return once it was lifted, nor override a later one', async () => {
    const sessions = manage();
    await sessions.banUser('ada', { reason: 'first' });
    const first = await stored('ada');
    await sessions.unbanUser('ada');
    const lifted = await stored('ada');
    await repeat('ada', first);
    expect(await sessions.getBan('ada')).toBeNull();
    expect(await sessions.checkToken(await sessions.setToken('ada'))).not.toBeNull();

    await sleep(5);
    await sessions.banUser('ada', { reason: 'second' });
    await repeat('ada', lifted);
    await repeat('ada', first);
    expect(await sessions.getBan('ada')).toMatchObject({ reason: 'second' });
    await repeat('ada', lifted.replace(/^\d+/, (await stored('ada')).split(':')[0] as string));
    expect(await sessions.getBan('ada')).toBeNull();
  });

  it('does not return once it was lifted after the clock was set back', async () => {
    const sessions = manage();
    const ban = `${(await timeOf(server)) + 60_000}:0:spam`;
    await repeat('ada', ban);
    expect(await sessions.unbanUser('ada')).toBe(true);
    await repeat('ada', ban);
    expect(await sessions.getBan('ada')).toBeNull();
  });

  it('does not return once it was lifted while the clock was ahead', async () => {
    const sessions = manage();
    await sessions.banUser('ada');
    const ban = await stored('ada');
    await elapse(2 * 3600);
    expect(await sessions.unbanUser('ada')).toBe(true);
    await elapse(-2 * 3600);
    await repeat('ada', ban);
    expect(await sessions.getBan('ada')).toBeNull();
  });

  it('does not return once it was lifted on a server that it had not reached', async () => {
    const sessions = manage();
    const ban = `${(await timeOf(server)) - 1}:0:`;
    expect(await sessions.unbanUser('ada')).toBe(false);
    const token = await sessions.setToken('ada');
    await repeat('ada', ban);
    expect(await sessions.getBan('ada')).toBeNull();
    expect(await sessions.checkToken(token)).not.toBeNull();
  });

  it('does not return once its lifting is forgotten: it began an hour ago by then', async () => {
    const sessions = manage();
    await sessions.banUser('ada');
    const since = Number((await stored('ada')).split(':')[0]);
    await sessions.unbanUser('ada');
    await elapse(3600);
    expect(await stored('ada')).toBeNull();
    await repeat('ada', `${since - 3_600_000}:0:`);
    expect(await sessions.getBan('ada')).toBeNull();
  });

  it('is ordered after an earlier one by its start, even when the clock was set back', async () => {
    const sessions = manage();
    const ahead = (await timeOf(server)) + 60_000;
    await repeat('ada', `${ahead}:0:by a clock that was ahead`);
    await sessions.banUser('ada', { reason: 'by this one' });
    expect(await sessions.getBan('ada')).toMatchObject({ since: new Date(ahead + 1), reason: 'by this one' });
  });

  it('is deleted an hour after its end; the key of a ban without an end never expires', async () => {
    const sessions = manage();
    await sessions.banUser('ada');
    expect(await server.admin.pttl(keyOfUser('ada'))).toBe(-1);
    await sessions.unbanUser('ada');
    const left = await server.admin.pttl(keyOfUser('ada'));
    expect(left).toBeGreaterThan(3_590_000);
    expect(left).toBeLessThanOrEqual(3_600_000);
    const anHourAgo = (await timeOf(server)) - 3_600_000;
    await server.admin.hset(keyOfUser('ada'), 'ban', `1:${anHourAgo}:`);
    await sessions.setToken('ada');
    expect(await stored('ada')).toBeNull();
  });
});

it('sessions that kicks have ended stay so on a server without its last writes, whatever they were to keep', async () => {
  const lossy = await startRedis();
  closing(() => lossy.stop());
  const [here, there] = [manage(lossy.url), manage(lossy.url)];
  const [first, second, third] = [await here.setToken('ada'), await here.setToken('ada'), await here.setToken('ada')];
  const [loggedOut, kept] = [await here.setToken('joan'), await here.setToken('joan')];
  await lossy.admin.save();
  // Two devices sign each other out.
  expect(await here.deleteUserToken('ada', { except: first })).toBe(2);
  expect(await here.deleteUserToken('ada', { except: second })).toBe(1);
  expect(await there.deleteToken(loggedOut)).toBe(true);
  await there.close();
  expect(await here.deleteUserToken('joan', { except: loggedOut })).toBe(1);
  await lossy.restart();
  for (const token of [first, second, third, loggedOut, kept]) {
    expect(await answered(() => here.checkToken(token))).toBeNull();
  }
});

it('a server that comes back without its last writes, and refuses all for a while, soon learns of an end', async () => {
  const lossy = await startRedis();
  closing(() => lossy.stop());
  const sessions = manage(lossy.url);
  const token = await sessions.setToken('ada');
  await lossy.admin.save();
  expect(await sessions.deleteToken(token)).toBe(true);
  // As a promoted master does until a replica follows it.
  const allowed = (replicas: number) => ask(lossy, 'CONFIG', 'SET', 'min-replicas-to-write', replicas);
  await allowed(1);
  await ask(lossy, 'CONFIG', 'REWRITE');
  await ask(lossy, 'CONFIG', 'SET', 'save', '');
  await lossy.restart();
  await sleep(5000);
  await expect(sessions.checkToken(token)).rejects.toMatchObject({ code: 'ERR_STORE_UNAVAILABLE' });
  await allowed(0);
  const begunAt = performance.now();
  await until('the end is repeated', async () => (await sessions.checkToken(token)) === null);
  expect(performance.now() - begunAt).toBeLessThan(1500);
});

it('a server that refused all before its connection broke learns of an end first of all', async () => {
  const own = await startRedis();
  closing(() => own.stop());
  // Long enough that a try to repeat the end falls into it.
  const client = new Redis(own.url, { retryStrategy: () => 1200, autoResendUnfulfilledCommands: false });
  closing(() => client.disconnect());
  const sessions = manage(client);
  const token = await sessions.setToken('ada');
  const key = keyOf(token);
  const lost = await own.admin.dumpBuffer(key);
  expect(await sessions.deleteToken(token)).toBe(true);
  const cut = async () => own.admin.call('CLIENT', 'KILL', 'ID', await client.client('ID'));
  await ask(own, 'CONFIG', 'SET', 'min-replicas-to-write', 1);
  await cut();
  await answered(() => client.ping());
  await expect(sessions.checkToken(token)).rejects.toMatchObject({ code: 'ERR_STORE_UNAVAILABLE' });
  await cut();
  const list = sessions.listUserSessions('ada');
  await ask(own, 'CONFIG', 'SET', 'min-replicas-to-write', 0);
  await own.admin.restore(key, 0, lost as Buffer, 'REPLACE');
  expect(await list).toEqual([]);
});

it('sessions whose clock was set back before they ended stay so on a server without its last writes', async () => {
  const lossy = await startRedis();
  closing(() => lossy.stop());
  const sessions = manage(lossy.url, { rotationGrace: 0 });
  // Of ada's two, one is left for a kick.
  const [loggedOut, , replaced, reused] = (await Promise.all(
    ['ada', 'ada', 'joan', 'grace'].map((userId) => sessions.setToken(userId)),
  )) as [string, string, string, string];
  await sessions.touchToken((await sessions.rotateToken(reused)) as string);
  await moveRecords(lossy.admin, prefixes, 60_000);
  await lossy.admin.save();
  expect(await sessions.deleteToken(loggedOut)).toBe(true);
  expect(await sessions.deleteUserToken('ada')).toBe(1);
  await sessions.createSession('joan', { replaces: [replaced] });
  await sleep(5);
  await sessions.checkToken(reused);
  await lossy.restart();
  for (const userId of ['ada', 'joan', 'grace']) {
    expect(await answered(() => sessions.listUserSessions(userId))).toEqual([]);
  }
});

it('a session with the id of an ended one lives on, whoever started it, when that end is repeated', async () => {
  const openStore = (): Store => new RedisStore(server.url, { ...prefixes, ...PATIENT });
  const [here, there] = [openStore(), openStore()];
  closing(() => Promise.all([here.close(), there.close()]));
  const tag = tagOf('ada');
  const ends: Record<string, (session: NewSession) => Promise<unknown>> = {
    endAll: () => here.endAll(tag, { except: null, message: null, goneAtVersion: null }),
    end: ({ sid }) => here.end(tag, sid, null),
    endWithData: ({ sid }) => here.endWithData(tag, sid, { reason: 'revoked', message: null }),
    'an end of one that was not there': async ({ sid }) => {
      await there.end(tag, sid, null);
      await here.end(tag, sid, null);
    },
    'a login': ({ sid }) => here.create(tag, newSession('ada', { replaces: [sid] })),
    'a reuse': async (session) => {
      const first = claimsOf(tag, (await there.create(tag, session)).session);
      await there.touch(tag, { ...first, gen: 1 }, { graceMs: 0, onReuse: 'end-session' }, 0);
      await here.check(tag, first, { graceMs: 0, onReuse: 'end-session' });
    },
  };
  const again: [string, TokenClaims][] = [];
  for (const [name, end] of Object.entries(ends)) {
    const session = newSession('ada');
    await there.create(tag, session);
    await end(session);
    expect(await sidsOf(here, tag)).not.toContain(session.sid);
    await sleep(2);
    again.push([name, claimsOf(tag, (await there.create(tag, session)).session)]);
  }
  await ask(server, 'CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
  await answered(() => here.list(tag));
  const live = await sidsOf(here, tag);
  expect(again.filter(([, { sid }]) => !live.includes(sid)).map(([name]) => name)).toEqual([]);
});

it('a check of an ended session gets the reason in the same call', async () => {
  const sessions = manage(server.url, { maxSessions: 1 });
  const replaced = await sessions.setToken('ada');
  const revoked = await sessions.setToken('ada');
  await sessions.deleteUserToken('ada', { message: 'bye' });
  const unknown = await sessions.setToken('ada');
  await sessions.deleteToken(unknown);
  const banned = await sessions.setToken('eve');
  await sessions.banUser('eve');
  const expired = await sessions.setToken('joan', 60);
  await elapse(60);
  await sessions.inspectToken(unknown);
  await sessions.inspectToken(unknown, { touch: true });
  for (const [reason, token] of Object.entries({ expired, replaced, revoked, unknown, banned })) {
    for (const touch of [false, true]) {
      await server.admin.config('RESETSTAT');
      expect(await sessions.inspectToken(token, { touch })).toMatchObject({ session: null, reason });
      expect(await scriptCalls(server)).toBe(1);
    }
  }
});

it('a reuse emits its event also on a client that returns numbers as strings', async () => {
  const client = new Redis({ port: server.port, password: PASSWORD, stringNumbers: true });
  closing(() => client.disconnect());
  const sessions = manage(client, { rotationGrace: 0 });
  const reused: unknown[] = [];
  sessions.on('reused', (event) => reused.push(event));
  const token = await sessions.setToken('ada');
  await sessions.touchToken((await sessions.rotateToken(token)) as string);
  expect(await sessions.checkToken(token)).toBeNull();
  expect(reused).toEqual([{ userId: 'ada', sessionId: idOf(token), ended: true }]);
});

describe('a former token whose session another request confirms, before it is ended for the reuse,', () => {
  /** A former token and the current one, of a client that calls `before` with each script that it sends. */
  async function reuse(before: (script: string, confirmAt: (time: number) => Promise<unknown>) => Promise<void>) {
    const calls: string[] = [];
    class Interrupted extends Redis {
      override async sendCommand(command: Command, stream?: never): Promise<unknown> {
        const script = Object.entries(SCRIPTS).find(([, lua]) => command.args[0] === hash('sha1', lua))?.[0];
        if (script !== undefined) {
          calls.push(script);
          await before(script, confirmAt);
        }
        return super.sendCommand(command, stream);
      }
    }
    const confirmAt = async (confirmed: number) => {
      const record = (await server.admin.hget(keyOf(token), idOf(token)))?.split(':') ?? [];
      record[6] = String(confirmed);
      await server.admin.hset(keyOf(token), idOf(token), record.join(':'));
    };
    const setUp = manage(server.url, { rotationGrace: 60 });
    const token = await setUp.setToken('ada');
    const child = (await setUp.rotateToken(token)) as string;
    await setUp.touchToken(child);
    const client = new Interrupted(server.url, { password: PASSWORD });
    closing(() => client.disconnect());
    return { sessions: manage(client, { rotationGrace: 60 }), token, child, calls, confirmAt };
  }

  it('is in flight', async () => {
    const now = await timeOf(server);
    let isConfirmed = false;
    const { sessions, token, child, calls, confirmAt } = await reuse(async (script, confirm) => {
      if (script !== 'endReused' || isConfirmed) return;
      isConfirmed = true;
      await confirm(now);
    });
    await confirmAt(now - 120_000);
    expect((await sessions.touchToken(token))?.user.id).toBe('ada');
    expect(calls).toEqual(['touch', 'endReused', 'touch']);
    await confirmAt(now - 120_000);
    expect(await sessions.touchToken(token)).toBeNull();
    expect(await sessions.touchToken(child)).toBeNull();
  });

  it('is refused with a 503 after three such tries, and nothing has ended', async () => {
    const now = await timeOf(server);
    const { sessions, token, child, calls } = await reuse((script, confirm) =>
      confirm(script === 'endReused' ? now : now - 120_000).then(() => undefined),
    );
    await expect(sessions.touchToken(token)).rejects.toMatchObject({ code: 'ERR_STORE_UNAVAILABLE', status: 503 });
    expect(calls).toEqual(Array(3).fill(['touch', 'endReused']).flat());
    expect((await sessions.touchToken(child))?.user.id).toBe('ada');
  });
});

it('an end for a reuse has no effect once its caller has given up', async () => {
  const sessions = manage();
  const token = await sessions.setToken('ada');
  const child = (await sessions.rotateToken(token)) as string;
  await sessions.touchToken(child);
  const { mintedAt = 0 } = readClaims(token) ?? {};
  const now = await timeOf(server);
  const endUntil = (deadline: number) =>
    defineScripts(server.admin).endReused(1, keyOf(token), idOf(token), mintedAt, 0, deadline) as Promise<unknown[]>;
  expect(await endUntil(now - 1)).toHaveLength(1);
  expect(await sessions.checkToken(child)).not.toBeNull();
  expect((await endUntil(now + 60_000))[1]).toBe('ended');
  expect(await sessions.checkToken(child)).toBeNull();
});

describe('a Redis whose memory is full', () => {
  beforeEach(() => server.admin.config('SET', 'maxmemory', '0'));
  afterAll(() => server.admin.config('SET', 'maxmemory', '0'));

  it('still checks, slides, refreshes, lists and ends sessions; only a login is a 503, and ends no session', async () => {
    const sessions = manage(server.url, { getUserInfo: (id) => ({ name: id }), singleMode: true });
    const tokens = [
      await sessions.setToken('ada'),
      await sessions.setToken('grace'),
      await sessions.setToken('joan'),
    ] as const;
    await server.admin.config('SET', 'maxmemory', '1');
    await sleep(5);
    const touched = await sessions.touchToken(tokens[0]);
    expect(touched?.user).toEqual({ id: 'ada', detail: { name: 'ada' } });
    expect(touched?.lastSeenAt.getTime()).toBeGreaterThan(touched?.createdAt.getTime() ?? 0);
    await expect(sessions.setToken('ada')).rejects.toMatchObject({
      code: 'ERR_STORE_UNAVAILABLE',
      message: expect.stringContaining('out of memory'),
    });
    expect(await sessions.refreshToken(tokens[0], 5)).toBe(true);
    expect(await sessions.listUserToken('ada')).toEqual([tokens[0]]);
    expect(await sessions.deleteToken(tokens[0])).toBe(true);
    expect(await sessions.deleteSession('grace', idOf(tokens[1]))).toBe(true);
    expect(await sessions.deleteUserToken('joan', { message: 'bye' })).toBe(1);
    expect(await sessions.inspectToken(tokens[2])).toEqual({ session: null, reason: 'revoked', message: 'bye' });
  });

  it('accepts no new session data, and still reads and deletes existing data', async () => {
    const sessions = manage();
    const token = await sessions.setToken('ada');
    const data = sessions.sessionData(token);
    await data.set({ a: 'x', b: 2, c: 3, d: 4 });
    await server.admin.config('SET', 'maxmemory', '1');
    const full = { code: 'ERR_STORE_UNAVAILABLE', message: expect.stringContaining('out of memory') };
    await expect(data.set('big', 'x'.repeat(1000))).rejects.toMatchObject(full);
    await expect(data.increment('b')).rejects.toMatchObject(full);
    await expect(data.update('a', () => 'y')).rejects.toMatchObject(full);
    expect(await data.pop('a')).toBe('x');
    expect(await data.delete('b')).toBe(true);
    expect(await data.update('c', () => undefined)).toBeUndefined();
    expect(await data.getAll()).toEqual({ d: 4 });
    await data.clear();
    expect(await data.getAll()).toEqual({});
  });

  it('caches no user info: it is loaded for each request', async () => {
    const getUserInfo = jest.fn((id: string) => ({ name: id }));
    const sessions = manage(server.url, { getUserInfo });
    const token = await sessions.setToken('ada');
    await server.admin.config('SET', 'maxmemory', '1');
    await expect(sessions.addUser('ada')).rejects.toMatchObject({ code: 'ERR_STORE_UNAVAILABLE' });
    for (const loads of [2, 3]) {
      // A request may join the load of the previous one until Redis has refused to store that.
      await until('it is loaded again', async () => {
        expect((await sessions.touchToken(token))?.user.detail).toEqual({ name: 'ada' });
        return getUserInfo.mock.calls.length === loads;
      });
    }
    await server.admin.config('SET', 'maxmemory', '0');
    expect(await sessions.addUser('ada')).toEqual({ id: 'ada', detail: { name: 'ada' } });
    await sessions.touchToken(token);
    expect(getUserInfo).toHaveBeenCalledTimes(4);
  });

  it('still forgets user info, known or not', async () => {
    const sessions = manage(server.url, { getUserInfo: (id) => ({ name: id }) });
    await sessions.addUser('ada');
    await server.admin.config('SET', 'maxmemory', '1');
    expect(await sessions.deleteUser('ada')).toBe(true);
    expect(await sessions.deleteUser('ada')).toBe(false);
    expect(await sessions.deleteUser('nobody')).toBe(false);
  });

  it('still bans and lifts bans, rotates, re-authenticates, and detects a reuse', async () => {
    const sessions = manage(server.url, { rotationGrace: 0 });
    const [ada, grace] = [await sessions.setToken('ada'), await sessions.setToken('grace')];
    await server.admin.config('SET', 'maxmemory', '1');
    const rotated = (await sessions.rotateToken(grace)) as string;
    expect(await sessions.touchToken(rotated)).not.toBeNull();
    const proved = await sessions.reauthenticateToken(ada);
    expect(await sessions.touchToken(proved?.token as string)).toMatchObject({
      authenticatedAt: proved?.authenticatedAt,
    });
    expect(await sessions.banUser('ada', { reason: 'spam' })).toBe(1);
    expect(await sessions.inspectToken(ada)).toEqual({ session: null, reason: 'banned', message: 'spam' });
    expect(await sessions.banUser('nobody')).toBe(0);
    expect(await sessions.getBan('nobody')).not.toBeNull();
    expect(await sessions.unbanUser('ada')).toBe(true);
    expect(await sessions.checkToken(grace)).toBeNull();
    expect(await sessions.inspectToken(rotated)).toEqual({ session: null, reason: 'reused' });
  });
});

describe('the client', () => {
  it('may be a URL, settings, or an ioredis client of version 6 or 5, with its own key prefix', async () => {
    const settings = { host: '127.0.0.1', port: server.port, password: PASSWORD };
    const clients = [
      new Redis({ ...settings, keyPrefix: 'app:' }),
      new Redis5({ ...settings, lazyConnect: true }),
      new Redis({ ...settings, stringNumbers: true }),
    ];
    closing(() => clients.map((client) => client.disconnect()));
    for (const redis of [server.url, settings, { ...settings, db: 3 }, `${server.url}/3`, ...clients]) {
      const sessions = manage(redis as Redis, { getUserInfo: (id) => ({ name: id }) });
      const token = await sessions.setToken('ada', 60);
      expect(await sessions.touchToken(token)).toMatchObject({
        ttl: secondsLeft(60),
        user: { id: 'ada', detail: { name: 'ada' } },
      });
      expect(await sessions.refreshToken(token, 50)).toBe(true);
      expect(await sessions.listUserToken('ada')).toContain(token);
      expect(await sessions.deleteToken(token)).toBe(true);
      expect(await sessions.deleteUser('ada')).toBe(true);
      await sessions.deleteUserToken('ada');
    }
    // The version of the info that was deleted is kept for a minute.
    for (const key of await server.admin.keys('app:*')) expect(await server.admin.get(key)).toMatch(/^\d{13}:0:$/);
  });

  it('passed in may serve two stores and the application at the same time', async () => {
    const client = new Redis(server.url);
    closing(() => client.quit());
    const [one, two] = [manage(client), manage(client)];
    const token = await one.setToken('ada');
    expect(await two.checkToken(token)).not.toBeNull();
    await one.close();
    expect(await two.checkToken(token)).not.toBeNull();
    expect(await client.ping()).toBe('PONG');
  });

  it('loses our listeners when the store is closed, and works on for the application', async () => {
    const client = new Redis(server.url);
    closing(() => client.quit());
    const before = client.eventNames().map((name) => client.listenerCount(name));
    for (let i = 0; i < 20; i++) {
      const sessions = manage(client);
      await sessions.setToken('ada');
      await sessions.close();
      await expect(sessions.setToken('ada')).rejects.toMatchObject({ message: 'the store is closed' });
    }
    expect(client.eventNames().map((name) => client.listenerCount(name))).toEqual(before);
    expect(await client.ping()).toBe('PONG');
  });

  it('has our scripts under names with our package and their version', () => {
    const defined: string[] = [];
    const client = new Redis({ lazyConnect: true });
    const defineCommand = client.defineCommand.bind(client);
    client.defineCommand = (name, definition) => {
      defined.push(name);
      defineCommand(name, definition);
    };
    new RedisStore(client);
    expect(defined).toHaveLength(Object.keys(SCRIPTS).length);
    for (const name of defined) expect(name).toMatch(/^tokensession:\w+:[0-9a-f]{8}$/);
    client.disconnect();
  });

  it('that its owner closed is an outage at once', async () => {
    const client = new Redis(server.url);
    await client.quit();
    while (client.status !== 'end') await sleep(5);
    const begin = performance.now();
    await expect(manage(client).setToken('ada')).rejects.toMatchObject({ code: 'ERR_STORE_UNAVAILABLE' });
    expect(performance.now() - begin).toBeLessThan(PATIENT.timeoutMs / 2);
  });

  it('is rejected unless it is an ioredis client', () => {
    for (const redis of [{ get: () => null }, { defineCommand: () => null }, [], 7]) {
      expect(() => new RedisStore(redis as never)).toThrow(TypeError);
    }
  });

  it('without the right to its database serves no sessions of database 0 instead', async () => {
    const reported = jest.fn();
    const made = createRedisClient(`${server.url}/99`).on('error', reported);
    await new Promise((resolve) => made.once('close', resolve));
    const given = new Redis(`${server.url}/99`, { retryStrategy: () => 50, disconnectTimeout: 50 }).on(
      'error',
      reported,
    );
    const targets = [`${server.url}/99`, { host: '127.0.0.1', port: server.port, password: PASSWORD, db: 99 }];
    for (const redis of [given, made, ...targets]) {
      const sessions = manage(redis);
      for (let tries = 0; tries < 3; tries++) {
        await expect(sessions.setToken('ada')).rejects.toMatchObject({
          code: 'ERR_STORE_UNAVAILABLE',
          cause: { message: 'ERR DB index is out of range' },
        });
        await sleep(60);
      }
    }
    expect(await server.admin.keys(`${prefixes.tokenKeyPrefix}*`)).toEqual([]);
    for (const client of [given, made]) client.disconnect();
    expect(reported).toHaveBeenCalledWith(expect.objectContaining({ message: 'ERR DB index is out of range' }));
  });

  it('works after Redis has lost its scripts', async () => {
    const sessions = manage();
    const token = await sessions.setToken('ada');
    for (let i = 0; i < 5; i++) {
      await server.admin.script('FLUSH');
      expect(await sessions.touchToken(token)).not.toBeNull();
    }
  });
});

describe('errors', () => {
  it('for a wrong password say so, and contain neither it nor the token', async () => {
    const wrong = 'not the password at all';
    const sessions = manage({ host: '127.0.0.1', port: server.port, password: wrong });
    const token = await manage(server.url).setToken('ada');
    const error = (await sessions.checkToken(token).catch((reason: unknown) => reason)) as Error;
    expect(error).toMatchObject({
      code: 'ERR_STORE_UNAVAILABLE',
      status: 503,
      message: 'Redis refused our credentials',
    });
    expect(error.cause).toMatchObject({ message: expect.stringContaining('WRONGPASS') });
    expect(inspect(error, { depth: 10, showHidden: true })).not.toContain(wrong);
    expect(inspect(error, { depth: 10, showHidden: true })).not.toContain(token);
  });

  it('contain no argument that Redis repeats, as for an unknown command or AUTH', async () => {
    const hardened = await startRedis({
      'rename-command': ['EVAL', 'EVALSHA', 'HELLO', 'AUTH'].map((name) => [name, `hidden-${name}`]),
    });
    closing(() => hardened.stop());
    const sessions = manage(hardened.url, { getUserInfo: () => 'private detail' });
    const cached = (await sessions.addUser('ada').catch((reason: unknown) => reason)) as Error;
    const shut = manage({ host: '127.0.0.1', port: hardened.port, password: 'private password' });
    const refused = (await shut.setToken('ada').catch((reason: unknown) => reason)) as Error;
    for (const error of [cached, refused]) {
      expect(error).toMatchObject({
        code: 'ERR_STORE_UNAVAILABLE',
        cause: { message: expect.stringMatching(/unknown command/) },
      });
      expect(inspect(error, { depth: 10, showHidden: true })).not.toContain('private');
    }
  });

  it('for a host with several addresses name each failure', async () => {
    const port = await freePort();
    const addresses = [
      { address: '127.0.0.1', family: 4 },
      { address: '::1', family: 6 },
    ];
    // Not each machine has two for localhost.
    const resolve = jest.spyOn(dns, 'lookup').mockImplementation(((...args: unknown[]) => {
      (args.at(-1) as (error: null, found: unknown) => void)(null, addresses);
    }) as never);
    try {
      const sessions = manage({ host: 'localhost', port });
      const error = (await sessions.setToken('ada').catch((reason: unknown) => reason)) as Error;
      for (const { address } of addresses) {
        expect((error.cause as Error).message).toMatch(new RegExp(`E\\w+ ${address}:${port}`));
      }
    } finally {
      resolve.mockRestore();
    }
  });

  it("keep Redis's message as the cause, without the arguments of the command", async () => {
    const sessions = manage(server.url, { getUserInfo: () => 'private detail' });
    const token = await sessions.setToken('ada', 60, { device: 'private device' });
    await server.admin.set(keyOf(token), 'x');
    const error = (await sessions
      .setToken('ada', 60, { device: 'private device' })
      .catch((reason: unknown) => reason)) as Error;
    expect(inspect(error.cause)).toContain('WRONGTYPE');
    expect(inspect(error, { depth: 10, showHidden: true })).not.toContain('private');
  });
});
