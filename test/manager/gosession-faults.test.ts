import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { RedisStore, TokenManager, type TokenManagerOptions } from 'tokensession';
import { closeAfterEach } from '../support/closing';
import { type RedisServer, startRedis } from '../support/redis-server';
import { secondsLeft } from '../support/seconds-left';
import { idOf } from '../support/session-id';
import { PATIENT, randomPrefixes, SECRET } from '../support/stores';
import { until } from '../support/until';

/*
 * Each fault found in the Go library, as a promise of this one, on a real Redis.
 */

interface Detail {
  name: string;
}

let server: RedisServer;
let prefixes: { tokenKeyPrefix: string; userKeyPrefix: string };
const closing = closeAfterEach();

/** A separate service: its own client and manager, the same Redis and secret. */
function service(options: Partial<TokenManagerOptions<Detail>> = {}): TokenManager<Detail> {
  const manager = new TokenManager<Detail>({
    store: new RedisStore(server.url, { ...prefixes, ...PATIENT }),
    secret: SECRET,
    ...options,
  });
  closing(() => manager.close());
  return manager;
}

const keys = (pattern = '*') => server.admin.keys(pattern);

beforeAll(async () => {
  server = await startRedis();
});
beforeEach(async () => {
  prefixes = randomPrefixes();
  await server.admin.flushall();
});
afterAll(() => server.stop());

it('1: refreshing a token that was never issued signs no user in', async () => {
  const sessions = service();
  const issued = await sessions.setToken('admin');
  for (const token of ['admin_x', 'admin', '', `${issued.slice(0, -1)}${issued.endsWith('A') ? 'E' : 'A'}`]) {
    expect(await sessions.refreshToken(token, 100)).toBe(false);
    expect(await sessions.checkToken(token)).toBeNull();
  }
  expect(await sessions.listUserToken('admin')).toEqual([issued]);
});

it('2: a user id with an underscore stays that user', async () => {
  const sessions = service();
  const tokens = [await sessions.setToken('a_b'), await sessions.setToken('a'), await sessions.setToken('a_b_c')];
  const users = await Promise.all(tokens.map(async (token) => (await sessions.checkToken(token))?.user.id));
  expect(users).toEqual(['a_b', 'a', 'a_b_c']);
  expect(await sessions.deleteUserToken('a')).toBe(1);
  expect(await sessions.listUserToken('a_b')).toEqual([tokens[0]]);
});

it('3: refreshing a logged-out token does not revive it', async () => {
  const sessions = service();
  const token = await sessions.setToken('ada');
  await sessions.deleteToken(token);
  expect(await sessions.refreshToken(token, 100)).toBe(false);
  expect(await sessions.checkToken(token)).toBeNull();
  expect(await keys()).toEqual([]);
});

it('3: refreshes and checks that race a logout do not revive the session', async () => {
  const [one, two] = [service(), service()];
  for (let round = 0; round < 30; round++) {
    const token = await one.setToken('ada');
    await Promise.all([
      two.refreshToken(token, 100),
      two.touchToken(token),
      one.deleteToken(token),
      two.refreshToken(token, 100),
      two.touchToken(token),
    ]);
    expect(await one.checkToken(token)).toBeNull();
  }
  expect(await keys()).toEqual([]);
});

it('4: single mode leaves exactly one live session of 100 parallel logins over two clients', async () => {
  const services = [service({ singleMode: true }), service({ singleMode: true })] as const;
  const tokens = await Promise.all(
    Array.from({ length: 100 }, (_, i) => services[i % 2 === 0 ? 0 : 1].setToken('ada')),
  );
  const live = (await Promise.all(tokens.map((token) => services[0].checkToken(token)))).filter(
    (session) => session !== null,
  );
  expect(live).toHaveLength(1);
  expect(await services[1].listUserToken('ada')).toEqual([live[0]?.token]);
});

it('5: a login that was not stored gives no token', async () => {
  const sessions = service();
  await sessions.setToken('grace');
  await server.admin.config('SET', 'maxmemory', '1');
  try {
    await expect(sessions.setToken('ada')).rejects.toMatchObject({ code: 'ERR_STORE_UNAVAILABLE', status: 503 });
  } finally {
    await server.admin.config('SET', 'maxmemory', '0');
  }
  expect(await sessions.listUserToken('ada')).toEqual([]);
});

it('6: a user who was deleted from the database loses all sessions at the next check', async () => {
  const users = new Map([['ada', { name: 'Ada' }]]);
  const sessions = service({ getUserInfo: (id) => users.get(id), userInfoTtl: 1 });
  const tokens = [await sessions.setToken('ada'), await sessions.setToken('ada')] as const;
  expect((await sessions.touchToken(tokens[0]))?.user.detail).toEqual({ name: 'Ada' });
  users.delete('ada');
  await sessions.deleteUser('ada');
  expect(await sessions.touchToken(tokens[0])).toBeNull();
  expect(await sessions.checkToken(tokens[1])).toBeNull();
  expect(await sessions.listUserToken('ada')).toEqual([]);
});

it('6: a failing loader ends no session, caches nothing and does not count as "not signed in"', async () => {
  const failure = new Error('the database is down');
  let isDown = true;
  const sessions = service({
    getUserInfo: (id) => {
      if (isDown) throw failure;
      return { name: id };
    },
  });
  const token = await sessions.setToken('ada');
  await expect(sessions.touchToken(token)).rejects.toBe(failure);
  await expect(sessions.checkTokenOrUpdateUser(token)).rejects.toBe(failure);
  isDown = false;
  expect((await sessions.touchToken(token))?.user.detail).toEqual({ name: 'ada' });
});

it('7: nothing in Redis, key or value, can be used to sign in', async () => {
  const sessions = service({ getUserInfo: (id) => ({ name: id }) });
  const token = await sessions.setToken('ada', 100, { device: 'web' });
  await sessions.touchToken(token);
  const dump: string[] = [];
  for (const key of await keys()) {
    dump.push(
      key,
      ...((await server.admin.type(key)) === 'hash'
        ? Object.entries(await server.admin.hgetall(key)).flat()
        : [(await server.admin.get(key)) ?? '']),
    );
  }
  const text = dump.join('\n');
  expect(dump).toContain('ada');
  expect(text).not.toContain(token.split('.').at(-1));
  expect(text).not.toContain(SECRET);
});

it('8: a thousand sessions have a thousand random ids', async () => {
  const sessions = service();
  const tokens = await Promise.all(Array.from({ length: 1000 }, (_, i) => sessions.setToken(`user ${i % 100}`)));
  expect(new Set(tokens.map(idOf)).size).toBe(1000);
});

it('9: a session of a hundred days can be listed and ended for as long as it lives', async () => {
  const sessions = service();
  const hundredDays = 100 * 24 * 3600;
  const token = await sessions.setToken('ada', hundredDays);
  await sessions.setToken('ada', 60);
  const [key] = await keys(`${prefixes.tokenKeyPrefix}*`);
  expect(await server.admin.ttl(key as string)).toBeGreaterThan(hundredDays - 60);
  expect(await sessions.listUserToken('ada')).toContain(token);
});

it('10: 50 rounds of login against "delete all" never leave a session that is live and not listed', async () => {
  const [one, two] = [service(), service()];
  for (let round = 0; round < 50; round++) {
    const [token] = await Promise.all([one.setToken('ada'), two.deleteUserToken('ada')]);
    const isLive = (await two.checkToken(token)) !== null;
    expect(await one.listUserToken('ada')).toEqual(isLive ? [token] : []);
    await one.deleteUserToken('ada');
  }
});

it('11: expiry uses the clock of Redis alone: a service whose clock is a year off agrees', async () => {
  const right = service();
  const off = service();
  const token = await right.setToken('ada', 100);
  const now = jest.spyOn(Date, 'now').mockReturnValue(Date.now() + 365 * 24 * 3_600_000);
  try {
    expect(await off.touchToken(token)).toMatchObject({ ttl: secondsLeft(100) });
    const other = await off.setToken('ada', 100);
    expect(await right.checkToken(other)).toMatchObject({ ttl: secondsLeft(100) });
  } finally {
    now.mockRestore();
  }
});

it('12: absoluteTtl limits the whole life of a session, however often it is used or refreshed', async () => {
  const sessions = service({ absoluteTtl: 1 });
  const begin = performance.now();
  const token = await sessions.setToken('ada', 3600);
  await sessions.refreshToken(token, 3600);
  await until('it has ended', async () => (await sessions.touchToken(token)) === null);
  expect(performance.now() - begin).toBeGreaterThan(990);
});

it.each(['', 'x', 'admin_x', 'a.b.c', '..', '\0', '🔑', 'x'.repeat(100_000)])(
  '13: a malformed token means "not signed in", and is no error: %#',
  async (token) => {
    const sessions = service();
    expect(await sessions.checkToken(token)).toBeNull();
    expect(await sessions.touchToken(token)).toBeNull();
    expect(await sessions.checkTokenOrUpdateUser(token)).toBeNull();
    expect(await sessions.refreshToken(token)).toBe(false);
    expect(await sessions.deleteToken(token)).toBe(false);
  },
);

it('14: checking an unknown token writes nothing to Redis', async () => {
  const sessions = service({ getUserInfo: (id) => ({ name: id }) });
  const dead = await sessions.setToken('ada');
  await sessions.deleteToken(dead);
  const changes = async () =>
    Number(/rdb_changes_since_last_save:(\d+)/.exec(await server.admin.info('persistence'))?.[1]);
  const before = await changes();
  expect(await sessions.touchToken(dead)).toBeNull();
  expect(await sessions.checkTokenOrUpdateUser(dead)).toBeNull();
  expect(await changes()).toBe(before);
  expect(await keys()).toEqual([]);
});

it('15: a check takes one round trip, with user info and sliding included', async () => {
  const sessions = service({ getUserInfo: (id) => ({ name: id }) });
  const token = await sessions.setToken('ada');
  await sessions.addUser('ada');
  await sessions.touchToken(token);
  await server.admin.config('RESETSTAT');
  for (let i = 0; i < 10; i++) expect((await sessions.touchToken(token))?.user.detail).toEqual({ name: 'ada' });
  const stats = await server.admin.info('commandstats');
  const fromClients = [...stats.matchAll(/cmdstat_(\S+?):calls=(\d+)/g)].map(([, name, calls]) => `${name} ${calls}`);
  // Includes calls inside scripts: the client itself sends EVALSHA; INFO and CONFIG come from the test.
  expect(fromClients).toContain('evalsha 10');
  expect(fromClients.filter((line) => /^(get|getex|eval|set|multi|exec) /.test(line))).toEqual(['getex 10']);
});

it('16: a session with less than a second left is live, and its ttl reads 1', async () => {
  const sessions = service();
  // A busy machine may take all that is left.
  await until('it says 1', async () => (await sessions.checkToken(await sessions.setToken('ada', 1)))?.ttl === 1);
});

it.each([
  ['no JSON', (key: string) => server.admin.set(key, '{"name":')],
  ['JSON for nothing', (key: string) => server.admin.set(key, 'null')],
  ['an empty text', (key: string) => server.admin.set(key, '')],
  ['a list', (key: string) => server.admin.rpush(key, 'x')],
])('17: cached user info that is %s is loaded again and locks no user out', async (_, corrupt) => {
  const sessions = service({ getUserInfo: (id) => ({ name: id }) });
  const token = await sessions.setToken('ada');
  await sessions.addUser('ada');
  const [key] = await keys(`${prefixes.userKeyPrefix}*`);
  await server.admin.del(key as string);
  await corrupt(key as string);
  expect((await sessions.touchToken(token))?.user.detail).toEqual({ name: 'ada' });
  await until('it is kept', async () =>
    /^\d{13}:\d{13}:{"name":"ada"}$/.test((await server.admin.get(key as string)) ?? ''),
  );
});

it('18: a hundred parallel checks call the loader once', async () => {
  const getUserInfo = jest.fn<Promise<Detail>, [string]>(async (id) => {
    await sleep(20);
    return { name: id };
  });
  const sessions = service({ getUserInfo });
  const token = await sessions.setToken('ada');
  const checks = await Promise.all(Array.from({ length: 100 }, () => sessions.touchToken(token)));
  expect(checks.every((session) => session?.user.detail?.name === 'ada')).toBe(true);
  expect(getUserInfo).toHaveBeenCalledTimes(1);
});

it('18: refreshing many users continues after a failure and reports all failures together', async () => {
  const sessions = service({
    getUserInfo: (id) => {
      if (id.startsWith('bad')) throw new Error(`no ${id}`);
      return { name: id };
    },
  });
  const token = await sessions.setToken('last');
  const refreshed = sessions.refreshUser(['bad 1', 'first', 'bad 2', 'last']);
  await expect(refreshed).rejects.toBeInstanceOf(AggregateError);
  await expect(refreshed).rejects.toMatchObject({
    message: 'the info of 2 users could not be refreshed',
    errors: [expect.objectContaining({ message: 'no bad 1' }), expect.objectContaining({ message: 'no bad 2' })],
  });
  const kept = await server.admin.mget(await keys(`${prefixes.userKeyPrefix}*`));
  expect(kept.filter((value) => /^\d{13}:\d{13}:{/.test(value ?? ''))).toHaveLength(2);
  expect((await service().touchToken(token))?.user.detail).toEqual({ name: 'last' });
});

it('19: keys of different kinds cannot collide, and prefixes that would make them collide are refused', async () => {
  const build = (tokenKeyPrefix: string, userKeyPrefix: string) => () =>
    new RedisStore(server.url, { tokenKeyPrefix, userKeyPrefix });
  expect(build('same', 'same')).toThrow(
    new RangeError('option userKeyPrefix must differ from tokenKeyPrefix: their keys would be the same'),
  );
  expect(build('{app}', 'user')).toThrow(RangeError);
  expect(build('', 'user')).toThrow(RangeError);

  prefixes = { tokenKeyPrefix: 'a', userKeyPrefix: 'a:b' };
  const sessions = service({ getUserInfo: (id) => ({ name: id }) });
  for (const id of ['b', 'a', ':', 'b:{x}']) {
    const token = await sessions.setToken(id);
    expect((await sessions.touchToken(token))?.user).toEqual({ id, detail: { name: id } });
  }
});

it('20: every error of the store reaches its caller', async () => {
  const sessions = service({ getUserInfo: (id) => ({ name: id }) });
  const token = await sessions.setToken('ada');
  await server.admin.set((await keys())[0] as string, 'not a hash');
  const calls = [
    sessions.setToken('ada'),
    sessions.refreshToken(token),
    sessions.deleteToken(token),
    sessions.checkToken(token),
    sessions.touchToken(token),
    sessions.listUserToken('ada'),
    sessions.deleteUserToken('ada'),
  ];
  for (const outcome of await Promise.allSettled(calls)) {
    expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'ERR_STORE_CORRUPT', status: 500 } });
  }
});

it('a deleted session leaves nothing in Redis but its reason, for a day at most', async () => {
  const sessions = service();
  const [one, two] = [await sessions.setToken('ada'), await sessions.setToken('ada')];
  await sessions.deleteToken(one);
  await sessions.deleteToken(two);
  expect(await keys()).toEqual([]);
  await sessions.setToken('ada');
  await sessions.deleteUserToken('ada');
  // Only the reason of its end stays, for a day at most.
  const [key] = (await keys()) as [string];
  expect(Object.values(await server.admin.hgetall(key)).sort()).toEqual(['1', 'ada', expect.stringMatching(/^ended:/)]);
  expect(await server.admin.pttl(key)).toBeLessThanOrEqual(24 * 3_600_000);
});

it('no client of the package stays connected after its manager was closed', async () => {
  const manager = service();
  await manager.setToken('ada');
  const client = new Redis(server.url);
  const borrowed = new TokenManager({ store: new RedisStore(client, { ...PATIENT, ...prefixes }), secret: SECRET });
  await borrowed.setToken('ada');
  await Promise.all([manager.close(), borrowed.close()]);
  expect(client.status).toBe('ready');
  expect(await client.ping()).toBe('PONG');
  await client.quit();
  const clients = async () => ((await server.admin.client('LIST')) as string).trim().split('\n').length;
  await until('only the client of this test is connected', async () => (await clients()) === 1);
});
