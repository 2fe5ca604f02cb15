import { setTimeout as sleep } from 'node:timers/promises';
import {
  MemoryStore,
  RedisStore,
  SessionError,
  type Store,
  TokenManager,
  type TokenManagerOptions,
} from 'tokensession';
import { tagOf } from '../../src/token/token';
import { closeAfterEach } from '../support/closing';
import { inHeader, usedHeap } from '../support/heap';
import { runProgram } from '../support/programs';
import { type RedisServer, startRedis } from '../support/redis-server';
import { PATIENT, randomPrefixes, SECRET } from '../support/stores';
import { startProxy } from '../support/tcp-proxy';
import { until } from '../support/until';

const closing = closeAfterEach();

let server: RedisServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

/** Two services with the same sessions: two processes, if the store allows it. */
type Services = (options?: Partial<TokenManagerOptions<unknown>>) => { here: TokenManager; there: TokenManager };

const manage = (store: Store, options: Partial<TokenManagerOptions<unknown>> = {}) => {
  const sessions = new TokenManager({ store, secret: SECRET, ...options });
  closing(() => sessions.close());
  return sessions;
};

const SERVICES: Record<string, Services> = {
  'a MemoryStore': (options) => {
    const store = new MemoryStore();
    return { here: manage(store, options), there: manage(store, options) };
  },
  'a RedisStore': (options) => {
    const prefixes = randomPrefixes();
    const open = () => manage(new RedisStore(server.url, { ...prefixes, ...PATIENT }), options);
    return { here: open(), there: open() };
  },
  'a RedisStore and a near cache': (options) => SERVICES['a RedisStore']?.({ cache: true, ...options }) as never,
};

/** The reason of an aborted signal. */
const ending = async (signal: AbortSignal): Promise<SessionError> => {
  await until('the signal aborts', () => signal.aborted);
  expect(signal.reason).toBeInstanceOf(SessionError);
  return signal.reason;
};

/** Resolves when the store has confirmed that all watched sessions are live. */
const settled = (sessions: TokenManager, count: number) =>
  until('all that is watched was found live', () => sessions.watched().length === count);

/** Makes `getUserInfo` find no user. */
let isGone = false;

describe.each(Object.entries(SERVICES))('with %s, a watched session', (_name, open) => {
  it.each<[string, string, string | undefined, (all: TokenManager, userId: string, token: string) => unknown]>([
    ['a logout', 'unknown', undefined, (all, _, token) => all.deleteToken(token)],
    [
      'a kick',
      'revoked',
      'signed out on Firefox at 14:02',
      async (all, userId) => {
        const [session] = await all.listUserSessions(userId);
        await all.deleteSession(userId, session?.id ?? '', { message: 'signed out on Firefox at 14:02' });
      },
    ],
    ['a kick of all', 'revoked', 'bye', (all, userId) => all.deleteUserToken(userId, { message: 'bye' })],
    ['a ban', 'banned', 'spam', (all, userId) => all.banUser(userId, { reason: 'spam' })],
    [
      'a login in its place',
      'replaced',
      undefined,
      (all, userId, token) => all.createSession(userId, { replaces: [token] }),
    ],
    [
      'a reuse',
      'reused',
      undefined,
      async (all, _, token) => {
        const next = (await all.rotateToken(token)) ?? '';
        await all.touchToken(next);
        await until('the grace is over', async () => (await all.touchToken(token)) === null);
      },
    ],
    [
      'the end of its user',
      'revoked',
      undefined,
      async (all, userId) => {
        isGone = true;
        expect(await all.addUser(userId)).toBeNull();
      },
    ],
  ])('aborts after %s in another process, with the reason', async (_, endReason, endMessage, end) => {
    const { here, there } = open({ rotationGrace: 0, getUserInfo: () => (isGone ? null : {}) });
    isGone = false;
    const token = await there.setToken('ada');
    const other = here.watch(await there.setToken('grace'));
    const signal = here.watch(token);
    await settled(here, 2);
    expect(signal.aborted).toBe(false);
    await end(there, 'ada', token);
    const error = await ending(signal);
    expect({ ...error }).toMatchObject({ code: 'ERR_SESSION_ENDED', status: 401, endReason });
    expect(error.endMessage).toBe(endMessage);
    expect(error.message).toBe(`the session has ended: ${endReason}`);
    expect(other.aborted).toBe(false);
    expect(here.watched()).toMatchObject([{ userId: 'grace' }]);
  });

  it('aborts when the session expires, which a slide postpones', async () => {
    const { here, there } = open({ slideEvery: 1 });
    const [slid, idle] = [await there.setToken('ada', 3), await there.setToken('ada', 2)];
    const [slidSignal, idleSignal] = [here.watch(slid), here.watch(idle)];
    for (const begin = performance.now(); performance.now() - begin < 3500; await sleep(100)) {
      expect(await there.touchToken(slid)).not.toBeNull();
    }
    expect(slidSignal.aborted).toBe(false);
    expect((await ending(idleSignal)).endReason).toBe('expired');
    expect(await there.refreshToken(slid, 1)).toBe(true);
    expect((await ending(slidSignal)).endReason).toBe('expired');
  });

  it('accepts a token, a session from a check, or an object with its id and its user', async () => {
    const { here, there } = open();
    const session = await here.createSession('ada');
    const { id, user, token } = session;
    const signals = [here.watch(token), here.watch(session), here.watch({ id, user })];
    expect(new Set(signals).size).toBe(3);
    await settled(here, 1);
    expect(here.watched()).toEqual([{ userId: 'ada', sessionId: id, signals: 3 }]);
    await there.deleteToken(token);
    for (const signal of signals) expect((await ending(signal)).code).toBe('ERR_SESSION_ENDED');
    expect(here.watched()).toEqual([]);
  });

  it('that has ended before aborts as well, and so does an invalid one', async () => {
    const { here, there } = open();
    const token = await here.setToken('ada');
    await there.deleteUserToken('ada', { message: 'bye' });
    expect(await ending(here.watch(token))).toMatchObject({ endReason: 'revoked', endMessage: 'bye' });
    for (const none of ['', 'nonsense', `${token}x`, token.replace('.', ':')]) {
      const signal = here.watch(none);
      expect([signal.aborted, signal.reason.endReason]).toEqual([true, 'unknown']);
    }
    expect(here.watch({ id: null, user: null }).aborted).toBe(true);
    expect(here.watch({ id: 'no id of ours', user: { id: 'ada' } }).aborted).toBe(true);
    expect((await ending(here.watch({ id: 'x'.repeat(22), user: { id: 'ada' } }))).endReason).toBe('unknown');
    for (const wrong of [undefined, null, 7, {}, { id: 7, user: { id: 'ada' } }, { id: 'x', user: {} }, ['x']]) {
      expect(() => here.watch(wrong as string)).toThrow(TypeError);
    }
  });

  it('that was released does not abort, while others of the same session do', async () => {
    const { here, there } = open();
    const token = await here.setToken('ada');
    const [released, kept] = [here.watch(token), here.watch(token)];
    await settled(here, 1);
    expect(here.unwatch(released)).toBe(true);
    expect(here.unwatch(released)).toBe(false);
    expect(here.unwatch(new AbortController().signal)).toBe(false);
    await there.deleteUserToken('ada');
    await ending(kept);
    expect(here.unwatch(kept)).toBe(false);
    expect(released.aborted).toBe(false);
  });

  it('aborts on a kick in the same moment as its first check', async () => {
    const { here, there } = open();
    for (let round = 0; round < 20; round++) {
      const token = await there.setToken('ada');
      const kick = there.deleteUserToken('ada');
      const signal = here.watch(token);
      await kick;
      expect((await ending(signal)).endReason).toBe('revoked');
    }
  });

  it('is one of many, each of which aborts at its own end', async () => {
    const { here, there } = open({ maxSessions: 250 });
    const users = Array.from({ length: 60 }, (_, i) => `user ${i}`);
    const tokens = await Promise.all(users.flatMap((id) => [there.setToken(id), there.setToken(id)]));
    const signals = tokens.map((token) => here.watch(token));
    await settled(here, 120);
    // Kicks every third user, and one session of each other user.
    const ended = new Set<number>();
    await Promise.all(
      users.map((id, i) => {
        for (const index of i % 3 === 0 ? [2 * i, 2 * i + 1] : [2 * i]) ended.add(index);
        return i % 3 === 0 ? there.deleteUserToken(id) : there.deleteToken(tokens[2 * i] as string);
      }),
    );
    await until('those that have ended abort', () => [...ended].every((index) => signals[index]?.aborted));
    await sleep(50);
    expect(signals.flatMap(({ aborted }, index) => (aborted ? [index] : []))).toEqual([...ended].sort((a, b) => a - b));
    expect(here.watched()).toHaveLength(120 - ended.size);
  });

  it('that is released while another one of the same session aborts does not abort', async () => {
    const { here, there } = open();
    const token = await until('it is logged in', () => there.setToken('ada'));
    const [first, ...others] = [here.watch(token), here.watch(token), here.watch(token)];
    await settled(here, 1);
    const released: boolean[] = [];
    const again: AbortSignal[] = [];
    first?.addEventListener('abort', () => {
      again.push(here.watch(token));
      for (const signal of [first, ...others]) released.push(here.unwatch(signal));
    });
    await there.deleteToken(token);
    await ending(first as AbortSignal);
    expect(released).toEqual([false, true, true]);
    await ending(again[0] as AbortSignal);
    expect(others.map(({ aborted }) => aborted)).toEqual([false, false]);
  });

  it('does not abort after a close of its manager by a listener of another one', async () => {
    const { here, there } = open();
    const token = await until('it is logged in', () => there.setToken('ada'));
    const [first, second] = [here.watch(token), here.watch(token)];
    await settled(here, 1);
    first.addEventListener('abort', () => void here.close());
    await there.deleteToken(token);
    await ending(first);
    expect(second.aborted).toBe(false);
    expect(here.unwatch(second)).toBe(false);
  });

  it('does not abort when its manager closes: its session has not ended', async () => {
    const { here } = open();
    const signal = here.watch(await here.setToken('ada'));
    await settled(here, 1);
    await here.close();
    expect(here.watched()).toEqual([]);
    await sleep(20);
    expect(signal.aborted).toBe(false);
  });

  it('does not abort on an answer that comes after its manager was closed', async () => {
    const { here, there } = open();
    const token = await here.setToken('ada');
    await there.deleteToken(token);
    const failures: unknown[] = [];
    here.on('watch-failed', (failure) => failures.push(failure));
    const signal = here.watch(token);
    // The call is sent at the end of this turn.
    await Promise.resolve();
    await here.close();
    await sleep(20);
    expect([signal.aborted, failures]).toEqual([false, []]);
  });
});

it('the signal of a watched session accepts more listeners than Node warns of', async () => {
  expect(await runProgram('watching.ts', {})).toEqual({ stdout: 'closed\n', stderr: '' });
});

/** The number of subscriptions to the announcements. */
async function subscriptions(redis: RedisServer): Promise<number> {
  const clients = String(await redis.admin.call('CLIENT', 'LIST', 'TYPE', 'pubsub'));
  return clients.split('\n').filter((line) => line !== '').length;
}

describe('the announcements', () => {
  const open = (redis: { url: string } | { host: string; port: number }, options: object = {}) => {
    const target = 'url' in redis ? redis.url : redis;
    const store = new RedisStore(target, PATIENT);
    const sessions = manage(store, options);
    const events: string[] = [];
    for (const event of ['watch-down', 'watch-up'] as const) sessions.on(event, () => events.push(event));
    return { sessions, events, store };
  };
  const startOwn = async () => {
    const own = await startRedis();
    closing(() => own.stop());
    return own;
  };

  it.each([
    ['without a near cache', {}],
    ['with one, which shares it', { cache: true }],
  ])('come over one connection, for any number of watched sessions, %s', async (_, options) => {
    const own = await startOwn();
    const { sessions, events } = open(own, options);
    expect(await subscriptions(own)).toBeLessThanOrEqual('cache' in options ? 1 : 0);
    const tokens = await Promise.all(Array.from({ length: 50 }, (_, i) => sessions.setToken(`user ${i % 20}`)));
    for (const token of tokens) sessions.watch(token);
    await settled(sessions, 50);
    await until('it is up', () => events.includes('watch-up'));
    expect(await subscriptions(own)).toBe(1);
    await sessions.close();
    await until('it is closed', async () => (await subscriptions(own)) === 0);
  });

  it('that were missed during a broken connection still abort, and the caller gets an event', async () => {
    const own = await startOwn();
    const { sessions, events } = open(own);
    const there = open(own).sessions;
    const tokens = await Promise.all(Array.from({ length: 300 }, (_, i) => sessions.setToken(`user ${i}`)));
    const signals = tokens.map((token) => sessions.watch(token));
    await settled(sessions, 300);
    await until('it is up', () => events.at(-1) === 'watch-up');
    events.length = 0;
    await own.admin.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
    await until('the loss is noticed', () => events.includes('watch-down'));
    // Some of these are announced while no connection listens.
    await Promise.all(tokens.slice(0, 100).map((token) => there.deleteToken(token)));
    await until('the missed ones abort', () => signals.slice(0, 100).every(({ aborted }) => aborted));
    await until('it is up again', () => events.at(-1) === 'watch-up');
    expect(events.slice(0, 2)).toEqual(['watch-down', 'watch-up']);
    expect(signals.slice(100).some(({ aborted }) => aborted)).toBe(false);
  });

  it('may stop: then each session is checked every few seconds', async () => {
    const own = await startOwn();
    const proxy = await startProxy(own.port);
    closing(() => proxy.stop());
    const { sessions, events } = open({ host: '127.0.0.1', port: proxy.port });
    const there = open(own).sessions;
    const [kicked, kept] = [await there.setToken('ada'), await there.setToken('grace')];
    const [signal, other] = [sessions.watch(kicked), sessions.watch(kept)];
    await until('it is up', () => events.at(-1) === 'watch-up');
    events.length = 0;
    proxy.swallowOf(/subscribe/i);
    await there.deleteToken(kicked);
    expect((await ending(signal)).endReason).toBe('unknown');
    expect(other.aborted).toBe(false);
    await until('the event says so', () => events.includes('watch-down'));
  });

  it('may stop with Redis: no signal aborts, and sessions that ended abort once it is back', async () => {
    const own = await startOwn();
    const proxy = await startProxy(own.port);
    closing(() => proxy.stop());
    const { sessions, events, store } = open({ host: '127.0.0.1', port: proxy.port });
    const there = open(own).sessions;
    const states = store.states.bind(store);
    let failedChecks = 0;
    store.states = (...args) =>
      states(...args).catch((error) => {
        failedChecks++;
        throw error;
      });
    const tokens = await Promise.all(Array.from({ length: 250 }, (_, i) => there.setToken(`user ${i}`)));
    const signals = tokens.map((token) => sessions.watch(token));
    await settled(sessions, 250);
    await until('it is up', () => events.at(-1) === 'watch-up');
    events.length = 0;
    proxy.refuse();
    await there.deleteUserToken('user 7', { message: 'bye' });
    await until('the loss is noticed', () => events.includes('watch-down'));
    await until('a check has failed', () => failedChecks > 0);
    const late = sessions.watch(tokens[8] as string);
    expect(signals.some(({ aborted }) => aborted)).toBe(false);
    proxy.pass();
    expect(await ending(signals[7] as AbortSignal)).toMatchObject({ endReason: 'revoked', endMessage: 'bye' });
    await until('it is up again', () => events.at(-1) === 'watch-up');
    expect(signals.filter(({ aborted }) => aborted)).toHaveLength(1);
    expect(late.aborted).toBe(false);
    await there.deleteUserToken('user 8');
    await ending(late);
  });
});

describe('a record in Redis that is damaged', () => {
  const damaged = async () => {
    const prefixes = randomPrefixes();
    const store = new RedisStore(server.url, { ...prefixes, ...PATIENT });
    const sessions = manage(store);
    const [one, two] = [await sessions.createSession('ada'), await sessions.createSession('ada')];
    const key = `${prefixes.tokenKeyPrefix}:{${tagOf('ada')}}`;
    const states = async () => (await store.states(tagOf('ada'), [one.id, two.id])).states;
    return { sessions, one, two, key, states };
  };

  it.each(['', 'x', '1:2:3', '1:2:3:4:5', '9999999999999999:1:1:0', 'ended:x:revoked:', `ended:9999999999999999:a:`])(
    'counts as unknown, and hides no other session: %j',
    async (record) => {
      const { sessions, one, two, key, states } = await damaged();
      await server.admin.hset(key, one.id, record);
      expect(await states()).toEqual([
        { isLive: false, reason: 'unknown', message: null },
        { isLive: true, expiresAt: two.expiresAt.getTime() },
      ]);
      const [signal, other] = [sessions.watch(one), sessions.watch(two)];
      expect((await ending(signal)).endReason).toBe('unknown');
      expect(other.aborted).toBe(false);
    },
  );

  it.each([
    ['ERR_STORE_LAYOUT', (key: string) => server.admin.hset(key, 'v', '3')],
    ['ERR_STORE_CORRUPT', (key: string) => server.admin.hdel(key, 'v')],
    ['ERR_STORE_CORRUPT', (key: string) => server.admin.hdel(key, 'id')],
  ])('as a whole is an error, %s, and ends no watch', async (code, damage) => {
    const { sessions, one, key, states } = await damaged();
    const failures: object[] = [];
    sessions.on('watch-failed', (event) => failures.push(event));
    await damage(key);
    await expect(states()).rejects.toMatchObject({ code });
    const signal = sessions.watch(one);
    await until('it is reported', () => failures.length > 0);
    expect(failures[0]).toMatchObject({ sessionIds: [one.id], error: { code } });
    expect(signal.aborted).toBe(false);
  });
});

describe('the cost of watching', () => {
  const counting = () => {
    const store = new MemoryStore();
    let asked = 0;
    const states = store.states.bind(store);
    store.states = (tag, sids) => {
      asked++;
      return states(tag, sids);
    };
    return { store, asked: () => asked };
  };

  it('is one call for the sessions of one user watched in one turn, and for fifty kicks at once', async () => {
    const { store, asked } = counting();
    const sessions = manage(store);
    const tokens = await Promise.all(Array.from({ length: 50 }, () => sessions.setToken('ada')));
    const signals = tokens.map((token) => sessions.watch(token));
    await settled(sessions, 50);
    // The second call comes when changes have begun to arrive.
    expect(asked()).toBeLessThanOrEqual(2);
    const before = asked();
    await Promise.all(tokens.map((token) => sessions.deleteToken(token)));
    await until('all have aborted', () => signals.every(({ aborted }) => aborted));
    expect(asked() - before).toBeLessThanOrEqual(2);
  });

  it('is nothing for sessions that are not watched, or no longer', async () => {
    jest.useFakeTimers();
    closing(() => jest.useRealTimers());
    const { store, asked } = counting();
    const sessions = manage(store);
    const token = await sessions.setToken('ada');
    const signal = sessions.watch(token);
    await jest.advanceTimersByTimeAsync(100);
    expect(sessions.watched()).toHaveLength(1);
    sessions.unwatch(signal);
    const before = asked();
    await sessions.deleteUserToken('grace');
    await sessions.deleteUserToken('ada');
    await jest.advanceTimersByTimeAsync(302_000);
    expect(asked()).toBe(before);
  });
});

describe('a watch', () => {
  it('keeps no request header in memory', async () => {
    const sessions = manage(new MemoryStore());
    const live = await Promise.all(Array.from({ length: 300 }, (_, i) => sessions.createSession(`user ${i}`)));
    const before = usedHeap();
    const signals = live.flatMap(({ id, user, token }) => [
      sessions.watch({ id: inHeader(id), user }),
      sessions.watch(inHeader(token)),
    ]);
    await settled(sessions, 300);
    // Far below the 60 MB of headers.
    expect(usedHeap() - before).toBeLessThan(6_000_000);
    expect(signals.every(({ aborted }) => !aborted)).toBe(true);
  });

  it('does not begin after close(): a signal would never abort', async () => {
    const sessions = manage(new MemoryStore());
    const { id, user, token } = await sessions.createSession('ada');
    await sessions.close();
    const closed = { code: 'ERR_STORE_UNAVAILABLE', message: 'the store is closed' };
    await expect(sessions.checkToken(token)).rejects.toMatchObject(closed);
    for (const session of [token, { id, user }]) {
      expect(() => sessions.watch(session)).toThrow(expect.objectContaining(closed));
    }
    expect(sessions.watch('no token').aborted).toBe(true);
  });
});

/** Milliseconds by fake timers. */
const later = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

describe('an announcement', () => {
  beforeEach(() => void jest.useFakeTimers());
  afterEach(() => void jest.useRealTimers());

  it('is not needed for an end in the same process', async () => {
    const sessions = manage(Object.assign(new MemoryStore(), { follow: undefined }));
    const signal = sessions.watch(await sessions.setToken('ada'));
    await jest.advanceTimersByTimeAsync(100);
    expect(sessions.watched()).toHaveLength(1);
    await sessions.deleteUserToken('ada', { message: 'bye' });
    await jest.advanceTimersByTimeAsync(100);
    expect(signal.reason).toMatchObject({ endReason: 'revoked', endMessage: 'bye' });
  });

  it('is missing in some stores: then each session is checked every few seconds', async () => {
    const store = Object.assign(new MemoryStore(), { follow: undefined });
    const [sessions, there] = [manage(store), manage(store)];
    const token = await sessions.setToken('ada');
    const signal = sessions.watch(token);
    await jest.advanceTimersByTimeAsync(100);
    expect(sessions.watched()).toHaveLength(1);
    await there.deleteToken(token);
    await jest.advanceTimersByTimeAsync(1000);
    expect(signal.aborted).toBe(false);
    await jest.advanceTimersByTimeAsync(6000);
    expect(signal.reason).toMatchObject({ endReason: 'unknown' });
  });

  it('may be lost: an end is noticed within five minutes; a damaged record is reported, and is not an end', async () => {
    const store = new MemoryStore();
    const sessions = manage(store);
    const failures: unknown[] = [];
    sessions.on('watch-failed', (event) => failures.push(event));
    const { id, token } = await sessions.createSession('ada');
    const signal = sessions.watch(token);
    await jest.advanceTimersByTimeAsync(3_000);
    expect(sessions.watched()).toHaveLength(1);
    const { states } = store;
    const corrupt = new SessionError('ERR_STORE_CORRUPT', 'this is none');
    store.states = () => Promise.reject(corrupt);
    await jest.advanceTimersByTimeAsync(302_000);
    expect(failures.length).toBeGreaterThan(0);
    // The look may have come at the very end of that time. It is repeated every few seconds.
    await jest.advanceTimersByTimeAsync(7_000);
    expect(failures.length).toBeGreaterThan(1);
    expect(failures[0]).toEqual({ sessionIds: [id], error: corrupt });
    expect(signal.aborted).toBe(false);
    store.states = async (tag, sids) => ({
      ...(await states.call(store, tag, sids)),
      states: sids.map(() => ({ isLive: false, reason: 'unknown', message: null })),
    });
    await jest.advanceTimersByTimeAsync(6_000);
    expect(signal.reason).toMatchObject({ endReason: 'unknown' });
  });
});

it("an answer about another user's sessions is reported, and ends no watch", async () => {
  const store = new MemoryStore();
  const sessions = manage(store);
  const failures: unknown[] = [];
  sessions.on('watch-failed', (event) => failures.push(event));
  const { id, token } = await sessions.createSession('ada');
  await sessions.setToken('eve');
  const { states } = store;
  store.states = (_tag, sids) => states.call(store, tagOf('eve'), sids);
  const signal = sessions.watch(token);
  await until('it is reported', () => failures.length > 0);
  expect(failures[0]).toMatchObject({ sessionIds: [id], error: { code: 'ERR_STORE_CORRUPT' } });
  expect(signal.aborted).toBe(false);
});

describe('users who can not be asked for', () => {
  beforeEach(() => void jest.useFakeTimers());
  afterEach(() => void jest.useRealTimers());

  /** Watches a session of each of 3,000 users. From `fail()` on, the store's calls fail for those that it names. */
  const watching = async (store: MemoryStore) => {
    const { states } = store;
    const failures = new Map<string, SessionError>();
    store.states = async (tag, sids) => {
      const failure = failures.get(tag);
      if (failure !== undefined) throw failure;
      return states.call(store, tag, sids);
    };
    const sessions = manage(store);
    const users = Array.from({ length: 3000 }, (_, i) => `user ${i}`);
    for (const [index, user] of users.entries()) {
      sessions.watch(await sessions.setToken(user));
      // Their calls are due at different times.
      if (index % 300 === 0) await jest.advanceTimersByTimeAsync(500);
    }
    await jest.advanceTimersByTimeAsync(5000);
    expect(sessions.watched()).toHaveLength(users.length);
    const fail = (error: SessionError, every: number) => {
      for (const user of users.filter((_, index) => index % every === 0)) failures.set(tagOf(user), error);
    };
    return { sessions, fail };
  };

  it('for their records delay no others', async () => {
    const store = Object.assign(new MemoryStore(), { follow: undefined });
    const { sessions, fail } = await watching(store);
    fail(new SessionError('ERR_STORE_LAYOUT', 'a newer version wrote it'), 30);
    await jest.advanceTimersByTimeAsync(10_000);
    const there = manage(store);
    const token = await there.setToken('ada');
    const signal = sessions.watch(token);
    await jest.advanceTimersByTimeAsync(100);
    await there.deleteToken(token);
    await jest.advanceTimersByTimeAsync(7000);
    expect(signal.aborted).toBe(true);
  });

  it('because their server is away wait behind all others', async () => {
    const store = Object.assign(new MemoryStore(), { follow: undefined });
    const { sessions, fail } = await watching(store);
    const there = manage(store);
    const token = await there.setToken('ada');
    const signal = sessions.watch(token);
    await jest.advanceTimersByTimeAsync(100);
    fail(new SessionError('ERR_STORE_UNAVAILABLE', 'it is away'), 1);
    await there.deleteToken(token);
    // A hundred calls a second.
    await jest.advanceTimersByTimeAsync(40_000);
    expect(signal.aborted).toBe(true);
  });

  it('because their server is away delay no expiry on another one', async () => {
    const store = new MemoryStore();
    const { follow } = store;
    const [here, away] = [{ completeUntil: Number.POSITIVE_INFINITY }, { completeUntil: Number.POSITIVE_INFINITY }];
    const sourceOf = (tag: string) => (tag === tagOf('ada') ? here : away);
    store.follow = (follower) => ({ ...follow.call(store, follower), sourceOf });
    const { sessions, fail } = await watching(store);
    const signal = sessions.watch(await sessions.setToken('ada', 20));
    await jest.advanceTimersByTimeAsync(1000);
    away.completeUntil = Number.NEGATIVE_INFINITY;
    fail(new SessionError('ERR_STORE_UNAVAILABLE', 'it is away'), 1);
    await jest.advanceTimersByTimeAsync(21_000);
    expect(signal.reason).toMatchObject({ endReason: 'expired' });
  });
});

describe('an answer in flight', () => {
  beforeEach(() => void jest.useFakeTimers());
  afterEach(() => void jest.useRealTimers());

  /** A store whose checks take a second, and whose source of changes can be replaced. */
  const slowStore = () => {
    const store = new MemoryStore();
    const { states, follow } = store;
    let source = { completeUntil: Number.POSITIVE_INFINITY };
    let [askRedirections, asked] = [0, 0];
    store.states = async (tag, sids) => {
      asked++;
      const answer = await states.call(store, tag, sids);
      await later(1000);
      return answer;
    };
    store.follow = (follower) => ({
      ...follow.call(store, follower),
      sourceOf: () => source,
      get askRedirections() {
        return askRedirections;
      },
    });
    return {
      store,
      asked: () => asked,
      replaceSource() {
        source.completeUntil = Number.NEGATIVE_INFINITY;
        source = { completeUntil: Number.POSITIVE_INFINITY };
      },
      detour() {
        askRedirections++;
      },
    };
  };

  it('during the announcement of an end is not relied on: the session is checked again', async () => {
    const { store } = slowStore();
    const sessions = manage(store);
    const [token, other] = [await sessions.setToken('ada'), await sessions.setToken('ada')];
    const signal = sessions.watch(token);
    // The first check, and the one when announcements have begun to arrive.
    await jest.advanceTimersByTimeAsync(2500);
    await sessions.deleteToken(other);
    await jest.advanceTimersByTimeAsync(500);
    await sessions.deleteToken(token);
    await jest.advanceTimersByTimeAsync(2100);
    expect(signal.aborted).toBe(true);
  });

  it.each(['replaceSource', 'detour'] as const)(
    'during a change of its source (%s) is not relied on',
    async (change) => {
      const slow = slowStore();
      const sessions = manage(slow.store);
      const signal = sessions.watch(await sessions.setToken('ada'));
      // The first check, and the one when announcements have begun to arrive.
      await jest.advanceTimersByTimeAsync(2500);
      const settledAt = slow.asked();
      await jest.advanceTimersByTimeAsync(20_000);
      expect(slow.asked()).toBe(settledAt);
      await sessions.refreshToken(await sessions.setToken('ada'));
      await jest.advanceTimersByTimeAsync(500);
      slow[change]();
      await jest.advanceTimersByTimeAsync(7500);
      expect(slow.asked()).toBe(settledAt + 2);
      expect(signal.aborted).toBe(false);
    },
  );

  it('is repeated every five seconds while its source is replaced again and again', async () => {
    const slow = slowStore();
    const sessions = manage(slow.store);
    sessions.watch(await sessions.setToken('ada'));
    await jest.advanceTimersByTimeAsync(2500);
    const settledAt = slow.asked();
    for (let moves = 0; moves < 10; moves++) {
      slow.replaceSource();
      await jest.advanceTimersByTimeAsync(2000);
    }
    expect(slow.asked() - settledAt).toBeGreaterThanOrEqual(3);
    expect(slow.asked() - settledAt).toBeLessThanOrEqual(5);
  });
});
