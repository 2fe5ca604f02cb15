import express from 'express';
import { Hono } from 'hono';
import Koa from 'koa';
import { createClient } from 'redis';
import { createRedisClient, MemoryStore, RedisStore, TokenManager } from 'tokensession';
import { requireRecentLogin, requireUser, sessionMiddleware } from 'tokensession/express';
import { ExpressSessionStore } from 'tokensession/express-session';
import * as forHono from 'tokensession/hono';
import * as forKoa from 'tokensession/koa';
import { listen } from '../support/apps';
import { countedStore } from '../support/counted-store';
import { SECRET } from '../support/stores';

describe('a call with an argument of the wrong type names that argument, before anything is stored:', () => {
  const USER_IDS: [unknown, string, string][] = [
    [undefined, 'TypeError', 'userId must be a string, got undefined'],
    [null, 'TypeError', 'userId must be a string, got null'],
    [7, 'TypeError', 'userId must be a string, got a number: pass String(id)'],
    [7n, 'TypeError', 'userId must be a string, got a bigint: pass String(id)'],
    [Number.NaN, 'TypeError', 'userId must be a string, got NaN'],
    [['ada'], 'TypeError', 'userId must be a string, got an array'],
    [{}, 'TypeError', 'userId must be a string, got a value of type object'],
    ['', 'RangeError', 'userId must not be empty'],
    ['x'.repeat(1025), 'RangeError', 'userId must have at most 1024 bytes of UTF-8'],
    ['€'.repeat(342), 'RangeError', 'userId must have at most 1024 bytes of UTF-8'],
    ['\ud800', 'RangeError', 'userId must be well-formed Unicode: it holds a lone surrogate'],
    ['a\udc00b', 'RangeError', 'userId must be well-formed Unicode: it holds a lone surrogate'],
  ];
  const TTLS: [unknown, string, string][] = [
    ['60', 'TypeError', 'must be a number, got a value of type string'],
    [null, 'TypeError', 'must be a number, got null'],
    [Number.NaN, 'RangeError', 'must be a whole number from 1 to 3153600000, got NaN'],
    [Number.POSITIVE_INFINITY, 'RangeError', 'must be a whole number from 1 to 3153600000, got Infinity'],
    [0, 'RangeError', 'must be a whole number from 1 to 3153600000, got 0'],
    [-1, 'RangeError', 'must be a whole number from 1 to 3153600000, got -1'],
    [1.5, 'RangeError', 'must be a whole number from 1 to 3153600000, got 1.5'],
    [3153600001, 'RangeError', 'must be a whole number from 1 to 3153600000, got 3153600001'],
  ];

  type Call = (manager: TokenManager<object>, value: never) => Promise<unknown>;
  const BY_USER_ID: Record<string, Call> = {
    setToken: (manager, id) => manager.setToken(id),
    createSession: (manager, id) => manager.createSession(id),
    listUserToken: (manager, id) => manager.listUserToken(id),
    listUserSessions: (manager, id) => manager.listUserSessions(id),
    deleteUserToken: (manager, id) => manager.deleteUserToken(id),
    deleteSession: (manager, id) => manager.deleteSession(id, 'x'),
    addUser: (manager, id) => manager.addUser(id),
    deleteUser: (manager, id) => manager.deleteUser(id),
    banUser: (manager, id) => manager.banUser(id),
    unbanUser: (manager, id) => manager.unbanUser(id),
    getBan: (manager, id) => manager.getBan(id),
  };
  const BY_TTL: Record<string, Call> = {
    'setToken ttl': (manager, ttl) => manager.setToken('ada', ttl),
    'createSession ttl': (manager, ttl) => manager.createSession('ada', { ttl }),
    'createSession absoluteTtl': (manager, absoluteTtl) => manager.createSession('ada', { absoluteTtl }),
    'banUser seconds': (manager, seconds) => manager.banUser('ada', { seconds }),
    'inspectToken userInfoTtl': (manager, userInfoTtl) => manager.inspectToken('x', { userInfoTtl }),
    'refreshToken ttl': (manager, ttl) => manager.refreshToken('x', ttl),
    'checkTokenOrUpdateUser userInfoTtl': (manager, ttl) => manager.checkTokenOrUpdateUser('x', ttl),
    'touchToken userInfoTtl': (manager, ttl) => manager.touchToken('x', ttl),
    'addUser userInfoTtl': (manager, ttl) => manager.addUser('ada', ttl),
    'refreshUser userInfoTtl': (manager, ttl) => manager.refreshUser(['ada'], ttl),
  };

  const refused = async (call: Call, value: unknown) => {
    const { store, calls } = countedStore(new MemoryStore());
    const getUserInfo = jest.fn(() => ({}));
    const manager = new TokenManager<object>({ store, secret: SECRET, getUserInfo });
    const error = await call(manager, value as never).then(
      () => 'nothing',
      (reason: Error) => reason,
    );
    expect(calls).toEqual([]);
    expect(getUserInfo).not.toHaveBeenCalled();
    await manager.close();
    return error as Error;
  };

  it.each(Object.entries(BY_USER_ID))('%s(userId)', async (_, call) => {
    for (const [value, name, message] of USER_IDS) expect(await refused(call, value)).toMatchObject({ name, message });
  });

  it.each(Object.entries(BY_USER_ID))(
    '%s(a token) is refused: the token would end up in events and records',
    async (_, call) => {
      const manager = new TokenManager({ store: new MemoryStore(), secret: SECRET });
      const token = await manager.setToken('ada');
      await manager.close();
      const message = "userId must be a user's id, and is a token";
      expect(await refused(call, token)).toMatchObject({ name: 'TypeError', message });
    },
  );

  it.each(Object.entries(BY_TTL))('%s', async (call, run) => {
    const argument = call.split(' ')[1];
    for (const [value, name, message] of TTLS) {
      expect(await refused(run, value)).toMatchObject({ name, message: `${argument} ${message}` });
    }
  });

  it.each<[string, Call, unknown, string]>([
    [
      'attributes: the options must be a plain object, got a value of type string',
      (m, v) => m.setToken('ada', 1, v),
      'web',
      'TypeError',
    ],
    [
      'attributes: unknown option "os"; known are device, ip, userAgent',
      (m, v) => m.setToken('ada', 1, v),
      { os: 'x' },
      'TypeError',
    ],
    [
      'attributes.ip must be a string, got a value of type number',
      (m, v) => m.setToken('ada', 1, v),
      { ip: 1 },
      'TypeError',
    ],
    [
      'attributes.device must have at most 512 characters, got 513',
      (m, v) => m.setToken('ada', 1, v),
      { device: 'x'.repeat(513) },
      'RangeError',
    ],
    [
      'attributes: unknown option "__proto__"; known are device, ip, userAgent',
      (m, v) => m.setToken('ada', 1, v),
      JSON.parse('{"__proto__":{}}'),
      'TypeError',
    ],
    [
      'attributes.userAgent must be well-formed Unicode: it holds a lone surrogate',
      (m, v) => m.setToken('ada', 1, v),
      { device: 'web', userAgent: '\ud800' },
      'RangeError',
    ],
    ['userIds[0] must be a string, got undefined', (m, v) => m.refreshUser(v), new Array(1), 'TypeError'],
    ['userIds must be an array of strings, got a value of type string', (m, v) => m.refreshUser(v), 'ada', 'TypeError'],
    ['userIds[1] must not be empty', (m, v) => m.refreshUser(v), ['ada', ''], 'RangeError'],
    ['sessionId must be a string, got a value of type number', (m, v) => m.deleteSession('ada', v), 7, 'TypeError'],
    [
      'except must be a token or a session id, got a value of type number',
      (m, v) => m.deleteUserToken('ada', { except: v }),
      7,
      'TypeError',
    ],
    [
      'deleteUserToken: the options must be a plain object, got a value of type string',
      (m, v) => m.deleteUserToken('ada', v),
      'token',
      'TypeError',
    ],
    [
      'createSession: unknown option "tll"; known are ttl, absoluteTtl, attributes, actor, replaces',
      (m, v) => m.createSession('ada', v),
      { tll: 1 },
      'TypeError',
    ],
    [
      'replaces must be an array of tokens, got a value of type string',
      (m, v) => m.createSession('ada', { replaces: v }),
      'token',
      'TypeError',
    ],
    [
      'message must be a string, got a value of type number',
      (m, v) => m.deleteUserToken('ada', { message: v }),
      7,
      'TypeError',
    ],
    ['message must not be empty', (m, v) => m.deleteSession('ada', 'x', { message: v }), '', 'RangeError'],
    [
      'reason must have at most 256 characters, got 257',
      (m, v) => m.banUser('ada', { reason: v }),
      'x'.repeat(257),
      'RangeError',
    ],
    ['banUser: the options must be a plain object', (m, v) => m.banUser('ada', v), 'spam', 'TypeError'],
    ['touch must be true or false', (m, v) => m.inspectToken('x', { touch: v }), 1, 'TypeError'],
  ])('%s', async (message, call, value, name) => {
    expect(await refused(call, value)).toMatchObject({ name, message: expect.stringContaining(message) });
  });

  it('on() rejects a listener, or an event name, of the wrong type', async () => {
    const manager = new TokenManager({ store: new MemoryStore(), secret: SECRET });
    expect(() => manager.on('logins' as never, () => undefined)).toThrow(
      new TypeError(
        'there is no event "logins"; there are login, logout, replaced, revoked, expired-on-use, banned, rotated, reused, slide-failed, save-dropped, store-down, store-up, cache-down, cache-up, watch-down, watch-up, watch-failed',
      ),
    );
    for (const odd of [{ toString: [] }, ['login'], undefined]) {
      expect(() => manager.on(odd as never, () => undefined)).toThrow('there is no event');
    }
    expect(() => manager.once('login', 'log' as never)).toThrow(
      new TypeError('listener must be a function, got a value of type string'),
    );
    await manager.close();
  });
});

describe('a token that is not valid', () => {
  it.each([undefined, null, 0, {}, [], Symbol('token'), () => 1])(
    'is just not live, whatever its type: %p',
    async (value) => {
      const { store, calls } = countedStore(new MemoryStore());
      const manager = new TokenManager({ store, secret: SECRET });
      const token = value as never;
      expect(await manager.checkToken(token)).toBeNull();
      expect(await manager.touchToken(token)).toBeNull();
      expect(await manager.refreshToken(token)).toBe(false);
      expect(await manager.deleteToken(token)).toBe(false);
      expect(await manager.rotateToken(token)).toBeNull();
      expect(await manager.reauthenticateToken(token)).toBeNull();
      expect(await manager.inspectToken(token)).toEqual({ session: null, reason: 'unknown' });
      expect(calls).toEqual([]);
      await manager.close();
    },
  );
});

describe('an option of the wrong type is named when the object is built:', () => {
  const store = new MemoryStore();
  afterAll(() => store.close());
  const manager = (options: object) => () => new TokenManager({ store, secret: SECRET, ...options } as never);

  it.each<[string, () => unknown, ErrorConstructor]>([
    [
      'option store must be a RedisStore, a MemoryStore or another Store, got undefined',
      () => new TokenManager(undefined as never),
      TypeError,
    ],
    [
      'TokenManager: the options must be a plain object, got a value of type string',
      () => new TokenManager('redis://x' as never),
      TypeError,
    ],
    [
      'TokenManager: the options must be a plain object, got an object of the class MemoryStore',
      () => new TokenManager(new MemoryStore() as never),
      TypeError,
    ],
    [
      'TokenManager: the options must be a plain object, got an object of the class unknown',
      () => new TokenManager(Object.create({ constructor: { name: () => 'a row' } })),
      TypeError,
    ],
    ['TokenManager: unknown option "timeout"; known are store, secret, ttl', manager({ timeout: 1 }), TypeError],
    ['option store must be a RedisStore', manager({ store: {} }), TypeError],
    ['option secret must be a string, got undefined', manager({ secret: undefined }), TypeError],
    ['option secret must have at least 32 characters, got 5', manager({ secret: 'short' }), RangeError],
    ['option ttl must be a whole number from 1 to 3153600000, got 0', manager({ ttl: 0 }), RangeError],
    ['option cache: the options must be a plain object', manager({ cache: 'yes' }), TypeError],
    ['option cache: unknown option "maxAge"', manager({ cache: { maxAge: 5 } }), TypeError],
    ['option cache.maxEntries must be a whole number', manager({ cache: { maxEntries: 0 } }), RangeError],
    ['option cache.maxAgeMs must be a whole number', manager({ cache: { maxAgeMs: 600_001 } }), RangeError],
    ['option cache.heartbeatMs must be a number', manager({ cache: { heartbeatMs: '1' } }), TypeError],
    ['option slideEvery must be a whole number from 0', manager({ slideEvery: -1 }), RangeError],
    ['option absoluteTtl must be a whole number from 1', manager({ absoluteTtl: 1.5 }), RangeError],
    ['option singleMode must be true or false, got a value of type number', manager({ singleMode: 1 }), TypeError],
    ['option maxSessions must be a whole number from 1 to 250, got 0', manager({ maxSessions: 0 }), RangeError],
    [
      'option singleMode is short for maxSessions: 1, and option maxSessions is 5',
      manager({ maxSessions: 5, singleMode: true }),
      TypeError,
    ],
    [
      'option maxSessionsPerDevice must be a whole number from 1 to 250, got 0',
      manager({ maxSessionsPerDevice: 0 }),
      RangeError,
    ],
    [
      'option maxSessionsPerDevice["mobile"] must be a number, got a value of type string',
      manager({ maxSessionsPerDevice: { web: 2, mobile: '1' } }),
      TypeError,
    ],
    [
      'option maxSessionsPerDevice[""] must be named with 1 to 512 characters',
      manager({ maxSessionsPerDevice: { '': 2 } }),
      RangeError,
    ],
    [
      'option maxSessionsPerDevice must be a number or an object of numbers, got an array',
      manager({ maxSessionsPerDevice: [2] }),
      TypeError,
    ],
    [
      'option maxSessionsPerDevice must be a number or an object of numbers, got an object of the class Map',
      manager({ maxSessionsPerDevice: new Map([['web', 2]]) }),
      TypeError,
    ],
    [
      'option maxSessionsPerDevice["\\ud800"] must be well-formed Unicode: it holds a lone surrogate',
      manager({ maxSessionsPerDevice: { '\ud800': 2 } }),
      RangeError,
    ],
    ["option onLimit must be 'replace' or 'reject'", manager({ onLimit: 'ask' }), TypeError],
    [
      'option rotationGrace must be a whole number from 0 to 3600, got 3601',
      manager({ rotationGrace: 3601 }),
      RangeError,
    ],
    ...[1, 60].map((rotateEvery): [string, () => unknown, typeof RangeError] => [
      'option rotateEvery must be more than option rotationGrace, which is 60: else a former token stays live',
      manager({ rotateEvery, rotationGrace: 60 }),
      RangeError,
    ]),
    ["option onReuse must be 'end-session' or 'ignore'", manager({ onReuse: true }), TypeError],
    ['option getUserInfo must be a function, got a value of type object', manager({ getUserInfo: {} }), TypeError],
    ['option userInfoTtl must be a number, got a value of type string', manager({ userInfoTtl: '10' }), TypeError],
    [
      'MemoryStore: unknown option "ttl"; known are now, sweepEvery',
      () => new MemoryStore({ ttl: 1 } as never),
      TypeError,
    ],
    ['option now must be a function', () => new MemoryStore({ now: 1 } as never), TypeError],
    ['option sweepEvery must be a whole number from 1', () => new MemoryStore({ sweepEvery: 0 }), RangeError],
    [
      'RedisStore needs a URL, settings or an ioredis client, got undefined',
      () => new RedisStore(undefined),
      TypeError,
    ],
    [
      'the Redis to use must be a URL, an object of settings or an ioredis client, got null',
      () => new RedisStore(null as never),
      TypeError,
    ],
    [
      'RedisStore: unknown option "prefix"',
      () => new RedisStore('redis://127.0.0.1', { prefix: 'x' } as never),
      TypeError,
    ],
    [
      'durability: the options must be a plain object',
      () => new RedisStore('redis://127.0.0.1', { durability: 1 as never }),
      TypeError,
    ],
    [
      'durability.replicas must be a number',
      () => new RedisStore('redis://127.0.0.1', { durability: {} as never }),
      TypeError,
    ],
    [
      'durability.replicas must be a whole number from 1 to 100, got 0',
      () => new RedisStore('redis://127.0.0.1', { durability: { replicas: 0 } }),
      RangeError,
    ],
    [
      'durability.timeoutMs must be a whole number from 1 to 500, got 501',
      () => new RedisStore('redis://127.0.0.1', { timeoutMs: 500, durability: { replicas: 1, timeoutMs: 501 } }),
      RangeError,
    ],
    [
      'option timeoutMs must be a whole number from 1 to 600000, got 0',
      () => new RedisStore('redis://127.0.0.1', { timeoutMs: 0 }),
      RangeError,
    ],
    [
      'option tokenKeyPrefix must not hold braces',
      () => new RedisStore('redis://127.0.0.1', { tokenKeyPrefix: '{x}' }),
      RangeError,
    ],
    [
      'option userKeyPrefix must be a string',
      () => new RedisStore('redis://127.0.0.1', { userKeyPrefix: 7 } as never),
      TypeError,
    ],
    [
      'option userKeyPrefix must differ from tokenKeyPrefix',
      () => new RedisStore('redis://127.0.0.1', { userKeyPrefix: 'session-token' }),
      RangeError,
    ],
  ])('%s', (message, build, kind) => {
    expect(build).toThrow(kind);
    expect(build).toThrow(message);
  });

  it('an option that is undefined counts as left out', () => {
    expect(manager({ ttl: undefined, getUserInfo: undefined, singleMode: undefined })).not.toThrow();
    expect(manager({ singleMode: true, maxSessions: 1 })).not.toThrow();
    expect(manager({ singleMode: false, maxSessions: 5 })).not.toThrow();
  });

  it('a property of Object.prototype counts as no option', () => {
    Object.assign(Object.prototype, { ttl: -1, singleMode: 'polluted' });
    try {
      expect(manager({})).not.toThrow();
    } finally {
      for (const name of ['ttl', 'singleMode']) delete (Object.prototype as unknown as Record<string, unknown>)[name];
    }
  });

  it.each([
    { get: () => false, set: () => {} },
    { value: false, writable: false },
  ])('a property of Object.prototype keeps no option out, and replaces none: %o', async (property) => {
    Object.defineProperty(Object.prototype, 'singleMode', { ...property, configurable: true });
    try {
      const manager = new TokenManager({ store: new MemoryStore(), secret: SECRET, singleMode: true });
      const [first, second] = [await manager.setToken('ada'), await manager.setToken('ada')];
      expect([await manager.checkToken(first), (await manager.checkToken(second))?.user.id]).toEqual([null, 'ada']);
    } finally {
      delete (Object.prototype as unknown as Record<string, unknown>).singleMode;
    }
  });

  it('no options object is modified', () => {
    const options = Object.freeze({ store, secret: Object.freeze([SECRET]), ttl: 60 });
    expect(() => new TokenManager(options)).not.toThrow();
  });
});

describe('an error message', () => {
  it('shows only the first characters of a text, which may be a token or a secret in the wrong place', () => {
    const messageOf = (build: () => unknown) => {
      try {
        build();
      } catch (error) {
        return String(error);
      }
      return 'nothing was wrong';
    };
    const sessions = new TokenManager({ store: new MemoryStore(), secret: SECRET });
    const messages = [
      () => new TokenManager({ store: new MemoryStore(), [SECRET]: 1 } as never),
      () => new TokenManager({ store: new MemoryStore(), secret: SECRET, maxSessionsPerDevice: { [SECRET]: 0 } }),
      () => sessions.on(SECRET as never, () => undefined),
      () => sessionMiddleware(sessions, { header: `Bearer ${SECRET}` }),
      () => sessionMiddleware(sessions, { cookie: { name: SECRET } }),
      () => sessionMiddleware(sessions, { cookie: { domain: SECRET } }),
      () => sessionMiddleware(sessions, { trustedOrigins: [`https://ada:${SECRET}@host`] }),
      () => sessionMiddleware(sessions, { clearSiteData: [SECRET as never] }),
    ].map(messageOf);
    for (const message of messages) {
      expect(message).toMatch(/^(Type|Range)Error: .*a text of \d+ characters/);
      expect(message).not.toContain(SECRET.slice(0, 10));
    }
  });
});

describe('createRedisClient refuses', () => {
  const PASSWORD = 'hunter2hunter2';

  it.each<[string, unknown, string]>([
    ['what is no URL', `${PASSWORD}`, 'the Redis URL is not a URL'],
    ['an empty text', '', 'the Redis URL is not a URL'],
    ['a port that is none', `redis://:${PASSWORD}@host:99999`, 'the Redis URL is not a URL'],
    ['another protocol', `http://:${PASSWORD}@host`, 'the Redis URL must begin with redis:// or rediss://'],
    ['a URL without a host', `redis:///1`, 'the Redis URL names no host'],
    [
      'a database that is no number',
      `redis://:${PASSWORD}@host/sessions`,
      'the path of the Redis URL must be the number of a database',
    ],
    [
      'an unknown parameter',
      `redis://:${PASSWORD}@host/?passwort=${PASSWORD}`,
      'the Redis URL has an unknown parameter; known is family',
    ],
    [
      'a broken escape',
      `redis://:%zz${PASSWORD}@host`,
      'the Redis URL has a user or password that is not percent-encoded',
    ],
    [
      'a password that is taken for a host and port',
      `redis://sessions:123#${PASSWORD}@host`,
      'the Redis URL has a #: in a password it must be %23',
    ],
    ['a # in a password', `redis://:pa#${PASSWORD}@host`, 'the Redis URL has a #: in a password it must be %23'],
    ['a URL for a host', { host: `redis://:${PASSWORD}@host:6379` }, 'host must be a name or an address, and no URL'],
    [
      'a password that is taken for a parameter',
      `redis://sessions:123?${PASSWORD}@host`,
      'the Redis URL has an unknown parameter; known is family',
    ],
    ['an unknown setting', { hostname: 'x', password: PASSWORD }, 'the Redis settings: unknown option "hostname"'],
    ['a port of the wrong kind', { port: '6379', password: PASSWORD }, 'Redis port must be a number'],
    ['a port of 0', { port: 0 }, 'Redis port must be a whole number from 1 to 65535, got 0'],
    ['a negative db', { db: -1 }, 'Redis db must be a whole number from 0'],
    ['an empty host', { host: '' }, 'Redis host must not be empty'],
    ['a path beside a host', { path: '/run/redis.sock', host: 'x' }, "Redis path can't be given with host"],
    ['a path beside TLS', { path: '/run/redis.sock', tls: true }, "Redis path can't be given with tls"],
    ['a URL for a path', { path: `redis://:${PASSWORD}@host` }, 'Redis path must begin with /'],
    ['a path of the wrong kind', { path: 7 }, 'Redis path must be a string'],
    ['a tls of the wrong kind', { tls: 'yes' }, 'Redis tls must be true, false or an object'],
    [
      'sentinels that are no list',
      { sentinels: 'host:26379', name: 'x' },
      'sentinels must be an array of { host, port }',
    ],
    ['no sentinel at all', { sentinels: [], name: 'x' }, 'sentinels must not be empty'],
    [
      'a sentinel that is a URL',
      { sentinels: ['redis://host'], name: 'x' },
      'sentinels[0]: the options must be a plain object',
    ],
    [
      'a sentinel that is nothing',
      { sentinels: [undefined], name: 'x' },
      'sentinels[0] must be { host, port }, got undefined',
    ],
    [
      'a sentinel’s port',
      { sentinels: [{ port: 1 }, { port: 0 }], name: 'x' },
      'sentinels[1] port must be a whole number',
    ],
    ['sentinels without a name', { sentinels: [{}], password: PASSWORD }, 'Sentinel name must be a string'],
    [
      'an unknown setting of Sentinel',
      { sentinels: [{}], name: 'x', sentinelPasswort: PASSWORD },
      'the Sentinel settings: unknown option "sentinelPasswort"',
    ],
    ['a sentinel’s password', { sentinels: [{}], name: 'x', sentinelPassword: 7 }, 'sentinelPassword must be a string'],
    [
      'a sentinel’s tls',
      { sentinels: [{}], name: 'x', sentinelTls: 'yes' },
      'sentinelTls must be true, false or an object',
    ],
    ['a Cluster that is no list', { cluster: { host: 'x' } }, 'cluster must be an array of { host, port }'],
    ['a Cluster without a node', { cluster: [] }, 'cluster must not be empty'],
    ['a database of a Cluster', { cluster: [{}], db: 1 }, 'the Cluster settings: unknown option "db"'],
    ['both at once', { cluster: [{}], sentinels: [{}], name: 'x' }, 'the Sentinel settings: unknown option "cluster"'],
    ['a map of addresses that is none', { cluster: [{}], natMap: [] }, 'natMap must be an object of { host, port }'],
    ['a Map of addresses', { cluster: [{}], natMap: new Map() }, 'natMap must be an object of { host, port }'],
    [
      'an address in it without a host',
      { cluster: [{}], natMap: { '10.0.0.1:6379': { port: 7000 } } },
      'natMap["10.0.0.1:6379"] host must be a string',
    ],
    ['a number', 6379, 'the Redis to use must be a URL, an object of settings or an ioredis client'],
    ['a Map', new Map([['host', 'x']]), 'or an ioredis client, got an object of the class Map'],
    ['a client of the package redis', createClient(), 'must be a URL, an object of settings or an ioredis client, got'],
    ['null', null, 'the Redis to use must be a URL, an object of settings or an ioredis client'],
  ])('%s, without showing a password', (_, target, message) => {
    const build = () => createRedisClient(target as never);
    expect(build).toThrow(message);
    try {
      build();
    } catch (error) {
      expect(`${(error as Error).stack} ${String((error as Error).cause)}`).not.toContain(PASSWORD);
    }
  });

  it('no valid setting', async () => {
    const settings = [
      'redis://127.0.0.1:1',
      'redis://u:p%40@[::1]:1/3?family=6',
      { host: '127.0.0.1', port: 1, db: 2, tls: false },
    ];
    const clients = settings.map((target) => createRedisClient(target));
    for (const client of clients) client.on('error', () => undefined);
    expect(
      clients.map(({ options }) => [
        options.host,
        options.port,
        options.db,
        options.username,
        options.password,
        options.family,
      ]),
    ).toEqual([
      ['127.0.0.1', 1, 0, null, null, 0],
      ['::1', 1, 3, 'u', 'p@', 6],
      ['127.0.0.1', 1, 2, null, null, 0],
    ]);
    for (const client of clients) client.disconnect();
  });
});

it('a manager of another copy of the package is named as such', () => {
  jest.isolateModules(() => {
    const other: { TokenManager: typeof TokenManager } = require('tokensession');
    const manager = new other.TokenManager({ store: new MemoryStore(), secret: SECRET });
    const got = 'an object of the class TokenManager, of another copy of tokensession: see npm ls tokensession';
    expect(() => sessionMiddleware(manager)).toThrow(
      new TypeError(`sessionMiddleware needs a TokenManager, got ${got}`),
    );
    expect(() => new ExpressSessionStore(manager, { userIdOf: () => null })).toThrow(
      new TypeError(`ExpressSessionStore needs a TokenManager, got ${got}`),
    );
  });
});

describe('a middleware that is mounted without a call says so', () => {
  const onExpress = async (middleware: unknown) => {
    const app = express().use(middleware as express.RequestHandler);
    app.use(((error, _req, res, _next) => res.send(String(error))) satisfies express.ErrorRequestHandler);
    return visit(app);
  };
  const onKoa = async (middleware: unknown) => {
    const app = new Koa().use(async (ctx, next) => {
      ctx.body = await next().catch(String);
    });
    return visit(app.use(middleware as Koa.Middleware).callback());
  };
  const onHono = async (middleware: unknown) => {
    const app = new Hono().use(middleware as never).onError((error, c) => c.text(String(error)));
    return (await app.request('/')).text();
  };
  async function visit(app: Parameters<typeof listen>[0]): Promise<string> {
    const { url, close } = await listen(app);
    const text = await (await fetch(url)).text();
    await close();
    return text;
  }

  it.each([
    ['Express', 'requireUser', () => onExpress(requireUser)],
    ['Koa', 'requireUser', () => onKoa(forKoa.requireUser)],
    ['Hono', 'requireUser', () => onHono(forHono.requireUser)],
    ['Express', 'requireRecentLogin', () => onExpress(requireRecentLogin)],
    ['Koa', 'requireRecentLogin', () => onKoa(forKoa.requireRecentLogin)],
    ['Hono', 'requireRecentLogin', () => onHono(forHono.requireRecentLogin)],
    ['Express', 'sessionMiddleware', () => onExpress(sessionMiddleware)],
    ['Koa', 'sessionMiddleware', () => onKoa(forKoa.sessionMiddleware)],
    ['Hono', 'sessionMiddleware', () => onHono(forHono.sessionMiddleware)],
  ])('in %s: %s', async (_, name, answer) => {
    expect(await answer()).toBe(`TypeError: ${name} was mounted without a call: mount what ${name}() returns`);
  });

  it('and no method that gets a request in the place of options', async () => {
    const sessions = new TokenManager({ store: new MemoryStore(), secret: SECRET });
    const created = sessions.createSession('ada', new Request('https://app.example') as never);
    await expect(created).rejects.toThrow(/got an object of the class Request$/);
  });
});
