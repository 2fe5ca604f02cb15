import { Cluster, Redis } from 'ioredis';
import { createRedisClient, RedisStore } from 'tokensession';
import { CertificateAuthority } from '../support/certificates';
import { closeAfterEach } from '../support/closing';
import { type RedisServer, startRedis } from '../support/redis-server';

const onClose = closeAfterEach();

function kept<Client extends Redis | Cluster>(client: Client): Client {
  client.on('error', () => undefined);
  onClose(() => client.disconnect());
  return client;
}

const NOWHERE = { host: '127.0.0.1', port: 1 };

/** The options that limit the waits of every connection. */
const bounds = (timeoutMs: number) => ({
  autoResendUnfulfilledCommands: false,
  maxRetriesPerRequest: 0,
  connectTimeout: timeoutMs,
  disconnectTimeout: timeoutMs,
  socketTimeout: 2 * timeoutMs,
  reconnectOnError: expect.any(Function),
});

describe('createRedisClient', () => {
  it('limits every wait, and queues nothing, in any topology', () => {
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

  it('passes credentials and addresses on', () => {
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

  it('uses TLS for sentinels as for their master unless set otherwise, and for each Cluster node by its name', async () => {
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

describe('option tls', () => {
  const URL_ONLY = 'option tls goes with a rediss:// URL only';

  it.each<[string, unknown, unknown, string]>([
    ['beside a URL without TLS', 'redis://127.0.0.1:1', { ca: 'x' }, URL_ONLY],
    ['beside a URL without TLS, though empty', 'redis://127.0.0.1:1', {}, URL_ONLY],
    ['beside settings', NOWHERE, { ca: 'x' }, URL_ONLY],
    ['beside settings of a Sentinel', { sentinels: [NOWHERE], name: 'x' }, {}, URL_ONLY],
    ['beside settings of a Cluster', { cluster: [NOWHERE] }, {}, URL_ONLY],
    ['false', 'rediss://127.0.0.1:1', false, 'option tls must be an object, got a value of type boolean'],
    ['null', 'rediss://127.0.0.1:1', null, 'option tls must be an object, got null'],
    ['a list', 'rediss://127.0.0.1:1', ['x'], 'option tls must be an object, got an array'],
  ])('is refused: %s', (_, target, tls, message) => {
    expect(() => createRedisClient(target as never, { tls: tls as never })).toThrow(new TypeError(message));
    expect(() => new RedisStore(target as never, { tls: tls as never })).toThrow(new TypeError(message));
  });

  it('is refused beside a client, which has its own', () => {
    const client = kept(createRedisClient('rediss://127.0.0.1:1'));
    expect(() => new RedisStore(client, { tls: {} })).toThrow(new TypeError(URL_ONLY));
  });

  it('uses Node’s defaults when left out', () => {
    expect(kept(createRedisClient('rediss://127.0.0.1:1')).options.tls).toEqual({});
    expect(kept(createRedisClient('rediss://127.0.0.1:1', { tls: undefined })).options.tls).toEqual({});
  });
});

describe('a Redis with a certificate of a private authority', () => {
  const NAME = 'redis.example';
  const timeoutMs = 10_000;
  let authority: CertificateAuthority;
  let stranger: CertificateAuthority;
  let server: RedisServer;

  beforeAll(async () => {
    [authority, stranger] = await Promise.all([CertificateAuthority.create(), CertificateAuthority.create()]);
    server = await startRedis({}, { tls: { certificate: await authority.issue(NAME), isMutual: false } });
  });
  afterAll(async () => {
    await server.stop();
    await Promise.all([authority.remove(), stranger.remove()]);
  });

  /**
   * `ready`, or the code of the first error. Disconnects inside the event, before the client can begin to reconnect.
   */
  const outcomeOf = (client: Redis) =>
    new Promise<string>((resolve) => {
      const settle = (outcome: string) => {
        client.disconnect();
        resolve(outcome);
      };
      client.once('ready', () => settle('ready'));
      client.on('error', (error: NodeJS.ErrnoException) => settle(error.code ?? error.message));
    });
  const connect = (tls: object) => outcomeOf(createRedisClient(server.url, { timeoutMs, tls }));

  it('is reached with its authority and name, and not without one of them', async () => {
    const ca = authority.cert;
    expect(await connect({ ca, servername: NAME })).toBe('ready');
    expect(await connect({ ca: ca.toString(), servername: NAME })).toBe('ready');
    expect(await connect({ servername: NAME })).toBe('SELF_SIGNED_CERT_IN_CHAIN');
    expect(await connect({ ca: stranger.cert, servername: NAME })).toBe('SELF_SIGNED_CERT_IN_CHAIN');
    expect(await connect({ ca })).toBe('ERR_TLS_CERT_ALTNAME_INVALID');
    expect(await connect({ ca, servername: 'other.example' })).toBe('ERR_TLS_CERT_ALTNAME_INVALID');
    expect(await connect({ rejectUnauthorized: false })).toBe('ready');
  });

  it('that wants a certificate of its clients is reached with cert and key, by a client and by a store', async () => {
    const [certificate, { cert, key }, strange] = await Promise.all([
      authority.issue('mutual.example', '127.0.0.1'),
      authority.issue('client.example'),
      stranger.issue('client.example'),
    ]);
    const mutual = await startRedis({}, { tls: { certificate, isMutual: true } });
    onClose(() => mutual.stop());
    const ca = authority.cert;
    const reach = (tls: object) => outcomeOf(createRedisClient(mutual.url, { timeoutMs, tls }));
    expect(await reach({ ca, cert, key })).toBe('ready');
    expect(await reach({ ca })).not.toBe('ready');
    expect(await reach({ ca, cert: strange.cert, key: strange.key })).not.toBe('ready');
    const store = new RedisStore(mutual.url, { timeoutMs, tls: { ca, cert, key } });
    onClose(() => store.close());
    expect(await store.getBan('tag')).toBeNull();
  });
});

describe('a client of the application', () => {
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
      ['socketTimeout', 'retryDelayOnFailover', 'retryDelayOnTryAgain', 'slotsRefreshInterval'],
    ],
  ])('%s causes one process warning about promises that its options break', (_, build, names) => {
    const warnings = warningsOf(kept(build()));
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toMatch(/^TokensessionWarning TOKENSESSION_CLIENT: /);
    for (const name of names) expect(warnings[0]).toContain(name);
    expect(warnings[0]?.split('; ')).toHaveLength(names.length);
  });

  it('made by createRedisClient, or with options as good, causes no warning', () => {
    const settings = [NOWHERE, { sentinels: [NOWHERE], name: 'x' }, { cluster: [NOWHERE] }];
    for (const target of settings) expect(warningsOf(kept(createRedisClient(target)))).toEqual([]);
    const good = { socketTimeout: 1000, autoResendUnfulfilledCommands: false, reconnectOnError: () => false };
    expect(warningsOf(kept(new Redis({ ...NOWHERE, ...good, lazyConnect: true })))).toEqual([]);
  });
});
