import { Cluster, Redis } from 'ioredis';
import { createRedisClient, RedisStore } from 'tokensession';
import { closeAfterEach } from './support/closing';

const onClose = closeAfterEach();

function kept<Client extends Redis | Cluster>(client: Client): Client {
  client.on('error', () => undefined);
  onClose(() => client.disconnect());
  return client;
}

const NOWHERE = { host: '127.0.0.1', port: 1 };

/** What bounds the waits of every connection. */
const bounds = (timeoutMs: number) => ({
  autoResendUnfulfilledCommands: false,
  maxRetriesPerRequest: 0,
  connectTimeout: timeoutMs,
  disconnectTimeout: timeoutMs,
  socketTimeout: 2 * timeoutMs,
  reconnectOnError: expect.any(Function),
});

describe('createRedisClient', () => {
  it('bounds every wait, and queues nothing, whatever the topology', () => {
    const single = kept(createRedisClient(NOWHERE, { timeoutMs: 123 }));
    const sentinel = kept(createRedisClient({ sentinels: [NOWHERE], name: 'x' }, { timeoutMs: 123 }));
    const cluster = kept(createRedisClient({ cluster: [NOWHERE] }, { timeoutMs: 123 }));
    expect(single.options).toMatchObject({ ...bounds(123), enableOfflineQueue: false });
    expect(sentinel.options).toMatchObject({
      ...bounds(123),
      enableOfflineQueue: false,
      sentinelCommandTimeout: 123,
      failoverDetector: true,
      role: 'master',
    });
    expect(cluster).toBeInstanceOf(Cluster);
    expect(cluster.options).toMatchObject({
      redisOptions: bounds(123),
      slotsRefreshTimeout: 123,
      retryDelayOnFailover: 0,
      retryDelayOnClusterDown: 0,
    });
    expect(cluster.options.slotsRefreshInterval).toBeGreaterThan(0);
  });

  it('hands on who we are and how to get there', () => {
    const access = { username: 'u', password: 'p', family: 4 };
    const natMap = { '10.0.0.1:6379': { host: '127.0.0.1', port: 7000 } };
    const sentinel = kept(
      createRedisClient({
        ...access,
        sentinels: [NOWHERE, { host: 'other' }],
        name: 'x',
        db: 3,
        sentinelUsername: 'su',
        sentinelPassword: 'sp',
        natMap,
      }),
    );
    expect(sentinel.options).toMatchObject({
      ...access,
      sentinels: [NOWHERE, { host: 'other' }],
      name: 'x',
      db: 3,
      sentinelUsername: 'su',
      sentinelPassword: 'sp',
      natMap,
      enableTLSForSentinelMode: false,
    });
    const cluster = kept(createRedisClient({ ...access, cluster: [NOWHERE], natMap }));
    expect(cluster.options).toMatchObject({ redisOptions: access, natMap });
  });

  it('speaks TLS to the sentinels as to their master, unless told otherwise, and to each node of a Cluster by its name', async () => {
    const options = (settings: object) =>
      kept(createRedisClient({ sentinels: [NOWHERE], name: 'x', ...settings })).options;
    expect(options({ tls: true })).toMatchObject({ tls: {}, sentinelTLS: {}, enableTLSForSentinelMode: true });
    expect(options({ tls: { servername: 's' } })).toMatchObject({
      tls: { servername: 's' },
      sentinelTLS: { servername: 's' },
    });
    expect(options({ tls: true, sentinelTls: false }).sentinelTLS).toBeUndefined();
    expect(options({ sentinelTls: true })).toMatchObject({ sentinelTLS: {}, enableTLSForSentinelMode: false });
    expect(options({ tls: false }).tls).toBeUndefined();
    const cluster = kept(createRedisClient({ cluster: [NOWHERE], tls: true }));
    expect(cluster.options.redisOptions).toMatchObject({ tls: {} });
    const name = await new Promise((resolve) =>
      cluster.options.dnsLookup?.('node.example', (_, found) => resolve(found)),
    );
    expect(name).toBe('node.example');
  });
});

describe('a client of your own', () => {
  let warn: jest.SpyInstance;
  beforeEach(() => {
    warn = jest.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
  });
  afterEach(() => warn.mockRestore());

  const warningsOf = (client: Redis | Cluster) => {
    new RedisStore(client);
    new RedisStore(client, { tokenKeyPrefix: 'second' });
    return warn.mock.calls.map(([message, options]) => `${options.type} ${options.code}: ${message}`);
  };

  it.each<[string, () => Redis | Cluster, string[]]>([
    [
      'of one Redis',
      () => new Redis({ ...NOWHERE, lazyConnect: true }),
      ['socketTimeout', 'autoResendUnfulfilledCommands', 'reconnectOnError'],
    ],
    [
      'behind sentinels',
      () => new Redis({ sentinels: [NOWHERE], name: 'x', lazyConnect: true }),
      ['socketTimeout', 'autoResendUnfulfilledCommands', 'reconnectOnError', 'failoverDetector', 'connector'],
    ],
    [
      'of a Cluster',
      () => new Cluster([NOWHERE], { lazyConnect: true }),
      ['socketTimeout', 'retryDelayOnFailover', 'slotsRefreshInterval'],
    ],
  ])('%s is told once, as a warning of the process, what its options can’t promise', (_, build, names) => {
    const warnings = warningsOf(kept(build()));
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toMatch(/^TokensessionWarning TOKENSESSION_CLIENT: /);
    for (const name of names) expect(warnings[0]).toContain(name);
    expect(warnings[0]?.split('; ')).toHaveLength(names.length);
  });

  it('that createRedisClient has made, or whose options are as good, is told nothing', () => {
    const settings = [NOWHERE, { sentinels: [NOWHERE], name: 'x' }, { cluster: [NOWHERE] }];
    for (const target of settings) expect(warningsOf(kept(createRedisClient(target)))).toEqual([]);
    const good = { socketTimeout: 1000, autoResendUnfulfilledCommands: false, reconnectOnError: () => false };
    expect(warningsOf(kept(new Redis({ ...NOWHERE, ...good, lazyConnect: true })))).toEqual([]);
  });
});
