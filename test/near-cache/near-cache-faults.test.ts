import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import {
  createRedisClient,
  RedisStore,
  type SessionEvents,
  TokenManager,
  type TokenManagerOptions,
} from 'tokensession';
import { closeAfterEach } from '../support/closing';
import { ask, type RedisServer, startRedis } from '../support/redis-server';
import { startStopwatch } from '../support/stopwatch';
import { PATIENT, randomPrefixes, SECRET } from '../support/stores';
import { startProxy } from '../support/tcp-proxy';
import { until } from '../support/until';

let server: RedisServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

const closing = closeAfterEach();
const HEARTBEAT_MS = 500;
/** Two heartbeats, plus the delay of timers on a busy machine. */
const LEASE_MS = 2 * HEARTBEAT_MS + 1000;
const CACHE = { maxAgeMs: 60_000, heartbeatMs: HEARTBEAT_MS };

type Target = ConstructorParameters<typeof RedisStore>[0];

function service(target: Target, options: Partial<TokenManagerOptions<unknown>> & { prefixes?: object } = {}) {
  const { prefixes = randomPrefixes(), ...given } = options;
  const store = new RedisStore(target, { ...prefixes, timeoutMs: 2500 });
  const sessions = new TokenManager({ store, secret: SECRET, cache: CACHE, ...given });
  closing(() => sessions.close());
  const events: { name: string; error?: unknown }[] = [];
  for (const name of ['cache-down', 'cache-up'] as const) {
    sessions.on(name, (event: SessionEvents[typeof name]) => events.push({ name, ...event }));
  }
  return { sessions, events };
}

/** Waits until the cache has gone down since these events were forgotten. It may be up again by then. */
const untilDown = (events: { name: string }[]) =>
  until('the loss is noticed', () => events.some(({ name }) => name === 'cache-down'));

async function hot(sessions: TokenManager): Promise<string> {
  const token = await sessions.setToken('ada');
  await heat(sessions, token);
  return token;
}

async function heat(sessions: TokenManager, token: string): Promise<void> {
  await until('it is answered from memory', async () => {
    const before = sessions.cacheStats?.hits ?? 0;
    expect(await sessions.checkToken(token)).not.toBeNull();
    return (sessions.cacheStats?.hits ?? 0) > before;
  });
}

/** How long the near cache still answers for the session. */
async function msUntilAsked(sessions: TokenManager, token: string): Promise<number> {
  const elapsedMs = startStopwatch();
  for (;;) {
    const { hits = 0, misses = 0 } = sessions.cacheStats ?? {};
    const check = sessions.checkToken(token).catch(() => undefined);
    const now = sessions.cacheStats;
    if (now === null || now.hits === hits || now.misses > misses) return elapsedMs();
    await check;
    await sleep(5);
  }
}

/** Ends a session directly in Redis, without an announcement. */
const endUnannounced = (prefixes: { tokenKeyPrefix: string }, token: string) =>
  server.admin.del(`${prefixes.tokenKeyPrefix}:{${token.slice(0, 22)}}`);

describe('the end of a session that was never announced', () => {
  it('takes effect after maxAgeMs at the latest', async () => {
    const prefixes = randomPrefixes();
    const { sessions } = service(server.url, { prefixes, cache: { ...CACHE, maxAgeMs: 500 } });
    const token = await hot(sessions);
    await endUnannounced(prefixes, token);
    const elapsedMs = startStopwatch();
    while ((await sessions.checkToken(token)) !== null) await sleep(5);
    expect(elapsedMs()).toBeLessThan(500 + 1000);
  });
});

describe('while announcements may be lost, each check calls the store', () => {
  it('two heartbeats after Redis was paused, even while its connection counts as ready', async () => {
    const own = await startRedis();
    closing(() => own.stop());
    const { sessions, events } = service(own.url);
    const token = await hot(sessions);
    events.length = 0;
    own.pause();
    expect(await msUntilAsked(sessions, token)).toBeLessThan(LEASE_MS);
    await expect(sessions.checkToken(token)).rejects.toMatchObject({ status: 503 });
    await untilDown(events);
    expect(sessions.cacheStats).toMatchObject({ entries: 0, isUp: false });
    expect(events).toMatchObject([{ name: 'cache-down', error: expect.any(Error) }]);
    own.resume();
    await until('it serves again', () => sessions.checkToken(token));
    await heat(sessions, token);
  });

  it('two heartbeats after the network of the subscription alone has become silent', async () => {
    const proxy = await startProxy(server.port);
    closing(() => proxy.stop());
    const prefixes = randomPrefixes();
    const { sessions, events } = service({ host: '127.0.0.1', port: proxy.port }, { prefixes });
    const token = await hot(sessions);
    events.length = 0;
    proxy.swallowOf(/subscribe/i);
    const there = service(server.url, { prefixes }).sessions;
    await there.deleteToken(token);
    expect(await msUntilAsked(sessions, token)).toBeLessThan(LEASE_MS);
    expect(await sessions.checkToken(token)).toBeNull();
    await untilDown(events);
    expect(events.map(({ name }) => name)).toEqual(['cache-down']);
    expect(await sessions.health()).toMatchObject({
      status: 'degraded',
      reasons: [expect.stringContaining('the near cache is bypassed')],
    });
    // From now on each check calls the store, and succeeds.
    const other = await sessions.setToken('bob');
    const { hits } = sessions.cacheStats ?? {};
    for (let i = 0; i < 5; i++) expect(await sessions.checkToken(other)).not.toBeNull();
    expect(sessions.cacheStats?.hits).toBe(hits);
    proxy.pass();
    await heat(sessions, other);
  });

  it('at once when the connection of the subscription breaks; entries from before stay unused after a reconnect', async () => {
    const prefixes = randomPrefixes();
    const { sessions, events } = service(server.url, { prefixes });
    const token = await hot(sessions);
    events.length = 0;
    await server.admin.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
    await untilDown(events);
    expect(sessions.cacheStats?.entries).toBe(0);
    await endUnannounced(prefixes, token);
    await until('it is up again', () => sessions.cacheStats?.isUp);
    expect(await sessions.checkToken(token)).toBeNull();
    expect(events.slice(0, 2).map(({ name }) => name)).toEqual(['cache-down', 'cache-up']);
  });

  it('at once when the connection of the calls breaks, since the next one may reach another server', async () => {
    const proxy = await startProxy(server.port);
    closing(() => proxy.stop());
    const { sessions, events } = service({ host: '127.0.0.1', port: proxy.port });
    const token = await hot(sessions);
    events.length = 0;
    proxy.cut();
    await untilDown(events);
    expect(sessions.cacheStats?.entries).toBe(0);
    await until('it serves again', () => sessions.checkToken(token));
    await heat(sessions, token);
  });

  it('for as long as the subscription is connected to another server than the calls', async () => {
    const elsewhere = await startRedis();
    closing(() => elsewhere.stop());
    const client = createRedisClient(server.url, PATIENT);
    closing(() => client.disconnect());
    let leadTo = elsewhere.port;
    const duplicate = client.duplicate.bind(client);
    client.duplicate = (options) => duplicate({ ...options, port: leadTo });
    const { sessions } = service(client);
    const token = await sessions.setToken('ada');
    const begin = performance.now();
    while (performance.now() - begin < 1500) {
      expect(await sessions.checkToken(token)).not.toBeNull();
      await sleep(20);
    }
    expect(sessions.cacheStats).toMatchObject({ entries: 0, hits: 0, isUp: false });
    // The name has led to the right server for a while: it is looked up for each connection.
    leadTo = server.port;
    client.stream.destroy();
    await until('it is reachable', () => sessions.checkToken(token));
    await heat(sessions, token);
  });

  it('for as long as the subscription is connected to a replica of the server that is called', async () => {
    const replica = await startRedis({ replicaof: [['127.0.0.1', String(server.port)]] });
    closing(() => replica.stop());
    const client = createRedisClient(server.url, PATIENT);
    closing(() => client.disconnect());
    const duplicate = client.duplicate.bind(client);
    client.duplicate = (options) => duplicate({ ...options, port: replica.port });
    await until('it replicates', async () =>
      (await replica.admin.info('replication')).includes('master_link_status:up'),
    );
    const { sessions, events } = service(client);
    const token = await sessions.setToken('ada');
    await until('the event arrives', () => events.length > 0);
    for (let i = 0; i < 5; i++) expect(await sessions.checkToken(token)).not.toBeNull();
    expect(sessions.cacheStats).toMatchObject({ hits: 0, isUp: false });
    expect(events).toMatchObject([
      {
        name: 'cache-down',
        error: { cause: { message: 'the subscription is connected to another server than the calls' } },
      },
    ]);
  });

  it('when the connection of the subscription breaks as it begins, and the next one leads to another server', async () => {
    const other = await startRedis();
    closing(() => other.stop());
    const [calls, subscription] = [await startProxy(server.port), await startProxy(server.port)];
    closing(() => calls.stop());
    closing(() => subscription.stop());
    const client = createRedisClient({ host: '127.0.0.1', port: calls.port }, { timeoutMs: 5000 });
    closing(() => client.disconnect());
    let asked = 0;
    const duplicate = client.duplicate.bind(client);
    client.duplicate = (options) => {
      const copy = duplicate({ ...options, port: subscription.port });
      const info = copy.info.bind(copy) as (...args: unknown[]) => Promise<string>;
      copy.info = (async (...args: unknown[]) => {
        const reply = await info(...args);
        if (args[0] === 'server') asked++;
        return reply;
      }) as typeof copy.info;
      return copy;
    };
    await until('it is connected', () => client.status === 'ready');
    calls.hold();
    const { sessions } = service(client);
    await until('the first server has named itself', () => asked === 1);
    subscription.leadTo(other.port);
    subscription.cut();
    await until('the second server has named itself', () => asked === 2);
    calls.pass();
    const token = await sessions.setToken('ada');
    await sleep(2 * HEARTBEAT_MS + 50);
    for (let i = 0; i < 5; i++) expect(await sessions.checkToken(token)).not.toBeNull();
    expect(sessions.cacheStats).toMatchObject({ hits: 0, isUp: false });
  });

  it('for as long as the subscription answers later than in two heartbeats, and the readiness says so', async () => {
    const slow = await startProxy(server.port);
    closing(() => slow.stop());
    slow.delay(200);
    const client = createRedisClient(server.url, PATIENT);
    closing(() => client.disconnect());
    const duplicate = client.duplicate.bind(client);
    client.duplicate = (options) => duplicate({ ...options, port: slow.port });
    const { sessions, events } = service(client, { cache: { ...CACHE, heartbeatMs: 100 } });
    const token = await sessions.setToken('ada');
    await until('the event arrives', () => events.length > 0);
    expect(events).toMatchObject([
      { name: 'cache-down', error: { cause: { message: expect.stringContaining('heartbeats') } } },
    ]);
    expect((await sessions.health()).reasons).toEqual([expect.stringContaining('heartbeats')]);
    slow.pass();
    await heat(sessions, token);
  });

  it('two heartbeats after its master became a replica, which still answers', async () => {
    const own = await startRedis();
    closing(() => own.stop());
    const { sessions } = service(own.url);
    const token = await hot(sessions);
    await own.admin.replicaof('127.0.0.1', server.port);
    expect(await msUntilAsked(sessions, token)).toBeLessThan(LEASE_MS);
    await expect(sessions.checkToken(token)).rejects.toMatchObject({ status: 503 });
  });

  it('after Redis was killed: 503, no user signed out, and the cache works again with Redis', async () => {
    const own = await startRedis({ appendonly: 'yes', appendfsync: 'always' });
    closing(() => own.stop());
    const { sessions } = service(own.url);
    const token = await hot(sessions);
    await own.kill();
    await until('it is asked', () =>
      sessions.checkToken(token).then(
        () => false,
        ({ status }) => status === 503,
      ),
    );
    await own.restart();
    await until('it serves again', () => sessions.checkToken(token));
    await heat(sessions, token);
  });

  it('from the start, without Redis; the cache works once Redis is up', async () => {
    const own = await startRedis();
    closing(() => own.stop());
    await own.kill();
    const { sessions } = service(own.url);
    await expect(sessions.setToken('ada')).rejects.toMatchObject({ status: 503 });
    await own.restart();
    const token = await until('it serves', () => sessions.setToken('ada'));
    await heat(sessions, token);
  });
});

it('a manager may be closed in a listener of cache-down', async () => {
  const own = await startRedis();
  closing(() => own.stop());
  const { sessions, events } = service(own.url);
  const isClosed = new Promise<void>((resolve) => sessions.on('cache-down', () => void sessions.close().then(resolve)));
  await hot(sessions);
  await own.admin.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
  await isClosed;
  const connections = async () => (await ask<string>(own, 'CLIENT', 'LIST')).trim().split('\n').length;
  await until('it has left', async () => (await connections()) === 1);
  await sleep(2 * HEARTBEAT_MS);
  expect(await connections()).toBe(1);
  expect(events.map(({ name }) => name)).toEqual(['cache-up', 'cache-down']);
});

describe('a process that was suspended', () => {
  it('uses none of its former entries', async () => {
    const prefixes = randomPrefixes();
    const { sessions } = service(server.url, { prefixes });
    const token = await hot(sessions);
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2 * HEARTBEAT_MS + 50);
    const { hits } = sessions.cacheStats ?? {};
    await sessions.checkToken(token);
    expect(sessions.cacheStats?.hits).toBe(hits);
    await heat(sessions, token);
  });
});

describe('a Redis user without the right to subscribe or publish', () => {
  const may = ['on', '>secret', 'resetkeys', '~*', 'resetchannels', '+@all'];

  it('gets sessions from the store alone, and the reason in an event', async () => {
    await server.admin.call('ACL', 'SETUSER', 'deaf', ...may);
    const { sessions, events } = service({
      host: '127.0.0.1',
      port: server.port,
      username: 'deaf',
      password: 'secret',
    });
    const token = await sessions.setToken('ada');
    await until('the event arrives', () => events.length > 0);
    for (let i = 0; i < 3; i++) expect(await sessions.checkToken(token)).not.toBeNull();
    expect(events).toMatchObject([
      { name: 'cache-down', error: { cause: { message: expect.stringContaining('NOPERM') } } },
    ]);
    expect(sessions.cacheStats).toMatchObject({ hits: 0, isUp: false });
  });

  it('or that loses it, even for one channel, degrades the readiness with the reason', async () => {
    await server.admin.call('ACL', 'SETUSER', 'half', ...may, '&session-token:changes');
    const half = { host: '127.0.0.1', port: server.port, username: 'half', password: 'secret' };
    const { sessions } = service(half, { prefixes: { tokenKeyPrefix: 'session-token' }, cache: false });
    await sessions.setToken('a user of this test');
    expect(await sessions.health()).toMatchObject({ status: 'degraded' });
    await server.admin.call('ACL', 'SETUSER', 'half', '&session-user:changes');
    expect(await sessions.health()).toMatchObject({ status: 'up' });
  });

  it('can still end sessions; other processes notice after maxAgeMs, and the readiness says so', async () => {
    await server.admin.call('ACL', 'SETUSER', 'mute', ...may);
    const prefixes = randomPrefixes();
    const { sessions } = service(server.url, { prefixes, cache: { ...CACHE, maxAgeMs: 500 } });
    const mute = service(
      { host: '127.0.0.1', port: server.port, username: 'mute', password: 'secret' },
      { prefixes, cache: false },
    ).sessions;
    const token = await hot(sessions);
    expect(await mute.deleteUserToken('ada')).toBe(1);
    await until('it is refused', async () => (await sessions.checkToken(token)) === null);
    expect(await mute.health()).toMatchObject({
      status: 'degraded',
      reasons: [expect.stringContaining('does not let changes be announced')],
    });
    expect(await sessions.health()).toMatchObject({ status: 'up', reasons: [] });
  });
});

describe('a client that was passed in', () => {
  it('is left alone: the subscription has its own connection, which the manager closes', async () => {
    const client = new Redis(server.port, { keyPrefix: 'application:' });
    closing(() => client.disconnect());
    const prefixes = randomPrefixes();
    const { sessions } = service(client, { prefixes });
    const token = await hot(sessions);
    const other = new Redis(server.port, { keyPrefix: 'application:' });
    closing(() => other.disconnect());
    const there = service(other, { prefixes, cache: false }).sessions;
    await there.deleteToken(token);
    await until('it is refused', async () => (await sessions.checkToken(token)) === null);
    await sessions.close();
    expect(await client.ping()).toBe('PONG');
    const channels = `application:${prefixes.tokenKeyPrefix}*`;
    await until('the subscription is closed', async () => {
      expect(await server.admin.call('PUBSUB', 'CHANNELS', channels)).toEqual([]);
      return true;
    });
  });
});
