import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  MemoryStore,
  RedisStore,
  SessionError,
  type SessionEvents,
  type Store,
  type StoredSession,
  TokenManager,
  type TokenManagerOptions,
} from 'tokensession';
import { requireRecentLogin, sessionOpener } from 'tokensession/fetch';
import { NearCache } from '../../src/cache/near-cache';
import { tagOf } from '../../src/token/token';
import { FRAMEWORKS, listen } from '../support/apps';
import { closeAfterEach } from '../support/closing';
import { countedStore } from '../support/counted-store';
import { gate } from '../support/gate';
import { inHeader, usedHeap } from '../support/heap';
import { type RedisServer, scriptCalls, startRedis } from '../support/redis-server';
import { idOf } from '../support/session-id';
import { PATIENT, randomPrefixes, SECRET } from '../support/stores';
import { startProxy } from '../support/tcp-proxy';
import { until } from '../support/until';
import { wrapStore } from '../support/wrapped-store';

let server: RedisServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

const closing = closeAfterEach();
const OLDER_SECRET = 'an older secret for tests, no shorter than the other';

type Options = Partial<TokenManagerOptions<{ name: string }>>;

/** Much longer than a test: what a process learns sooner came by announcement. */
const CACHE = { maxAgeMs: 60_000, heartbeatMs: 10_000 };

/** For calls that have to fail, since Redis is silent. */
const HASTY = { timeoutMs: 1000 };

/** A separate service on the sessions under these prefixes. */
function service(prefixes: ReturnType<typeof randomPrefixes>, options: Options, timing = PATIENT) {
  const counted = countedStore(new RedisStore(server.url, { ...timing, ...prefixes }));
  const sessions = new TokenManager({ store: counted.store, secret: SECRET, cache: CACHE, ...options });
  closing(() => sessions.close());
  return { sessions, calls: counted.calls };
}

/** Two services with the same sessions, the first one with a near cache. */
async function twoServices(options: Options = {}, options2: Options = options, timing = PATIENT) {
  const prefixes = randomPrefixes();
  const here = service(prefixes, options, timing);
  const there = service(prefixes, { ...options2, cache: false });
  await up(here.sessions);
  return { here: here.sessions, calls: here.calls, there: there.sessions, prefixes };
}

async function up(sessions: TokenManager<{ name: string }>): Promise<void> {
  await until('it serves', async () => sessions.checkToken(await sessions.setToken('another user')));
  await until('the cache is up', () => sessions.cacheStats?.isUp);
}

/** A session that the near cache answers for. */
async function hot(sessions: TokenManager<{ name: string }>, userId = 'ada'): Promise<string> {
  const token = await until('it is logged in', () => sessions.setToken(userId));
  await heat(sessions, token);
  return token;
}

async function heat(sessions: TokenManager<{ name: string }>, token: string): Promise<void> {
  await until('it is answered from memory', async () => {
    const before = sessions.cacheStats?.hits ?? 0;
    expect(await sessions.touchToken(token)).not.toBeNull();
    return (sessions.cacheStats?.hits ?? 0) > before;
  });
}

const refuses = (sessions: TokenManager<{ name: string }>, token: string) =>
  until('it refuses the token', async () => (await sessions.checkToken(token)) === null);

describe.each(Object.entries(FRAMEWORKS))('requireRecentLogin in %s', (_, build) => {
  it('calls the store once a request, never the near cache, and refuses a session whose end was not announced', async () => {
    const { here, there, calls, prefixes } = await twoServices();
    const app = await listen(build(here, {}));
    closing(app.close);
    const token = await there.setToken('ada');
    const ask = async (path: string) => {
      calls.length = 0;
      const { status } = await fetch(app.url + path, { headers: { authorization: `Bearer ${token}` } });
      return [status, ...calls];
    };
    expect(await ask('/vault')).toEqual([200, 'touch']);
    await heat(here, token);
    expect(await ask('/me')).toEqual([200]);
    expect(await ask('/vault')).toEqual([200, 'check']);
    await server.admin.del(await server.admin.keys(`${prefixes.tokenKeyPrefix}:*`));
    expect(await ask('/me')).toEqual([200]);
    expect(await ask('/vault')).toEqual([401, 'check']);
    expect(await ask('/me')).toEqual([401, 'touch']);
  });
});

it.each(['a visitor', 'a user for whom another acts'])(
  'requireRecentLogin judges who is signed in after its call to the store: %s',
  async (who) => {
    const store = new RedisStore(server.url, { ...PATIENT, ...randomPrefixes() });
    const sessions = new TokenManager<{ name: string }>({ store, secret: SECRET, cache: CACHE });
    closing(() => sessions.close());
    await up(sessions);
    const headers = { authorization: `Bearer ${await hot(sessions)}` };
    const session = await sessionOpener(sessions)(new Request('https://app/', { headers }));
    const { check } = store;
    jest.spyOn(store, 'check').mockImplementationOnce(async (...asked) => {
      await session.logout();
      if (who === 'a visitor') await session.data.set('key' as never, 1 as never);
      else await session.login('bob', { actor: 'eve' });
      return check.apply(store, asked);
    });
    await expect(requireRecentLogin(session, 60)).rejects.toMatchObject({ status: who === 'a visitor' ? 401 : 403 });
  },
);

it('a 503 of requireRecentLogin has Retry-After in the answer of the application, too', async () => {
  const store = new RedisStore(server.url, { ...PATIENT, ...randomPrefixes() });
  const sessions = new TokenManager<{ name: string }>({ store, secret: SECRET, cache: CACHE });
  closing(() => sessions.close());
  await up(sessions);
  const headers = { authorization: `Bearer ${await hot(sessions)}` };
  const session = await sessionOpener(sessions)(new Request('https://app/', { headers }));
  jest.spyOn(store, 'check').mockRejectedValueOnce(new SessionError('ERR_STORE_TIMEOUT', 'the store is silent'));
  await expect(requireRecentLogin(session, 60)).rejects.toMatchObject({ code: 'ERR_STORE_TIMEOUT' });
  const answer = session.commit(new Response('busy', { status: 503 }));
  expect(answer.headers.get('retry-after')).toBe('1');
});

it('a request from the cache outlasts the grace of a rotation, also at a guard, but not its session', async () => {
  const store = new RedisStore(server.url, { ...PATIENT, ...randomPrefixes() });
  const options = { store, secret: SECRET, cache: CACHE, rotationGrace: 0, onReuse: 'ignore' } as const;
  const sessions = new TokenManager<{ name: string }>(options);
  closing(() => sessions.close());
  await up(sessions);
  const token = await hot(sessions);
  await sessions.sessionData(token).set('key' as never, 'secret' as never);
  await heat(sessions, token);
  const open = (bearer: string) =>
    sessionOpener(sessions)(new Request('https://app/', { headers: { authorization: `Bearer ${bearer}` } }));
  const session = await open(token);
  const newer = await sessions.rotateToken(token);
  await sessions.touchToken(newer as string);
  expect(await requireRecentLogin(session, 60)).toMatchObject({ id: 'ada' });
  expect(await session.data.getAll()).toEqual({ key: 'secret' });
  expect(await sessions.inspectToken(token)).toMatchObject({ session: null, reason: 'reused' });
  await heat(sessions, newer as string);
  const next = await open(newer as string);
  await sessions.deleteUserToken('ada');
  await expect(requireRecentLogin(next, 60)).rejects.toMatchObject({ status: 401 });
  expect(next).toMatchObject({ user: null, endReason: 'revoked' });
  expect(await next.data.getAll()).toEqual({});
  await expect(next.data.set('key' as never, 'other' as never)).rejects.toMatchObject({ code: 'ERR_NO_SESSION' });
});

it.each(['a hit', 'a miss'])('a request looks into the cache once: %s', async (outcome) => {
  const { here } = await twoServices();
  const token = await (outcome === 'a hit' ? hot(here) : here.setToken('ada'));
  const find = jest.spyOn(NearCache.prototype, 'find');
  closing(() => find.mockRestore());
  const session = await sessionOpener(here)(
    new Request('http://localhost/', { headers: { cookie: `session=${token}` } }),
  );
  expect(session.user).toMatchObject({ id: 'ada' });
  expect(find.mock.results.map(({ value }) => value !== null)).toEqual([outcome === 'a hit']);
});

describe('a session that was just checked', () => {
  it('is answered without a command to Redis, by each method that checks a token', async () => {
    const { here, calls } = await twoServices();
    const token = await hot(here);
    const before = await scriptCalls(server);
    calls.length = 0;
    for (let i = 0; i < 100; i++) {
      expect((await here.touchToken(token))?.user).toEqual({ id: 'ada' });
      expect((await here.checkToken(token))?.user.id).toBe('ada');
      expect((await here.checkTokenOrUpdateUser(token))?.token).toBe(token);
      expect((await here.inspectToken(token, { touch: true })).session?.user.id).toBe('ada');
    }
    expect(calls).toEqual([]);
    expect(await scriptCalls(server)).toBe(before);
  });

  it('is loaded again once it is maxAgeMs old', async () => {
    const { here, calls } = await twoServices({ cache: { ...CACHE, maxAgeMs: 1000 } });
    const token = await hot(here);
    await sleep(1010);
    calls.length = 0;
    await here.checkToken(token);
    await here.checkToken(token);
    expect(calls).toEqual(['check']);
  });

  it('is loaded each time without the option', async () => {
    const { here, calls } = await twoServices({ cache: CACHE }, {});
    await hot(here);
    const plain = service(randomPrefixes(), { cache: false });
    const token = await plain.sessions.setToken('ada');
    for (let i = 0; i < 3; i++) await plain.sessions.touchToken(token);
    expect(plain.calls).toEqual(['create', 'touch', 'touch', 'touch']);
    expect(plain.sessions.cacheStats).toBeNull();
    expect(calls).toContain('follow');
  });

  it('has its times by the clock of Redis, as they are at that moment', async () => {
    const { here } = await twoServices({ ttl: 100 });
    const token = await hot(here);
    const begin = performance.now();
    const first = await here.checkToken(token);
    await sleep(1100);
    const later = await here.checkToken(token);
    expect(later?.expiresAt).toEqual(first?.expiresAt);
    expect(later?.lastSeenAt).toEqual(first?.lastSeenAt);
    const passed = Number(later?.checkedAt) - Number(first?.checkedAt);
    expect(passed).toBeGreaterThanOrEqual(1095);
    expect(passed).toBeLessThan(performance.now() - begin + 10);
    expect(later?.ttl).toBeLessThan(first?.ttl ?? 0);
    expect(here.cacheStats?.hits).toBeGreaterThanOrEqual(3);
  });

  it('ends at its expiry, whatever the clock of this machine says', async () => {
    const { here } = await twoServices({ ttl: 4 });
    const now = Date.now();
    const clock = jest.spyOn(Date, 'now').mockImplementation(() => now - 3_600_000);
    try {
      const token = await hot(here);
      expect(await here.checkToken(token)).not.toBeNull();
      await sleep(4010);
      expect(await here.checkToken(token)).toBeNull();
      const other = await hot(here);
      clock.mockImplementation(() => now + 3_600_000);
      expect(await here.checkToken(other)).not.toBeNull();
    } finally {
      clock.mockRestore();
    }
  });

  it('ends at its absoluteTtl, however often it is used', async () => {
    const { here } = await twoServices({ absoluteTtl: 3, ttl: 100 });
    const token = await hot(here);
    await until('it has ended', async () => (await here.touchToken(token)) === null);
  });

  it.each(Object.entries(FRAMEWORKS))('costs a request no command, in %s; an anonymous one neither', async (_, app) => {
    const { here, calls } = await twoServices();
    const token = await hot(here);
    const { url, close } = await listen(app(here, {}));
    closing(close);
    calls.length = 0;
    for (const headers of [{ cookie: `a=b; session=${token}; c=d` }, { authorization: `Bearer ${token}` }]) {
      const response = await fetch(`${url}/me`, { headers });
      expect(await response.json()).toEqual({ user: { id: 'ada' } });
    }
    expect((await fetch(`${url}/me`)).status).toBe(401);
    expect(calls).toEqual([]);
    const logout = await fetch(`${url}/logout`, { method: 'POST', headers: { cookie: `session=${token}` } });
    expect(logout.headers.get('set-cookie')).toMatch(/^session=;/);
    expect((await fetch(`${url}/me`, { headers: { cookie: `session=${token}` } })).status).toBe(401);
  });

  it('is found by its exact token alone: one with another signature is refused without a call', async () => {
    const { here, calls } = await twoServices({ secret: [SECRET, OLDER_SECRET] });
    const token = await hot(here);
    calls.length = 0;
    const forged = `${token.slice(0, 46)}${'A'.repeat(43)}`;
    const lookAlike = `${token.slice(0, -1)}${String.fromCharCode(token.charCodeAt(88) + 256)}`;
    for (const wrong of [
      forged,
      lookAlike,
      token.slice(0, -1),
      `${token}=`,
      token.slice(0, 45),
      {},
      ['x'],
      undefined,
    ]) {
      expect(await here.touchToken(wrong as string)).toBeNull();
    }
    expect(calls).toEqual([]);
  });

  it('is found by each of its tokens, signed with different secrets, and is kept once', async () => {
    const prefixes = randomPrefixes();
    const older = service(prefixes, { secret: OLDER_SECRET }).sessions;
    const here = service(prefixes, { secret: [SECRET, OLDER_SECRET] }).sessions;
    await up(here);
    const token = await older.setToken('ada');
    await heat(here, token);
    const [resigned = ''] = await here.listUserToken('ada');
    expect(resigned).not.toBe(token);
    await heat(here, resigned);
    await heat(here, token);
    expect(here.cacheStats?.entries).toBe(1);
  });

  it('is loaded once when it is too old, under any number of parallel requests', async () => {
    const { here, calls } = await twoServices({ cache: { ...CACHE, maxAgeMs: 1000 } });
    const token = await hot(here);
    await sleep(1010);
    calls.length = 0;
    const looks = Array.from({ length: 40 }, (_, i) => (i % 2 === 0 ? here.touchToken(token) : here.checkToken(token)));
    for (const session of await Promise.all(looks)) expect(session?.user.id).toBe('ada');
    expect(calls.filter((name) => name === 'touch' || name === 'check')).toEqual(['touch']);
  });

  it('is not returned to a check made after its end, by a call that began before it', async () => {
    const prefixes = randomPrefixes();
    const inFlight: (() => void)[] = [];
    let isHeld = false;
    const hold = async (call: () => unknown) => {
      const reply = await call();
      await new Promise<void>((resolve) => inFlight.push(resolve));
      return reply;
    };
    const held = wrapStore(new RedisStore(server.url, { ...PATIENT, ...prefixes }), (method, call) =>
      method === 'touch' && isHeld ? hold(call) : call(),
    );
    const here = new TokenManager<{ name: string }>({ store: held, secret: SECRET, cache: CACHE });
    closing(() => here.close());
    await up(here);
    const token = await here.setToken('ada');
    isHeld = true;
    const first = here.touchToken(token);
    await until('the first call has its answer', () => inFlight.length === 1);
    await here.deleteUserToken('ada');
    isHeld = false;
    const second = here.touchToken(token);
    inFlight[0]?.();
    expect((await first)?.user.id).toBe('ada');
    expect(await second).toBeNull();
  });

  it('passes the error of a shared call to all its callers, and the next check calls again', async () => {
    const options = { cache: { ...CACHE, maxAgeMs: 300 } };
    const { here, calls } = await twoServices(options, options, HASTY);
    const token = await hot(here);
    await sleep(350);
    calls.length = 0;
    closing(() => server.resume());
    server.pause();
    const looks = await Promise.allSettled(Array.from({ length: 5 }, () => here.touchToken(token)));
    for (const look of looks) expect(look).toMatchObject({ reason: { code: 'ERR_STORE_TIMEOUT' } });
    server.resume();
    expect(calls.filter((name) => name === 'touch')).toHaveLength(1);
    await until('Redis answers again', async () => (await here.touchToken(token).catch(() => null)) !== null);
  });

  it("is a copy, or read-only: callers cannot change each other's results", async () => {
    const { here } = await twoServices({ getUserInfo: (id) => ({ name: `name of ${id}` }) });
    const token = await here.setToken('ada', 100, { device: 'web' });
    await heat(here, token);
    const first = await here.touchToken(token);
    const expected = structuredClone({ ...first, checkedAt: null, ttl: null });
    if (first === null) throw new Error('not there');
    first.attributes.device = 'eve';
    for (const time of [first.createdAt, first.expiresAt, first.lastSeenAt, first.authenticatedAt, first.checkedAt])
      time.setTime(0);
    const second = await here.touchToken(token);
    expect({ ...second, checkedAt: null, ttl: null }).toEqual(expected);
    // Except for the user's info, which is parsed once, and is read-only.
    expect(second?.user.detail).toBe(first.user.detail);
    expect(() => Object.assign(first.user.detail ?? {}, { name: 'Eve' })).toThrow(TypeError);
    expect(() => Object.assign(first.user, { id: 'eve' })).toThrow(TypeError);
  });

  it('is evicted beyond maxEntries', async () => {
    const { here, calls } = await twoServices({ cache: { ...CACHE, maxEntries: 10 } });
    const tokens: string[] = [];
    for (let i = 0; i < 30; i++) tokens.push(await hot(here, `user ${i % 15}`));
    expect(here.cacheStats?.entries).toBeLessThanOrEqual(10);
    calls.length = 0;
    for (const token of tokens.slice(0, 10)) expect(await here.checkToken(token)).not.toBeNull();
    expect(calls.filter((name) => name === 'check').length).toBeGreaterThanOrEqual(10);
  });

  it('stays cached if it is the latest of a user who has more than maxEntries', async () => {
    const { here, there, calls } = await twoServices({ cache: { ...CACHE, maxEntries: 2 } });
    const tokens = await Promise.all(Array.from({ length: 4 }, () => there.setToken('ada')));
    for (const token of tokens) await heat(here, token);
    expect(here.cacheStats?.entries).toBe(2);
    for (const token of tokens) await here.checkToken(token);
    calls.length = 0;
    for (const token of tokens.slice(2)) await here.checkToken(token);
    expect(calls).toEqual([]);
  });

  it('has its user info cached for the whole userInfoTtl, however long ago the session was checked', async () => {
    let loads = 0;
    const { here } = await twoServices({ getUserInfo: () => ({ name: `load ${++loads}` }) });
    const token = await here.setToken('ada');
    await here.checkToken(token);
    await sleep(1100);
    loads = 0;
    for (let i = 0; i < 3; i++) await here.checkTokenOrUpdateUser(token, 1);
    expect(loads).toBe(1);
  });

  it.each<[string, (sessions: TokenManager<{ name: string }>, token: string) => Promise<unknown>]>([
    ['checkTokenOrUpdateUser', async (sessions, token) => sessions.checkTokenOrUpdateUser(token)],
    ['touchToken', async (sessions, token) => sessions.touchToken(token)],
    ['inspectToken', async (sessions, token) => (await sessions.inspectToken(token, { touch: true })).session],
  ])('ends by %s if there is no such user, also more than a minute after its last check', async (_, find) => {
    let isOld = true;
    const store = new RedisStore(server.url, { ...PATIENT, ...randomPrefixes() });
    // Instead of a minute that passes: the first answer is as old as that.
    const age = async (call: () => unknown) => {
      const found = (await call()) as StoredSession;
      return { ...found, now: found.now - 61_000 };
    };
    const aged = wrapStore(store, (method, call) => (method === 'check' && isOld ? age(call) : call()));
    const sessions = new TokenManager<{ name: string }>({
      store: aged,
      secret: SECRET,
      cache: CACHE,
      getUserInfo: () => null,
    });
    closing(() => sessions.close());
    await up(sessions);
    const token = await sessions.setToken('ada');
    await sessions.checkToken(token);
    isOld = false;
    expect(await find(sessions, token)).toBeNull();
    expect(await sessions.listUserToken('ada')).toEqual([]);
  });

  it('keeps no request header in memory', async () => {
    const { here } = await twoServices();
    const tokens = await Promise.all(Array.from({ length: 300 }, (_, i) => here.setToken(`user ${i}`)));
    const before = usedHeap();
    for (const token of tokens) await here.touchToken(inHeader(token));
    // Far below the 30 MB of headers.
    expect(usedHeap() - before).toBeLessThan(5_000_000);
    expect(here.cacheStats?.entries).toBeGreaterThan(290);
  });

  it("keeps no answer of Redis in memory, nor does an application that keeps a user's id from there", async () => {
    // Each answer has 96 kB of JSON for 16 kB of info.
    const { here } = await twoServices({ getUserInfo: () => ({ name: '\u0001'.repeat(16_000) }) });
    const userIds = Array.from({ length: 200 }, () => randomUUID());
    const tokens: string[] = [];
    const kept: unknown[] = [];
    const before = usedHeap();
    for (const userId of userIds) tokens.push(await hot(here, userId));
    for (const token of tokens) kept.push((await here.checkToken(token))?.user.id);
    expect(here.cacheStats?.entries).toBeGreaterThan(190);
    // The info alone, far below the 19 MB of answers.
    expect(usedHeap() - before).toBeLessThan(9_000_000);
    await here.close();
    expect(usedHeap() - before).toBeLessThan(4_000_000);
    expect(kept).toEqual(userIds);
  });

  it('is cached for the newest used token alone: only the store knows the grace of a former one', async () => {
    const { here, there, calls } = await twoServices();
    const old = await there.setToken('ada');
    await there.touchToken((await there.rotateToken(old)) as string);
    calls.length = 0;
    for (let i = 0; i < 3; i++) expect(await here.checkToken(old)).not.toBeNull();
    expect(calls).toEqual(['check', 'check', 'check']);
  });

  it('is not cached for a MemoryStore, which does not need it: the option changes nothing, not even sliding', async () => {
    let now = Date.now();
    const { store, calls } = countedStore(new MemoryStore({ now: () => now }));
    const sessions = new TokenManager({ store, secret: SECRET, cache: true, slideEvery: 0 });
    closing(() => sessions.close());
    const token = await sessions.setToken('ada');
    now += 1000;
    expect((await sessions.touchToken(token))?.lastSeenAt).toEqual(new Date(now));
    await sessions.deleteToken(token);
    expect(await sessions.touchToken(token)).toBeNull();
    expect(calls).toEqual(['create', 'touch', 'end', 'touch']);
    expect(sessions.cacheStats).toBeNull();
  });
});

it('the option cache and slideEvery: 0 exclude each other', async () => {
  const store = new RedisStore(server.url, randomPrefixes());
  closing(() => store.close());
  expect(() => new TokenManager({ store, secret: SECRET, cache: true, slideEvery: 0 })).toThrow(
    new RangeError('option slideEvery must be at least 1 with a cache: at 0 each request would ask the store'),
  );
});

describe('a change that another process makes to a session takes effect at once:', () => {
  it.each<[string, (there: TokenManager<{ name: string }>, token: string) => Promise<unknown>]>([
    ['a logout', (there, token) => there.deleteToken(token)],
    ['a kick of all', (there) => there.deleteUserToken('ada')],
    [
      'a kick of all but another',
      async (there) => there.deleteUserToken('ada', { except: await there.setToken('ada') }),
    ],
    ['a kick of one', async (there, token) => there.deleteSession('ada', (await there.checkToken(token))?.id ?? '')],
    ['a ban', (there) => there.banUser('ada')],
    [
      'a login that takes its place in the browser',
      (there, token) => there.createSession('ada', { replaces: [token] }),
    ],
    ["another user's login there", (there, token) => there.createSession('bob', { replaces: [token] })],
    ['a ttl that is short', (there, token) => there.refreshToken(token, 1)],
  ])('%s ends it', async (_, act) => {
    const { here, there } = await twoServices();
    const token = await hot(here);
    await act(there, token);
    await refuses(here, token);
  });

  it.each<[string, (there: TokenManager<{ name: string }>, token: string) => Promise<unknown>]>([
    ['a kick', (there) => there.deleteUserToken('ada')],
    ['a logout', (there, token) => there.deleteToken(token)],
  ])('%s ends it, even if its record is damaged by then', async (_, act) => {
    const { here, there, prefixes } = await twoServices();
    const token = await hot(here);
    const [tag, sid = ''] = token.split('.');
    await server.admin.hset(`${prefixes.tokenKeyPrefix}:{${tag}}`, sid, 'damaged');
    await act(there, token);
    await refuses(here, token);
  });

  it.each<[string, (there: TokenManager<{ name: string }>, token: string) => Promise<unknown>]>([
    ['a kick', (there) => there.deleteUserToken('ada')],
    ['a kick of one', (there, token) => there.deleteSession('ada', idOf(token))],
    ['a logout', (there, token) => there.deleteToken(token)],
    ['a ban', (there) => there.banUser('ada')],
    ['a login in its place', (there, token) => there.createSession('ada', { replaces: [token] })],
  ])('%s ends it, even after Redis evicted it or an operator deleted it', async (_, act) => {
    const { here, there, prefixes } = await twoServices();
    const token = await hot(here);
    await server.admin.del(`${prefixes.tokenKeyPrefix}:{${token.split('.')[0]}}`);
    await act(there, token);
    await refuses(here, token);
  });

  it('a reuse that this process detects ends it here, before any announcement', async () => {
    const proxy = await startProxy(server.port);
    closing(() => proxy.stop());
    const prefixes = randomPrefixes();
    const here = new TokenManager<{ name: string }>({
      store: new RedisStore({ host: '127.0.0.1', port: proxy.port }, { ...PATIENT, ...prefixes }),
      secret: SECRET,
      cache: { ...CACHE, heartbeatMs: 10_000 },
      rotationGrace: 0,
    });
    closing(() => here.close());
    await up(here);
    const old = await here.setToken('ada');
    const token = (await here.rotateToken(old)) ?? '';
    await heat(here, token);
    proxy.swallowOf(/subscribe/i);
    expect((await here.inspectToken(old)).reason).toBe('reused');
    expect(await here.checkToken(token)).toBeNull();
  });

  it('a login over a limit ends it', async () => {
    const { here, there } = await twoServices({ singleMode: true });
    const token = await hot(here);
    await there.setToken('ada');
    await refuses(here, token);
  });

  it('the use of a stolen token ends it', async () => {
    const { here, there } = await twoServices({ rotationGrace: 0 });
    const old = await there.setToken('ada');
    const token = (await there.rotateToken(old)) ?? '';
    await heat(here, token);
    await there.checkToken(old);
    await refuses(here, token);
  });

  it('the deletion of its user ends it', async () => {
    const gone = new Set<string>();
    const { here, there } = await twoServices({ getUserInfo: (id) => (gone.has(id) ? null : { name: id }) });
    const token = await hot(here);
    gone.add('ada');
    expect(await there.addUser('ada')).toBeNull();
    await refuses(here, token);
  });

  it('the deletion of its user ends it, also by a service that shares the user info alone', async () => {
    const gone = new Set<string>();
    const { userKeyPrefix, ...prefixes } = randomPrefixes();
    const options: Options = { getUserInfo: (id) => (gone.has(id) ? null : { name: id }) };
    const here = service({ ...prefixes, userKeyPrefix }, options).sessions;
    const there = service({ ...randomPrefixes(), userKeyPrefix }, { ...options, cache: false }).sessions;
    await up(here);
    const token = await hot(here);
    gone.add('ada');
    expect(await there.addUser('ada')).toBeNull();
    await until('it refuses the token', async () => (await here.touchToken(token)) === null);
  });

  it('after the first use of a rotated token, the store judges the old one by its grace', async () => {
    const { here, there } = await twoServices({ rotationGrace: 1 });
    const token = await hot(here);
    const next = (await there.rotateToken(token)) ?? '';
    await there.touchToken(next);
    await sleep(1100);
    expect((await here.inspectToken(token)).reason).toBe('reused');
    await refuses(here, next);
  });

  it('a re-authentication counts for the token that carries it alone', async () => {
    const { here, there } = await twoServices();
    const token = await hot(here);
    const before = await here.checkToken(token);
    await sleep(2);
    const proved = await there.reauthenticateToken(token);
    expect((await here.checkToken(proved?.token ?? ''))?.authenticatedAt).toEqual(proved?.authenticatedAt);
    expect((await here.checkToken(token))?.authenticatedAt).toEqual(before?.authenticatedAt);
    expect(Number(proved?.authenticatedAt)).toBeGreaterThan(Number(before?.authenticatedAt));
  });

  it.each<[string, (there: TokenManager<{ name: string }>) => Promise<unknown>]>([
    ['refreshed', (there) => there.refreshUser(['ada'])],
    ['added', (there) => there.addUser('ada')],
    ['forgotten', (there) => there.deleteUser('ada')],
  ])('user info that is %s is loaded again', async (_, act) => {
    let name = 'old';
    const { here, there } = await twoServices({ getUserInfo: () => ({ name }) });
    const token = await hot(here);
    expect((await here.touchToken(token))?.user.detail).toEqual({ name: 'old' });
    name = 'new';
    await act(there);
    await until('it is seen', async () => (await here.touchToken(token))?.user.detail?.name === 'new');
  });

  it('changes of other users, slides, checks, and logins that end nothing evict nothing', async () => {
    const { here, there, calls } = await twoServices({}, { slideEvery: 0 });
    const [token, last] = [await hot(here), await hot(here, 'carl')];
    const other = await there.setToken('bob');
    await there.touchToken(token);
    await there.checkToken(token);
    await there.setToken('ada');
    await there.deleteToken(other);
    // Announcements arrive in order.
    await there.deleteToken(last);
    await refuses(here, last);
    calls.length = 0;
    expect(await here.checkToken(token)).not.toBeNull();
    expect(calls).toEqual([]);
  });

  it('even when a RedisStore without the option made it, with its own prefix or another database', async () => {
    const here = new TokenManager({
      store: new RedisStore(
        { host: '127.0.0.1', port: server.port, db: 3 },
        { ...PATIENT, tokenKeyPrefix: 'a:b', userKeyPrefix: 'c' },
      ),
      secret: SECRET,
      cache: CACHE,
    });
    closing(() => here.close());
    await up(here as TokenManager<{ name: string }>);
    const token = await hot(here as TokenManager<{ name: string }>);
    const there = new TokenManager({
      store: new RedisStore(
        { host: '127.0.0.1', port: server.port, db: 3 },
        { ...PATIENT, tokenKeyPrefix: 'a:b', userKeyPrefix: 'c' },
      ),
      secret: SECRET,
    });
    closing(() => there.close());
    await there.deleteToken(token);
    await refuses(here as TokenManager<{ name: string }>, token);
  });
});

describe('what this process does to a session', () => {
  it('counts once the call has settled, without any announcement', async () => {
    const proxy = await startProxy(server.port);
    closing(() => proxy.stop());
    const store = new RedisStore({ host: '127.0.0.1', port: proxy.port }, { ...PATIENT, ...randomPrefixes() });
    const here = new TokenManager<{ name: string }>({ store, secret: SECRET, cache: CACHE });
    closing(() => here.close());
    await up(here);
    const acts: ((userId: string, token: string) => Promise<unknown>)[] = [
      (_, token) => here.deleteToken(token),
      (userId) => here.deleteUserToken(userId),
      (userId) => here.banUser(userId).then(() => here.unbanUser(userId)),
      (userId, token) => here.deleteSession(userId, idOf(token)),
      (_, token) => here.createSession('bob', { replaces: [token] }),
    ];
    const tokens: string[] = [];
    for (const index of acts.keys()) tokens.push(await hot(here, `user ${index}`));
    proxy.swallowOf(/subscribe/i);
    for (const [index, act] of acts.entries()) {
      const token = tokens[index] as string;
      const { hits } = here.cacheStats ?? {};
      expect(await here.checkToken(token)).not.toBeNull();
      expect(here.cacheStats?.hits).toBeGreaterThan(hits ?? 0);
      await act(`user ${index}`, token);
      expect(await here.checkToken(token)).toBeNull();
    }
  });

  it('sends checks to the store from its start until it has settled', async () => {
    const { here } = await twoServices({}, {}, HASTY);
    const token = await hot(here);
    server.pause();
    try {
      const logout = here.deleteToken(token);
      const { hits } = here.cacheStats ?? {};
      const check = here.checkToken(token);
      expect(here.cacheStats?.hits).toBe(hits);
      await expect(logout).rejects.toMatchObject({ status: 503 });
      await expect(check).rejects.toMatchObject({ status: 503 });
    } finally {
      server.resume();
    }
    await refuses(here, token);
  });

  it('counts once it has settled, even if a check found the session live in between', async () => {
    const prefixes = randomPrefixes();
    const store = new RedisStore(server.url, { ...PATIENT, ...prefixes });
    const here = new TokenManager<{ name: string }>({ store, secret: SECRET, cache: CACHE });
    closing(() => here.close());
    await up(here);
    const token = await hot(here);
    // Delayed, like a call that waits for a connection.
    const end = store.end.bind(store);
    let send = () => {};
    store.end = async (...args) => {
      await new Promise<void>((resolve) => {
        send = resolve;
      });
      return end(...args);
    };
    const logout = here.deleteToken(token);
    await heat(here, token);
    send();
    await logout;
    expect(await here.checkToken(token)).toBeNull();
  });
});

describe('a check that is in flight', () => {
  /** A store whose next reply to a check is held until it is released. */
  function holding(store: Store) {
    let release = () => {};
    let onArrived = () => {};
    let isNext = false;
    const hold = async (call: () => unknown) => {
      isNext = false;
      const found = await call();
      await new Promise<void>((resolve) => {
        release = resolve;
        onArrived();
      });
      return found;
    };
    return {
      store: wrapStore(store, (method, call) => (method === 'check' && isNext ? hold(call) : call())),
      async holdNext(call: () => Promise<unknown>) {
        isNext = true;
        const isHere = new Promise<void>((resolve) => {
          onArrived = resolve;
        });
        const answer = call();
        await isHere;
        return { answer, release: () => release() };
      },
    };
  }

  async function scene() {
    const prefixes = randomPrefixes();
    const { store, holdNext } = holding(new RedisStore(server.url, { ...PATIENT, ...prefixes }));
    const here = new TokenManager<{ name: string }>({ store, secret: SECRET, cache: CACHE });
    closing(() => here.close());
    const there = service(prefixes, { cache: false }).sessions;
    await up(here);
    const token = await there.setToken('ada');
    return { here, there, token, holdNext };
  }

  it('when the end is announced does not cache the ended session', async () => {
    const { here, there, token, holdNext } = await scene();
    // Redis has replied "live"; then the session ends and the announcement arrives; then the reply arrives.
    await hot(here);
    const { answer, release } = await holdNext(() => here.checkToken(token));
    await there.deleteToken(token);
    await until("the user's other session was forgotten", () => here.cacheStats?.entries === 0);
    release();
    expect(await answer).not.toBeNull();
    expect(await here.checkToken(token)).toBeNull();
  });

  it('when this process ends the session does not cache it either', async () => {
    const { here, token, holdNext } = await scene();
    const { answer, release } = await holdNext(() => here.checkToken(token));
    const ended = here.deleteToken(token);
    await ended;
    release();
    await answer;
    expect(await here.checkToken(token)).toBeNull();
  });

  it('when announcements may be lost does not cache it either, even after they arrive again', async () => {
    const { here, there, token, holdNext } = await scene();
    const { answer, release } = await holdNext(() => here.checkToken(token));
    let isLost = false;
    here.on('cache-down', () => {
      isLost = true;
    });
    await server.admin.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
    // It may be up again before it is looked at.
    await until('the loss is noticed', () => isLost);
    await there.deleteToken(token);
    await until('the cache is up again', () => here.cacheStats?.isUp);
    release();
    await answer;
    expect(await here.checkToken(token)).toBeNull();
  });

  it('is cached when nothing happened in between', async () => {
    const { here, token, holdNext } = await scene();
    const { answer, release } = await holdNext(() => here.checkToken(token));
    release();
    await answer;
    const hits = here.cacheStats?.hits ?? 0;
    await here.checkToken(token);
    expect(here.cacheStats?.hits).toBe(hits + 1);
  });

  it('when the end is announced answers the checks that waited for it by then; a later one calls the store', async () => {
    const { here, there, token, holdNext } = await scene();
    await hot(here);
    const { answer, release } = await holdNext(() => here.checkToken(token));
    const waiting = here.checkToken(token);
    const { misses = 0 } = here.cacheStats ?? {};
    await there.deleteToken(token);
    await until("the user's other session was forgotten", () => here.cacheStats?.entries === 0);
    expect(await here.checkToken(token)).toBeNull();
    release();
    for (const session of await Promise.all([answer, waiting])) expect(session).toMatchObject({ user: { id: 'ada' } });
    // A second call of a check that has waited would have a deadline of its own.
    expect(here.cacheStats?.misses).toBe(misses + 1);
  });

  it('is waited for by no use, which slides the session', async () => {
    const { here, token, holdNext } = await scene();
    const { answer, release } = await holdNext(() => here.checkToken(token));
    expect(await here.touchToken(token)).not.toBeNull();
    release();
    expect(await answer).not.toBeNull();
  });

  it('counts once as a miss, and each that waited for its answer as a hit', async () => {
    const { here, token, holdNext } = await scene();
    const { hits = 0, misses = 0 } = here.cacheStats ?? {};
    const { answer, release } = await holdNext(() => here.checkToken(token));
    const others = [here.checkToken(token), here.checkToken(token)];
    release();
    await Promise.all([answer, ...others]);
    expect(here.cacheStats).toMatchObject({ hits: hits + 2, misses: misses + 1 });
  });

  it('counts once as a miss also while the cache can keep nothing', async () => {
    const { here, token } = await scene();
    const missesOfOne = new Promise<number>((resolve, reject) => {
      // In the event itself, because the cache may be up again soon.
      here.once('cache-down', () => {
        const { misses = 0 } = here.cacheStats ?? {};
        const check = here.checkToken(token);
        check.then(() => resolve((here.cacheStats?.misses ?? 0) - misses), reject);
      });
    });
    await server.admin.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
    expect(await missesOfOne).toBe(1);
  });
});

describe('sliding', () => {
  /** Uses a session, many times at once, until it has slid so often. Gives the times between, by the clock of Redis. */
  async function slide(sessions: TokenManager<{ name: string }>, token: string, times: number): Promise<number[]> {
    const seenAt: number[] = [];
    while (seenAt.length <= times) {
      const [session] = await Promise.all(Array.from({ length: 20 }, () => sessions.touchToken(token)));
      if (!session) throw new Error('it has ended');
      const at = session.lastSeenAt.getTime();
      if (at !== seenAt.at(-1)) seenAt.push(at);
      await sleep(5);
    }
    return seenAt.slice(1).map((at, i) => at - (seenAt[i] ?? 0));
  }

  it.each([
    ['half its ttl, and one in use never ends by idleness', { ttl: 3 }, 1500],
    ['slideEvery', { slideEvery: 1, ttl: 100 }, 1000],
  ])('goes on from the cache, at one call for %s', async (_, options, everyMs) => {
    const { here, calls } = await twoServices(options);
    const token = await hot(here);
    calls.length = 0;
    const pauses = await slide(here, token, 3);
    expect(Math.min(...pauses)).toBeGreaterThanOrEqual(everyMs);
    expect(new Set(calls)).toEqual(new Set(['touch']));
    // The store is asked once more where it was asked too early, since an earlier answer was in flight for long.
    expect(calls.length).toBeLessThanOrEqual(2 * pauses.length);
  });

  it('does not happen on a mere read', async () => {
    const { here, calls } = await twoServices({ ttl: 2 });
    const token = await hot(here);
    calls.length = 0;
    await until('it has ended', async () => (await here.checkToken(token)) === null);
    expect(new Set(calls)).toEqual(new Set(['check']));
  });

  it('that fails emits an event and fails no request; the next request calls the store', async () => {
    const options = { slideEvery: 1, ttl: 100, cache: { ...CACHE, heartbeatMs: 20_000 } };
    const { here } = await twoServices(options, options, HASTY);
    const failed: SessionEvents['slide-failed'][] = [];
    here.on('slide-failed', (event) => failed.push(event));
    const token = await hot(here);
    await sleep(1010);
    server.pause();
    try {
      for (let i = 0; i < 10; i++) expect(await here.touchToken(token)).not.toBeNull();
      await until('the slide has failed', () => failed.length > 0);
      expect(failed).toMatchObject([{ userId: 'ada', sessionId: idOf(token), error: { status: 503 } }]);
      await expect(here.touchToken(token)).rejects.toMatchObject({ status: 503 });
    } finally {
      server.resume();
    }
    await until('it is served again', () => here.touchToken(token));
  });

  it.each([
    ['in flight, which is live', 100],
    ['a reuse, which ends the session', 0],
  ])('that finds a newer token in the record checks again: the old one is %s', async (_, rotationGrace) => {
    const proxy = await startProxy(server.port);
    closing(() => proxy.stop());
    const prefixes = randomPrefixes();
    const here = new TokenManager<{ name: string }>({
      secret: SECRET,
      // So long that the cache does not notice its silent connection before the slide is due.
      cache: { ...CACHE, heartbeatMs: 10_000 },
      slideEvery: 1,
      ttl: 100,
      rotationGrace,
      store: new RedisStore({ host: '127.0.0.1', port: proxy.port }, { ...PATIENT, ...prefixes }),
    });
    closing(() => here.close());
    const reused: unknown[] = [];
    here.on('reused', (event) => reused.push(event));
    await up(here);
    const there = service(prefixes, { cache: false, rotationGrace }).sessions;
    const token = await hot(here);
    const sessionId = idOf(token);
    proxy.swallowOf(/subscribe/i);
    const next = (await there.rotateToken(token)) ?? '';
    expect((await there.touchToken(next))?.id).toBe(sessionId);
    await sleep(1010);
    const hits = here.cacheStats?.hits ?? 0;
    expect((await here.touchToken(token))?.id).toBe(sessionId);
    expect(here.cacheStats?.hits).toBe(hits + 1);
    await until('the slide has answered', () => here.cacheStats?.entries === 0);
    const isLive = rotationGrace > 0;
    expect((await here.touchToken(token)) !== null).toBe(isLive);
    expect((await there.checkToken(next)) !== null).toBe(isLive);
    expect(here.cacheStats?.hits).toBe(hits + 1);
    expect(reused).toEqual(isLive ? [] : [{ userId: 'ada', sessionId, ended: true }]);
  });

  it('goes on where the answer of a slide is not kept, because of a change to a user of the same group', async () => {
    const held = gate();
    let isHeld = false;
    let touches = 0;
    const redis = new RedisStore(server.url, { ...PATIENT, ...randomPrefixes() });
    const store = wrapStore(redis, (method, call) => {
      if (method !== 'touch') return call();
      touches++;
      return isHeld ? held.wait().then(call) : call();
    });
    const sessions = new TokenManager<{ name: string }>({
      store,
      secret: SECRET,
      cache: CACHE,
      ttl: 100,
      slideEvery: 1,
    });
    closing(() => sessions.close());
    await up(sessions);
    const token = await hot(sessions);
    const ids = Array.from({ length: 100_000 }, (_, i) => `user ${i}`);
    const neighbour = ids.find((id) => tagOf(id).startsWith(token.slice(0, 2))) as string;
    await sleep(1010);
    isHeld = true;
    await sessions.touchToken(token);
    await held.arrival;
    await sessions.deleteUserToken(neighbour);
    isHeld = false;
    held.open();
    await sleep(1010);
    touches = 0;
    const hits = sessions.cacheStats?.hits ?? 0;
    await sessions.touchToken(token);
    expect(sessions.cacheStats?.hits).toBe(hits + 1);
    expect(touches).toBe(1);
  });

  it('that finds the session ended ends it here, too, even without an announcement', async () => {
    const { here, prefixes } = await twoServices({ slideEvery: 1, ttl: 100 });
    const token = await hot(here);
    await sleep(1010);
    await server.admin.del(`${prefixes.tokenKeyPrefix}:{${token.slice(0, 22)}}`);
    expect(await here.touchToken(token)).not.toBeNull();
    await refuses(here, token);
  });
});

it('a manager with a cache leaves no subscription behind after its close', async () => {
  const prefixes = randomPrefixes();
  const sessions = new TokenManager({
    store: new RedisStore(server.url, { ...PATIENT, ...prefixes }),
    secret: SECRET,
    cache: true,
  });
  const listening = async () => server.admin.call('PUBSUB', 'CHANNELS', `${prefixes.tokenKeyPrefix}*`);
  await sessions.checkToken(await sessions.setToken('ada'));
  await until('the cache is up', () => sessions.cacheStats?.isUp);
  expect(await listening()).toEqual([`${prefixes.tokenKeyPrefix}:changes`]);
  await sessions.close();
  await until('the subscription is closed', async () => ((await listening()) as string[]).length === 0);
  expect(sessions.cacheStats).toMatchObject({ entries: 0, isUp: false });
});
