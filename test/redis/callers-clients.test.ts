import { setTimeout as sleep } from 'node:timers/promises';
import { Cluster, Redis } from 'ioredis';
import { Cluster as Cluster5, Redis as Redis5 } from 'ioredis5';
import { createRedisClient, RedisStore, type RedisStoreOptions, TokenManager } from 'tokensession';
import { closeAfterEach } from '../support/closing';
import { type ClusterTopology, startClusterTopology } from '../support/cluster-topology';
import { ask, type RedisServer } from '../support/redis-server';
import { type SentinelTopology, startSentinelTopology } from '../support/sentinel-topology';
import { idOf } from '../support/session-id';
import { PATIENT, randomPrefixes, SECRET } from '../support/stores';
import { startProxy } from '../support/tcp-proxy';
import { until } from '../support/until';

type Target = ConstructorParameters<typeof RedisStore>[0];
type Client = Redis | Cluster;
type Sessions = TokenManager<{ name: string }>;

const HOST = '127.0.0.1';
const DURABLE = { durability: { replicas: 1, timeoutMs: PATIENT.timeoutMs } };
const USERS = Array.from({ length: 12 }, (_, i) => `user-${i}`);

let cluster: ClusterTopology;
let sentinel: SentinelTopology;
/** The master behind the sentinel, which also serves as the single Redis. */
let single: RedisServer;
let prefixes: ReturnType<typeof randomPrefixes>;
const onClose = closeAfterEach();

beforeAll(async () => {
  const started = await Promise.allSettled([
    startClusterTopology({ nodeTimeoutMs: 10_000 }).then((topology) => {
      cluster = topology;
    }),
    startSentinelTopology({ replicas: 1, sentinels: 1, downAfterMs: 30_000 }).then((topology) => {
      sentinel = topology;
    }),
  ]);
  for (const outcome of started) if (outcome.status === 'rejected') throw outcome.reason;
  single = sentinel.nodes[0] as RedisServer;
});
afterAll(() => Promise.all([cluster?.stop(), sentinel?.stop()]));
beforeEach(() => {
  prefixes = randomPrefixes();
  jest.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
});
afterEach(() => jest.restoreAllMocks());

function kept<Kept extends { on(event: 'error', listener: () => void): unknown; disconnect(): void }>(client: Kept) {
  client.on('error', () => undefined);
  onClose(() => client.disconnect());
  return client as unknown as Client;
}

/** A client of each topology, by each version of ioredis. */
const OPEN = {
  'one Redis': {
    'ioredis 6': (options: object) => kept(new Redis({ ...options, port: single.port })),
    'ioredis 5': (options: object) => kept(new Redis5({ ...options, port: single.port })),
  },
  Sentinel: {
    'ioredis 6': (options: object) =>
      kept(new Redis({ ...options, sentinels: sentinel.sentinels, name: sentinel.name })),
    'ioredis 5': (options: object) =>
      kept(new Redis5({ ...options, sentinels: sentinel.sentinels, name: sentinel.name })),
  },
  'a Cluster': {
    'ioredis 6': (options: object, nodes = cluster.startupNodes) => kept(new Cluster(nodes, options)),
    'ioredis 5': (options: object, nodes = cluster.startupNodes) => kept(new Cluster5(nodes, options)),
  },
};

function manage(target: unknown, options: RedisStoreOptions = {}, cache = true): Sessions {
  const store = new RedisStore(target as Target, { ...PATIENT, ...prefixes, ...options });
  const sessions = new TokenManager({
    store,
    secret: SECRET,
    getUserInfo: (id): { name: string } => ({ name: id }),
    ...(cache && { cache: { maxAgeMs: 60_000, heartbeatMs: 1000 } }),
  });
  onClose(() => sessions.close());
  return sessions;
}

const logIn = (sessions: Sessions) => Promise.all(USERS.map((id) => sessions.setToken(id)));
const usersOf = async (sessions: Sessions, tokens: readonly string[]) =>
  (await Promise.all(tokens.map((token) => sessions.checkToken(token)))).map((session) => session?.user.id);

const untilCaching = (sessions: Sessions) => until('the near cache is up', () => sessions.cacheStats?.isUp);

/** Every key with these prefixes, as `database:key`. */
async function keysIn(
  servers: readonly RedisServer[],
  { tokenKeyPrefix, userKeyPrefix } = prefixes,
): Promise<string[]> {
  const found = servers.map(async (server) => {
    const keyspace = await ask<string>(server, 'INFO', 'keyspace');
    const databases = [...keyspace.matchAll(/^db(\d+):/gm)].map(([, db]) => Number(db));
    const keys = databases.map(async (db) => {
      const redis = new Redis({ port: server.port, db });
      onClose(() => redis.disconnect());
      const names = [...(await redis.keys(`*${tokenKeyPrefix}*`)), ...(await redis.keys(`*${userKeyPrefix}*`))];
      return names.map((name) => `${db}:${name}`);
    });
    return (await Promise.all(keys)).flat();
  });
  return (await Promise.all(found)).flat();
}

/** The channels with these prefixes that near caches are subscribed to, on any of the servers. */
async function channelsAt(servers: readonly RedisServer[], own: typeof prefixes): Promise<string[]> {
  const patterns = [`*${own.tokenKeyPrefix}*`, `*${own.userKeyPrefix}*`];
  const lists = servers.flatMap((server) =>
    patterns.map((pattern) => ask<string[]>(server, 'PUBSUB', 'CHANNELS', pattern)),
  );
  return [...new Set((await Promise.all(lists)).flat())].sort();
}

/** Uses everything that a store and a near cache promise through this client; returns what is in Redis afterwards. */
async function doesAll(client: Client): Promise<string[]> {
  const own = randomPrefixes();
  const sessions = manage(client, { ...own, ...DURABLE });
  const elsewhere = manage(client, own, false);
  const tokens = await logIn(sessions);
  expect(await usersOf(elsewhere, tokens)).toEqual(USERS);
  await untilCaching(sessions);
  await until('memory answers', async () => {
    const { hits } = sessions.cacheStats ?? { hits: 0 };
    await usersOf(sessions, tokens);
    return (sessions.cacheStats?.hits ?? 0) - hits === USERS.length;
  });
  expect(await sessions.health()).toMatchObject({ status: 'up', reasons: [] });
  const [first = '', second = '', third = ''] = tokens;
  // Of users on different nodes.
  for (const token of [first, ...tokens.slice(9)]) {
    expect(await elsewhere.deleteToken(token)).toBe(true);
    await until('the end is announced', async () => (await sessions.checkToken(token)) === null);
  }
  expect(await sessions.deleteToken(second)).toBe(true);
  expect(await sessions.banUser('user-2')).toBe(1);
  expect(await elsewhere.checkToken(third)).toBeNull();
  await expect(elsewhere.setToken('user-2')).rejects.toMatchObject({ code: 'ERR_USER_BANNED' });
  expect(await sessions.unbanUser('user-2')).toBe(true);
  expect(await sessions.listUserToken('user-3')).toEqual([tokens[3]]);
  expect(await sessions.refreshToken(tokens[4] as string, 50)).toBe(true);
  expect(await sessions.touchToken(tokens[5] as string)).toMatchObject({ user: { detail: { name: 'user-5' } } });
  const keys = await keysIn(client.isCluster ? cluster.nodes.slice(0, 3) : [single], own);
  expect(keys.length).toBeGreaterThan(USERS.length / 2);
  // No subscription without the prefix of the keys.
  const [, keyPrefix] = (keys.find((key) => key.includes(own.tokenKeyPrefix)) ?? '').split(/^\d+:(.*)token-/);
  const channels = await channelsAt(client.isCluster ? cluster.nodes : [single], own);
  expect(channels).toEqual([`${keyPrefix}${own.tokenKeyPrefix}:changes`, `${keyPrefix}${own.userKeyPrefix}:changes`]);
  return keys;
}

const SHARED: [name: string, options: object, keys?: RegExp | undefined][] = [
  ['none', {}],
  ['keyPrefix', { keyPrefix: 'app:' }, /^0:app:(token|user)-/],
  ['enableAutoPipelining', { enableAutoPipelining: true }],
  ['lazyConnect', { lazyConnect: true }],
  ['enableOfflineQueue: false', { enableOfflineQueue: false }],
  ['enableReadyCheck: false', { enableReadyCheck: false }],
  ['showFriendlyErrorStack', { showFriendlyErrorStack: true }],
];

const OF_ONE: typeof SHARED = [
  ['db', { db: 5 }, /^5:(token|user)-/],
  ['stringNumbers', { stringNumbers: true }],
  ['readOnly', { readOnly: true }],
  ['autoResendUnfulfilledCommands: false', { autoResendUnfulfilledCommands: false }],
  ['commandTimeout', { commandTimeout: 5000 }],
  ['maxRetriesPerRequest: null', { maxRetriesPerRequest: null }],
  ['maxRetriesPerRequest: 0', { maxRetriesPerRequest: 0 }],
  ['connectionName', { connectionName: 'application' }],
  ['protocol: 2', { protocol: 2 }],
  ['replyMapping: resp3', { replyMapping: 'resp3' } as object],
];

const OF_A_CLUSTER: typeof SHARED = [
  ...OF_ONE.filter(([name]) => name !== 'stringNumbers').map(([name, options, keys]): (typeof SHARED)[number] => [
    `redisOptions.${name}`,
    { redisOptions: options },
    keys && /^0:(token|user)-/,
  ]),
  ['keyPrefix with a hash tag', { keyPrefix: '{app}:' }, /^0:\{app\}:(token|user)-/],
  ['redisOptions.keyPrefix', { redisOptions: { keyPrefix: 'app:' } }, /^0:app:(token|user)-/],
  ['both keyPrefixes', { keyPrefix: 'app:', redisOptions: { keyPrefix: 'app:' } }, /^0:app:(token|user)-/],
  ['redisOptions.enableAutoPipelining', { enableAutoPipelining: true, redisOptions: { enableAutoPipelining: true } }],
  ['redisOptions.enableReadyCheck: false', { redisOptions: { enableReadyCheck: false } }],
  ['scaleReads: all', { scaleReads: 'all' }],
  ['scaleReads: slave', { scaleReads: 'slave', enableAutoPipelining: true }],
  ['scaleReads by a function', { scaleReads: (nodes: Redis[]) => nodes.at(-1) }],
  ['retryDelayOnFailover: 0', { retryDelayOnFailover: 0 }],
];

describe.each(Object.entries(OPEN))('a client of %s', (topology, versions) => {
  it.each([...SHARED, ...(topology === 'a Cluster' ? OF_A_CLUSTER : OF_ONE)])(
    'keeps all promises with the option %s',
    async (_, options, keys = /^0:(token|user)-/) => {
      const found = await Promise.all(Object.values(versions).map((open) => doesAll(open(options))));
      expect(found.flat().filter((key) => !keys.test(key))).toEqual([]);
    },
  );
});

it.each<[string, () => Client, string]>([
  [
    'a role of a replica',
    () => new Redis({ sentinels: [{ host: HOST, port: 1 }], name: 'x', role: 'slave', lazyConnect: true }),
    "the client's option role must be 'master': replicas answer no calls",
  ],
  [
    'two key prefixes',
    () => new Cluster([{ port: 1 }], { keyPrefix: 'a:', redisOptions: { keyPrefix: 'b:' }, lazyConnect: true }),
    "the client's option redisOptions.keyPrefix must be left out, or be the same as keyPrefix",
  ],
  ...['a{b', '{}:', 'a{'].map((keyPrefix): [string, () => Client, string] => [
    `a prefix of ${keyPrefix}`,
    () => new Cluster([{ port: 1 }], { keyPrefix, lazyConnect: true }),
    "the client's option keyPrefix has a brace that puts a user's keys into two slots",
  ]),
  [
    'numbers as text in a Cluster',
    () => new Cluster([{ port: 1 }], { redisOptions: { stringNumbers: true }, lazyConnect: true }),
    "the client's option redisOptions.stringNumbers must be off: ioredis misreads the slots of a Cluster with it",
  ],
])('a client is refused at construction for %s', (_, open, message) => {
  const client = kept(open() as Redis);
  expect(() => new RedisStore(client)).toThrow(new RangeError(message));
});

it.each<[string, () => Client, string]>([
  ['retryStrategy', () => new Redis({ port: 1, retryStrategy: null as never, lazyConnect: true }), 'no retryStrategy'],
  [
    'clusterRetryStrategy',
    () => new Cluster([{ port: 1 }], { clusterRetryStrategy: null as never, lazyConnect: true }),
    'no clusterRetryStrategy',
  ],
  [
    'enableOfflineQueue',
    () => new Cluster([{ port: 1 }], { enableOfflineQueue: false, retryDelayOnFailover: 0, lazyConnect: true }),
    'enableOfflineQueue is false and retryDelayOnFailover is 0',
  ],
  [
    'retryDelayOnTryAgain',
    () => new Cluster([{ port: 1 }], { retryDelayOnTryAgain: 50, lazyConnect: true }),
    'retryDelayOnTryAgain times maxRedirections is long',
  ],
  [
    'a hash tag in keyPrefix',
    () => new Cluster([{ port: 1 }], { keyPrefix: '{app}:', lazyConnect: true }),
    'keyPrefix has a hash tag',
  ],
])('a client is warned of at construction for %s', (_, open, words) => {
  new RedisStore(kept(open() as Redis));
  expect(process.emitWarning).toHaveBeenCalledTimes(1);
  expect(process.emitWarning).toHaveBeenCalledWith(expect.stringContaining(words), expect.anything());
});

describe('a Cluster client', () => {
  it('with automatic pipelining is served while slots are moved', async () => {
    const processes = Object.values(OPEN['a Cluster']).map((open) =>
      manage(open({ enableAutoPipelining: true, retryDelayOnTryAgain: 1 }), {}, false),
    );
    const tokens = await logIn(processes[0] as Sessions);
    const areServed = async () => {
      for (let i = 0; i < 5; i++) {
        for (const sessions of processes) expect(await usersOf(sessions, tokens)).toEqual(USERS);
      }
    };
    const moved = `${prefixes.tokenKeyPrefix}:{${tokens[0]?.split('.')[0]}}`;
    const [slot, from] = await Promise.all([cluster.slotOf(moved), cluster.ownerOf(moved)]);
    const to = (await cluster.masters()).find((master) => master !== from) as RedisServer;
    await areServed();
    await cluster.beginMigration(slot, from, to);
    try {
      await cluster.migrateKeys(slot, from, to);
      await areServed();
    } finally {
      await ask(from, 'CLUSTER', 'SETSLOT', slot, 'STABLE');
      await cluster.migrateKeys(slot, to, from);
      await ask(to, 'CLUSTER', 'SETSLOT', slot, 'STABLE');
    }
    await areServed();
  });

  it('of createRedisClient has nodes whose duplicates connect at once when they are to', async () => {
    await setPassword(cluster.nodes, 'first');
    for (const access of [{}, { username: 'rotating', password: () => 'first' }]) {
      const client = createRedisClient({ cluster: cluster.startupNodes, ...access }, PATIENT);
      onClose(() => client.disconnect());
      await until('it is ready', () => client.status === 'ready');
      const copies = [{ lazyConnect: false }, {}].map((options) => client.nodes()[0]?.duplicate(options) as Redis);
      for (const copy of copies) onClose(() => copy.disconnect());
      await until('one has connected', () => copies[0]?.status === 'ready');
      expect(copies[1]?.status).toBe('wait');
    }
  });

  it('opens no circuit for errors that ioredis makes itself while the connections work', async () => {
    const client = OPEN['a Cluster']['ioredis 6']({}) as Cluster;
    const sessions = manage(client, {}, false);
    const [token = ''] = await logIn(sessions);
    const refusing = jest.spyOn(client, 'sendCommand').mockImplementation(() => {
      throw new Error('refused by the application');
    });
    for (let i = 0; i < 10; i++) {
      await expect(sessions.checkToken(token)).rejects.toMatchObject({
        code: 'ERR_STORE_UNAVAILABLE',
        cause: { message: 'refused by the application' },
      });
    }
    refusing.mockRestore();
    expect(await sessions.checkToken(token)).toMatchObject({ user: { id: 'user-0' } });
  });

  it.each(Object.entries(OPEN['a Cluster']))(
    'of %s without slotsRefreshInterval and without calls: the near cache is up again once its master is',
    async (_, open) => {
      const pair = await startClusterTopology({ masters: 1, replicas: 1 });
      onClose(() => pair.stop());
      const [master, replica] = pair.nodes as [RedisServer, RedisServer];
      const client = open({}, pair.startupNodes);
      const sessions = manage(client);
      let losses = 0;
      sessions.on('cache-down', () => losses++);
      await untilCaching(sessions);
      // Connections of the calls alone.
      await killConnections([master], 'TYPE', 'normal');
      await until('the loss is noticed', () => losses === 1);
      await untilCaching(sessions);
      await ask(replica, 'CLUSTER', 'FAILOVER', 'TAKEOVER');
      await until('the promotion is noticed', () => losses === 2);
      await untilCaching(sessions);
      expect(await sessions.health()).toMatchObject({ status: 'up', reasons: [] });
    },
  );

  it.each(Object.entries(OPEN['a Cluster']))(
    'of %s with a clusterNodeRetryStrategy: ends are repeated to a node that came back without them',
    async (_, open) => {
      const alone = await startClusterTopology({ masters: 1, replicas: 0 });
      onClose(() => alone.stop());
      const [node] = alone.nodes as [RedisServer];
      const sessions = manage(open({ clusterNodeRetryStrategy: () => 20 }, alone.startupNodes));
      const [loggedOut = '', live = ''] = await logIn(sessions);
      await untilCaching(sessions);
      await ask(node, 'SAVE');
      expect(await sessions.deleteToken(loggedOut)).toBe(true);
      await node.restart();
      await until('it serves again', () => sessions.checkToken(live));
      await until('the logout is repeated', async () => (await sessions.checkToken(loggedOut)) === null);
      await untilCaching(sessions);
    },
  );

  it('looks for masters twice a second at most while a subscription is refused at each short heartbeat', async () => {
    for (const node of cluster.nodes) {
      await ask(node, 'ACL', 'SETUSER', 'deaf', 'reset', 'on', '>password', '~*', 'resetchannels', '+@all');
    }
    const client = OPEN['a Cluster']['ioredis 6']({
      redisOptions: { username: 'deaf', password: 'password' },
    }) as Cluster;
    const store = new RedisStore(client, { ...PATIENT, ...prefixes });
    const sessions = new TokenManager({ store, secret: SECRET, cache: { heartbeatMs: 100 } });
    onClose(() => sessions.close());
    const isDown = new Promise((resolve) => sessions.once('cache-down', resolve));
    await sessions.setToken('user-0');
    await isDown;
    const looks = jest.spyOn(client, 'refreshSlotsCache');
    const begin = performance.now();
    await until('it has looked again', () => looks.mock.calls.length > 2);
    expect(looks.mock.calls.length).toBeLessThanOrEqual(2 + (performance.now() - begin) / 500);
  });

  it('with keyPrefix and a Redis user limited to it is healthy, cached and durable', async () => {
    for (const node of cluster.nodes) {
      await ask(
        node,
        'ACL',
        'SETUSER',
        'prefixed',
        'reset',
        'on',
        '>password',
        '~app:*',
        'resetchannels',
        '&app:*',
        '+@all',
      );
    }
    const access = { username: 'prefixed', password: 'password' };
    for (const options of [
      { keyPrefix: 'app:', redisOptions: access },
      { redisOptions: { ...access, keyPrefix: 'app:' } },
    ]) {
      const found = await Promise.all(Object.values(OPEN['a Cluster']).map((open) => doesAll(open(options))));
      expect(found.flat().filter((key) => !key.startsWith('0:app:'))).toEqual([]);
    }
  });
});

describe('an ioredis 5 client with enableReadyCheck: false', () => {
  it.each([
    ['the default retries', {}],
    ['no retries', { maxRetriesPerRequest: 0 }],
  ])('reconnects through a proxy after an outage, with %s', async (_, options) => {
    const proxy = await startProxy(single.port);
    onClose(() => proxy.stop());
    const client = kept(new Redis5({ port: proxy.port, enableReadyCheck: false, retryStrategy: () => 10, ...options }));
    const sessions = manage(client);
    const tokens = await logIn(sessions);
    await untilCaching(sessions);
    proxy.refuse();
    const statuses: string[] = [];
    client.on('ready', () => statuses.push(client.status));
    await until('it has called itself ready without a connection', () => statuses.length > 0);
    await expect(sessions.touchToken(tokens[0] as string)).rejects.toMatchObject({ code: 'ERR_STORE_UNAVAILABLE' });
    proxy.pass();
    await until('it is served', () => sessions.checkToken(tokens[0] as string));
    expect(await usersOf(sessions, tokens)).toEqual(USERS);
    await untilCaching(sessions);
  });

  it('of a Cluster reconnects through proxies after an outage, with a clusterNodeRetryStrategy', async () => {
    const proxies = await Promise.all(cluster.nodes.map(({ port }) => startProxy(port)));
    onClose(() => Promise.all(proxies.map((proxy) => proxy.stop())));
    const natMap = Object.fromEntries(
      cluster.nodes.map(({ port }, i) => [`${HOST}:${port}`, { host: HOST, port: proxies[i]?.port as number }]),
    );
    const client = kept(
      new Cluster5(Object.values(natMap), {
        natMap,
        clusterNodeRetryStrategy: () => 10,
        redisOptions: { enableReadyCheck: false, maxRetriesPerRequest: 0 },
      }),
    ) as Cluster;
    const sessions = manage(client, {}, false);
    const tokens = await logIn(sessions);
    let falselyReady = 0;
    for (const node of client.nodes('master')) node.on('ready', () => falselyReady++);
    for (const proxy of proxies) proxy.refuse();
    await until('each has called itself ready without a connection', () => falselyReady >= 3);
    for (const proxy of proxies) proxy.pass();
    await until('all users are served', async () => (await usersOf(sessions, tokens)).join() === USERS.join());
  });

  it('recovers when it was "ready" without a connection as it was passed in', async () => {
    const proxy = await startProxy(single.port);
    onClose(() => proxy.stop());
    proxy.refuse();
    const client = kept(
      new Redis5({ port: proxy.port, enableReadyCheck: false, retryStrategy: () => 10, maxRetriesPerRequest: 0 }),
    ) as Redis;
    await until('it is stuck', () => client.status === 'ready' && client.stream.closed);
    proxy.pass();
    const sessions = manage(client, {}, false);
    expect(await until('it is served', () => sessions.setToken('user-0'))).toEqual(expect.any(String));
  });
});

it.each(Object.entries(OPEN['one Redis']))(
  'a call whose connection breaks on a client of %s fails with a cause that says where the reason is',
  async (_, open) => {
    const proxy = await startProxy(single.port);
    onClose(() => proxy.stop());
    const client = open({ maxRetriesPerRequest: 0, lazyConnect: true }) as Redis;
    client.options.port = proxy.port;
    const sessions = manage(client, {}, false);
    const token = await sessions.setToken('user-0');
    const isCut = proxy.loseReplyTo(new RegExp(idOf(token)));
    await expect(sessions.checkToken(token)).rejects.toMatchObject({
      code: 'ERR_STORE_UNAVAILABLE',
      cause: {
        message: "the connection of the application's client was lost; an error event of that client may say why",
      },
    });
    await isCut;
  },
);

it('a client with a commandTimeout still waits for the replicas', async () => {
  const replica = sentinel.nodes[1] as RedisServer;
  onClose(() => replica.resume());
  const processes = Object.values(OPEN['one Redis']).map((open) =>
    manage(open({ commandTimeout: 2000 }), DURABLE, false),
  );
  const tokens = await Promise.all(processes.map((sessions) => sessions.setToken('user-0')));
  replica.pause();
  const ends = Promise.all(processes.map((sessions, i) => sessions.deleteToken(tokens[i] as string)));
  let isResumed = false;
  // After the commandTimeout.
  setTimeout(() => {
    isResumed = true;
    replica.resume();
  }, 2300);
  expect(await ends.then(() => isResumed)).toBe(true);
  expect(await ends).toEqual([true, true]);
});

/** Changes the password of the only user. Connections stay as they are. */
async function setPassword(servers: readonly RedisServer[], password: string): Promise<void> {
  const rule = ['SETUSER', 'rotating', 'reset', 'on', `>${password}`, '~*', '&*', '+@all'] as const;
  await Promise.all(servers.map((server) => ask(server, 'ACL', ...rule)));
}

const killConnections = (servers: readonly RedisServer[], ...which: string[]) =>
  Promise.all(servers.map((server) => ask(server, 'CLIENT', 'KILL', ...which)));

/** The subscriptions of near caches on each server. */
async function listeningOn(servers: readonly RedisServer[]): Promise<string[][]> {
  const lists = await Promise.all(servers.map((server) => ask<string>(server, 'CLIENT', 'LIST', 'TYPE', 'pubsub')));
  return lists.map((list) => [...list.matchAll(/^id=(\d+)(?=.* user=rotating)/gm)].map(([, id]) => id as string));
}

/** Breaks the subscriptions of the near cache, and waits until it has others, and is up. */
async function untilListeningAnew(sessions: Sessions, servers: readonly RedisServer[]): Promise<void> {
  const before = await listeningOn(servers);
  expect(before.flat()).not.toEqual([]);
  await killConnections(servers, 'TYPE', 'pubsub');
  await until('the near cache listens anew', async () => {
    const now = await listeningOn(servers);
    return before.every((ids, i) => ids.length === 0 || now[i]?.some((id) => !ids.includes(id)));
  });
  await untilCaching(sessions);
}

/** How an application changes the credentials of its client while that is connected. */
const CHANGES: [name: string, change: (client: Client, password: string) => unknown][] = [
  [
    'the option password',
    (client, password) => {
      for (const redis of client.isCluster ? (client as Cluster).nodes() : [client as Redis]) {
        redis.options.password = password;
      }
    },
  ],
  [
    'auth(user, password)',
    (client, password) => {
      const clients = client.isCluster ? (client as Cluster).nodes() : [client as Redis];
      return Promise.all(clients.map((redis) => redis.auth('rotating', password)));
    },
  ],
];

describe.each(Object.entries(OPEN))('credentials of a client of %s', (topology, versions) => {
  const access = (password: string) => {
    const own = { username: 'rotating', password };
    return topology === 'a Cluster' ? { redisOptions: own } : own;
  };
  const servers = () => (topology === 'a Cluster' ? cluster.nodes : sentinel.nodes);

  it.each(CHANGES)('that are changed at run time by %s are used for all later connections', async (_, change) => {
    for (const open of Object.values(versions)) {
      await setPassword(servers(), 'first');
      const client = open(access('first'));
      const sessions = manage(client, DURABLE);
      const tokens = await logIn(sessions);
      await untilCaching(sessions);
      for (const password of ['second', 'third']) {
        await setPassword(servers(), password);
        // A node to which a Cluster client has not connected yet has nothing to authenticate.
        if (client.isCluster) await usersOf(sessions, tokens);
        await change(client, password);
        await untilListeningAnew(sessions, servers());
        expect(await sessions.deleteToken(tokens.pop() as string)).toBe(true);
        if (client.isCluster) continue;
        await killConnections(servers(), 'TYPE', 'normal');
        await until('the client has connected again, too', () => sessions.checkToken(tokens[0] as string));
        await untilCaching(sessions);
      }
    }
  });
});

it('credentials that an application changes in the redisOptions of a Cluster are used for later connections', async () => {
  for (const open of Object.values(OPEN['a Cluster'])) {
    await setPassword(cluster.nodes, 'first');
    const client = open({ redisOptions: { username: 'rotating', password: 'first' } }) as Cluster;
    const sessions = manage(client, DURABLE);
    const [token = ''] = await logIn(sessions);
    await untilCaching(sessions);
    await setPassword(cluster.nodes, 'second');
    Object.assign(client.options.redisOptions ?? {}, { password: 'second' });
    await untilListeningAnew(sessions, cluster.nodes);
    expect(await sessions.deleteToken(token)).toBe(true);
  }
});

it('credentials of the sentinels that are changed at run time are used for all later connections', async () => {
  for (const open of Object.values(OPEN.Sentinel)) {
    await setPassword([...sentinel.sentinelServers, ...sentinel.nodes], 'first');
    const own = { username: 'rotating', password: 'first' };
    const client = open({ ...own, sentinelUsername: 'rotating', sentinelPassword: 'first' }) as Redis;
    const sessions = manage(client, DURABLE);
    const token = await sessions.setToken('user-0');
    await untilCaching(sessions);
    await setPassword(sentinel.sentinelServers, 'second');
    client.options.sentinelPassword = 'second';
    await untilListeningAnew(sessions, sentinel.nodes);
    expect(await sessions.deleteToken(token)).toBe(true);
  }
});

it('a database that an application selects on a live client is used for later connections', async () => {
  const { 'one Redis': ofRedis, Sentinel: ofSentinel } = OPEN;
  for (const [open, first] of [
    [ofRedis['ioredis 6'], 3],
    [ofRedis['ioredis 5'], 3],
    [ofSentinel['ioredis 6'], 3],
    [ofRedis['ioredis 6'], 0],
  ] as const) {
    prefixes = randomPrefixes();
    // 0 is the database of a client that names none.
    const client = open(first === 0 ? {} : { db: first }) as Redis;
    const sessions = manage(client, DURABLE);
    const tokens = await logIn(sessions);
    await sessions.banUser('user-1');
    await until('memory answers', async () => {
      const hits = sessions.cacheStats?.hits ?? 0;
      await sessions.checkToken(tokens[0] as string);
      return (sessions.cacheStats?.hits ?? 0) > hits;
    });
    await client.select(7);
    expect(await sessions.checkToken(tokens[0] as string)).toBeNull();
    const before = (await keysIn([single])).sort();
    const token = await sessions.setToken('user-1');
    await sessions.banUser('user-2');
    await killConnections([single], 'TYPE', 'normal');
    expect(await until('it is served', () => sessions.checkToken(token))).toMatchObject({ user: { id: 'user-1' } });
    await sessions.banUser('user-3');
    const after = await keysIn([single]);
    expect(after.filter((key) => !key.startsWith('7:')).sort()).toEqual(before);
    expect(before.filter((key) => !key.startsWith(`${first}:`))).toEqual([]);
    expect(after.filter((key) => key.startsWith('7:') && key.includes(prefixes.tokenKeyPrefix))).toHaveLength(3);
  }
});

describe.each(Object.entries(OPEN['one Redis']))(
  'a client of %s with another database than in its options',
  (_, open) => {
    it.each<[string, object, (client: Redis) => unknown]>([
      ['may be closed', {}, (client) => client.disconnect()],
      ['may fail without retries', { maxRetriesPerRequest: 0 }, () => undefined],
    ])('%s while ioredis selects the database again', async (_name, options, onReady) => {
      const client = open({ db: 3, ...options }) as Redis;
      const sessions = manage(client, {}, false);
      await sessions.setToken('user-0');
      await client.select(7);
      const isClosed = new Promise((resolve) => {
        client.once('ready', () => {
          client.once('close', resolve);
          onReady(client);
          // Before the answer to SELECT.
          client.stream.destroy();
        });
      });
      await killConnections([single], 'TYPE', 'normal');
      await isClosed;
    });

    it('leaves a connection on which that database is refused, and reports it', async () => {
      const client = open({ db: 3, retryStrategy: () => 10 }) as Redis;
      const sessions = manage(client, {}, false);
      const token = await sessions.setToken('user-0');
      const errors: string[] = [];
      client.on('error', ({ message }) => errors.push(message));
      await expect(client.select(99)).rejects.toThrow('DB index is out of range');
      await until('it reports the refusal', () => errors.includes('ERR DB index is out of range'));
      await client.select(3);
      expect(await until('it is served', () => sessions.checkToken(token))).toMatchObject({ user: { id: 'user-0' } });
    });

    it.each<[string, (client: Redis) => void]>([
      ['before it connects', (client) => void client.select(99)],
      ['on each connection', (client) => client.on('connect', () => void client.select(99))],
    ])('leaves a connection on which the application selects it %s, and reports it', async (_name, select) => {
      const client = open({ db: 3, retryStrategy: () => 10 }) as Redis;
      const errors: string[] = [];
      let closings = 0;
      client.on('error', ({ message }) => errors.push(message));
      client.on('close', () => closings++);
      manage(client, {}, false);
      select(client);
      await until('it has left two connections', () => closings >= 2);
      expect(errors.slice(0, 2)).toEqual(Array(2).fill('ERR DB index is out of range'));
    });
  },
);

describe('several stores on one client', () => {
  const listenersOf = (client: Client) =>
    client.eventNames().map((name) => [name, client.listenerCount(name)] as const);

  it.each(Object.entries(OPEN))(
    'of %s share one set of listeners, removed when the last store closes',
    async (_, versions) => {
      for (const open of Object.values(versions)) {
        const client = open({});
        await until('it is ready', () => client.status === 'ready');
        const without = listenersOf(client);
        const first = manage(client);
        await first.setToken('user-0');
        await untilCaching(first);
        const withOne = listenersOf(client);
        const others = Array.from({ length: 11 }, () => manage(client));
        await Promise.all(others.map(untilCaching));
        expect(listenersOf(client)).toEqual(withOne);
        await Promise.all(others.map((sessions) => sessions.close()));
        expect(listenersOf(client)).toEqual(withOne);
        expect((await first.setToken('user-1')).length).toBeGreaterThan(0);
        await first.close();
        expect(listenersOf(client)).toEqual(without);
      }
    },
  );

  it('share one set of listeners while the client connects, too', async () => {
    const proxy = await startProxy(single.port);
    onClose(() => proxy.stop());
    const client = kept(new Redis({ port: proxy.port, lazyConnect: true }));
    const stores = Array.from({ length: 12 }, () => manage(client, {}, false));
    proxy.hold();
    const logins = Promise.all(stores.map((sessions) => sessions.setToken('user-0')));
    for (const [, count] of listenersOf(client)) expect(count).toBeLessThan(6);
    proxy.pass();
    expect(await logins).toHaveLength(12);
  });
});

describe('a password given as a function', () => {
  const TARGETS: Record<string, (password: () => string | Promise<string>) => object> = {
    'one Redis': (password) => ({ port: single.port, username: 'rotating', password }),
    Sentinel: (password) => ({ sentinels: sentinel.sentinels, name: sentinel.name, username: 'rotating', password }),
    'a Cluster': (password) => ({ cluster: cluster.startupNodes, username: 'rotating', password }),
  };

  it.each(Object.entries(TARGETS))(
    'is asked for at each connection to %s, while it rotates and connections are killed',
    async (topology, target) => {
      const servers = topology === 'a Cluster' ? cluster.nodes : sentinel.nodes;
      let current = 'none yet';
      let asked = 0;
      const rotate = async (round: number) => {
        current = `password-${round}`;
        await setPassword(servers, current);
      };
      await rotate(0);
      const sessions = manage(
        target(async () => {
          asked++;
          // Settles later, like a password fetched over the network.
          await sleep(5);
          return current;
        }),
        DURABLE,
      );
      const tokens = await logIn(sessions);
      await untilCaching(sessions);
      for (let round = 1; round <= 2; round++) {
        await rotate(round);
        const before = asked;
        await killConnections(servers, 'USER', 'rotating');
        await until('all users are served', async () => {
          for (const token of tokens) await sessions.refreshToken(token, 1000 + round);
          return true;
        });
        await untilCaching(sessions);
        expect(asked).toBeGreaterThan(before);
        expect(await until('an end is confirmed', () => sessions.deleteToken(tokens.pop() as string))).toBe(true);
      }
      expect(await sessions.health()).toMatchObject({ status: 'up', reasons: [] });
    },
  );

  it('may be synchronous, and is called by duplicates of the client, too', async () => {
    let current = 'sync';
    await setPassword([single], current);
    const client = createRedisClient({ port: single.port, username: 'rotating', password: () => current }, PATIENT);
    onClose(() => client.disconnect());
    await until('it is ready', () => client.status === 'ready');
    current = 'later';
    await setPassword([single], current);
    const copy = client.duplicate();
    onClose(() => copy.disconnect());
    await until('it is ready', () => copy.status === 'ready');
  });

  it('that throws makes an error with that cause, and is called again', async () => {
    await setPassword([single], 'late');
    const answers: (() => string)[] = [
      () => {
        throw new Error('the token service is down');
      },
      () => '',
    ];
    const client = createRedisClient(
      { port: single.port, username: 'rotating', password: async () => answers.shift()?.() ?? 'late' },
      PATIENT,
    );
    const messages: string[] = [];
    client.on('error', (error) => messages.push(error.message));
    onClose(() => client.disconnect());
    const sessions = manage(client, {}, false);
    expect(await until('it is served', () => sessions.setToken('user-0'))).toEqual(expect.any(String));
    expect(messages).toEqual([
      'the token service is down',
      expect.stringContaining('what the Redis password function gives'),
    ]);
  });

  it('that never settles fails after the connection timeout, and is called again', async () => {
    await setPassword([single], 'late');
    const answers: Promise<string>[] = [new Promise(() => undefined)];
    const client = createRedisClient(
      { port: single.port, username: 'rotating', password: () => answers.shift() ?? 'late' },
      { timeoutMs: 500 },
    );
    const messages: string[] = [];
    client.on('error', (error) => messages.push(error.message));
    onClose(() => client.disconnect());
    const sessions = manage(client, {}, false);
    expect(await until('it is served', () => sessions.setToken('user-0'))).toEqual(expect.any(String));
    expect(messages).toContain('the Redis password function returned nothing within 500 ms');
  });

  it('that settles after the client was closed opens no connection', async () => {
    await setPassword([single], 'late');
    let give: (password: string) => void = () => undefined;
    const promised = new Promise<string>((resolve) => {
      give = resolve;
    });
    const client = createRedisClient({ port: single.port, username: 'rotating', password: () => promised }, PATIENT);
    const statuses: string[] = [];
    for (const status of ['connect', 'ready', 'end']) client.on(status, () => statuses.push(status));
    const connections = async (): Promise<string[]> => {
      const list = await ask<string>(single, 'CLIENT', 'LIST');
      return list.match(/^id=\d+(?=.* user=rotating)/gm) ?? [];
    };
    const before = await connections();
    client.disconnect();
    give('late');
    await until('it has ended', () => statuses.length > 0);
    // Long enough for a connection.
    await sleep(100);
    expect(statuses).toEqual(['end']);
    expect((await connections()).filter((id) => !before.includes(id))).toEqual([]);
  });
});
