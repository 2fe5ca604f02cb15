import { networkInterfaces } from 'node:os';
import tls, { type ConnectionOptions, checkServerIdentity } from 'node:tls';
import { Cluster, Redis } from 'ioredis';
import { Cluster as Cluster5, Redis as Redis5 } from 'ioredis5';
import { createRedisClient, RedisStore, type RedisTarget, TokenManager } from 'tokensession';
import { ACL_LOGIN, aclsIn, refusalsOf, setAcl } from '../support/acl';
import { type Certificate, CertificateAuthority } from '../support/certificates';
import { closeAfterEach } from '../support/closing';
import { type ClusterTopology, startClusterTopology } from '../support/cluster-topology';
import { ALL_IS_WELL, useEveryConnection } from '../support/every-connection';
import { runProgram } from '../support/programs';
import { ask, type RedisServer, type ServerTls } from '../support/redis-server';
import { SecretSearch } from '../support/secret-search';
import { type SentinelTopology, startSentinelTopology } from '../support/sentinel-topology';
import { PATIENT, SECRET } from '../support/stores';
import { printsOf } from '../support/texts-in';
import { until } from '../support/until';

/** The name in the certificates, which is no server's address. */
const NAME = 'redis.example';
const IPV4 = '127.0.0.1';
/** IPv4, on a machine without IPv6, tests the rest. */
const IPV6 = Object.values(networkInterfaces()).some((all) => all?.some(({ address }) => address === '::1'))
  ? '::1'
  : IPV4;

/** Servers of every topology with the same transport. Their user is that of docs/redis.md. */
interface Place {
  sentinel: SentinelTopology;
  cluster: ClusterTopology;
}

const KINDS = ['one Redis', 'Sentinel', 'Cluster'] as const;
type Kind = (typeof KINDS)[number];

let authority: CertificateAuthority;
let stranger: CertificateAuthority;
let own: Certificate;
/** With certificates that contain the servers' addresses too, and without client certificates. */
let oneWay: Place;
/** On IPv6, with certificates that contain the name alone, and with client certificates. */
let mutual: Place;
/** On IPv6 and a Unix socket, without TLS. */
let plain: SentinelTopology;
const onClose = closeAfterEach();

beforeAll(async () => {
  [authority, stranger] = await Promise.all([CertificateAuthority.create(), CertificateAuthority.create()]);
  const [withAddress, withName] = await Promise.all([authority.issue('by-address', IPV4), authority.issue(NAME)]);
  own = await authority.issue('service.example');
  [oneWay, mutual, plain] = await Promise.all([
    startPlace(IPV4, { certificate: withAddress, isMutual: false }),
    startPlace(IPV6, { certificate: withName, isMutual: true }),
    startSentinels({ host: IPV6, settings: { unixsocket: 'redis.sock' } }),
  ]);
});
afterAll(async () => {
  const topologies = [oneWay, mutual].flatMap((place) => [place?.sentinel, place?.cluster]);
  await Promise.all([...topologies, plain].map((topology) => topology?.stop()));
  await Promise.all([authority, stranger].map((one) => one?.remove()));
});

async function startPlace(host: string, tls: ServerTls): Promise<Place> {
  const starting = startClusterTopology({ host, tls, masters: 2, replicas: 2, nodeTimeoutMs: 10_000 });
  const [sentinel, cluster] = await Promise.all([startSentinels({ host, tls }), starting]);
  await setAcl(cluster.nodes, aclsIn('docs/redis.md')[1] as string[]);
  return { sentinel, cluster };
}

async function startSentinels(options: Parameters<typeof startSentinelTopology>[0]): Promise<SentinelTopology> {
  const topology = await startSentinelTopology({ ...options, replicas: 1, sentinels: 1, downAfterMs: 10_000 });
  const [ofServers, , ofSentinels] = aclsIn('docs/redis.md') as [string[], string[], string[]];
  await setAcl(topology.nodes, ofServers);
  await setAcl(topology.sentinelServers, ofSentinels);
  return topology;
}

const masterOf = ({ nodes }: SentinelTopology) => nodes[0] as RedisServer;

function serversOf(kind: Kind, { sentinel, cluster }: Place): RedisServer[] {
  return kind === 'Cluster' ? cluster.nodes : [...sentinel.nodes, ...sentinel.sentinelServers];
}

function settingsOf(kind: Kind, { sentinel, cluster }: Place, tls: ConnectionOptions | true, login = ACL_LOGIN) {
  const { host, port } = masterOf(sentinel);
  const { sentinels, name } = sentinel;
  const ofSentinels = { sentinelUsername: login.username, sentinelPassword: login.password };
  return {
    'one Redis': { host, port, ...login, tls },
    Sentinel: { sentinels, name, ...login, ...ofSentinels, tls },
    Cluster: { cluster: cluster.startupNodes, ...login, tls },
  }[kind] as RedisTarget;
}

const urlOf = ({ url }: RedisServer) => {
  const { username, password } = ACL_LOGIN;
  return url.replace('//', `//${username}:${encodeURIComponent(password)}@`);
};

const trust = () => ({ ca: authority.cert, servername: NAME });
const withOwn = () => ({ ...trust(), cert: own.cert, key: own.key });

function kept<Client extends { on(event: 'error', listener: () => void): unknown; disconnect(): void }>(
  client: Client,
) {
  client.on('error', () => undefined);
  onClose(() => client.disconnect());
  return client;
}

it('TLS needs no more than `tls: true`, or `rediss:`, where Node trusts the authority', async () => {
  const targets = [urlOf(masterOf(oneWay.sentinel)), ...KINDS.map((kind) => settingsOf(kind, oneWay, true))];
  const { stdout, stderr } = await runProgram('every-connection.ts', {
    NODE_EXTRA_CA_CERTS: authority.certFile,
    REDIS_TARGETS: JSON.stringify(targets),
  });
  expect(JSON.parse(stdout)).toEqual(targets.map(() => ALL_IS_WELL));
  expect(stderr).toBe('');
});

describe.each(KINDS)('%s', (kind) => {
  afterEach(async () => {
    expect(await refusalsOf([...serversOf(kind, oneWay), ...serversOf(kind, mutual)])).toEqual([]);
  });

  it('works with a private authority: every connection trusts it', async () => {
    const tls = { ca: authority.cert };
    expect(await useEveryConnection(settingsOf(kind, oneWay, tls))).toEqual(ALL_IS_WELL);
  });

  it('works over IPv6 with mutual TLS: every connection sends the servername and our certificate', async () => {
    const asked = new Set<string>();
    const tls: ConnectionOptions = {
      ...withOwn(),
      checkServerIdentity(name, certificate) {
        asked.add(name);
        return checkServerIdentity(name, certificate);
      },
    };
    expect(await useEveryConnection(settingsOf(kind, mutual, tls))).toEqual(ALL_IS_WELL);
    expect([...asked]).toEqual([NAME]);
  });

  it.each<[string, () => ConnectionOptions, RegExp]>([
    [
      'of another authority',
      () => ({ ...withOwn(), ca: stranger.cert }),
      /self-signed certificate in certificate chain/,
    ],
    [
      'with another name',
      () => ({ ...withOwn(), servername: 'other.example' }),
      /does not match certificate's altnames/,
    ],
    // With TLS 1.3 a server reports this after the handshake, and its reset may come first (RFC 8446, 4.4.2.4).
    ['with its own, without ours', trust, /certificate required|\b(ECONNRESET|EPIPE)\b/],
  ])('with a certificate %s gives a 503 that says so, and shows no secret', async (_, tls, words) => {
    const secrets = { password: 'a password that must stay secret', key: own.key.toString() };
    const { password } = secrets;
    const store = new RedisStore(settingsOf(kind, mutual, tls(), { ...ACL_LOGIN, password }), { timeoutMs: 2000 });
    const sessions = new TokenManager({ store, secret: SECRET });
    onClose(() => sessions.close());
    const error = await until('the cause says so', async () => {
      const reason = await sessions.setToken('ada').catch((thrown: Error) => thrown);
      return reason instanceof Error && words.test((reason.cause as Error).message) ? reason : undefined;
    });
    expect(error).toMatchObject({ code: 'ERR_STORE_UNAVAILABLE', status: 503 });
    const health = await sessions.health();
    expect(health.status).toBe('down');
    const search = new SecretSearch(secrets);
    for (const [, text] of [...printsOf(error), ...printsOf(health)]) expect(search.namesIn(text)).toEqual([]);
  });

  it('an end of our own during the TLS handshake never hides why the connections fail', async () => {
    const { connect } = tls;
    let handshakes = 0;
    jest.spyOn(tls, 'connect').mockImplementation(((...args: Parameters<typeof connect>) => {
      const socket = connect(...args);
      if (handshakes++ % 2 === 1) socket.once('connect', () => socket.end());
      return socket;
    }) as typeof connect);
    onClose(() => jest.restoreAllMocks());
    const store = new RedisStore(settingsOf(kind, mutual, { ...withOwn(), ca: stranger.cert }), { timeoutMs: 2000 });
    const sessions = new TokenManager({ store, secret: SECRET });
    onClose(() => sessions.close());
    const causes: unknown[] = [];
    await until('many handshakes have ended', async () => {
      const { cause } = await sessions.setToken('ada').then(
        () => new Error('logged in'),
        (error: Error) => error,
      );
      causes.push(cause);
      return handshakes > 8;
    });
    const reasons = causes.map((cause) => (cause as Error | undefined)?.message ?? 'none');
    expect(reasons).toContainEqual(expect.stringContaining('self-signed certificate in certificate chain'));
    expect(reasons.filter((reason) => /decode error|Connection is closed/.test(reason))).toEqual([]);
  });
});

describe("a client of the application's own with mutual TLS", () => {
  const ofRedis = () => ({ host: masterOf(mutual.sentinel).host, port: masterOf(mutual.sentinel).port });
  const options = () => ({ ...ACL_LOGIN, tls: withOwn() });
  const ofSentinel = () => {
    const { sentinels, name } = mutual.sentinel;
    const { username: sentinelUsername, password: sentinelPassword } = ACL_LOGIN;
    const tls = { sentinelTLS: withOwn(), enableTLSForSentinelMode: true };
    return { sentinels, name, sentinelUsername, sentinelPassword, ...options(), ...tls };
  };
  const ofCluster = () => ({ redisOptions: options(), dnsLookup: LOOKUP });

  it.each<[string, () => unknown]>([
    ['createRedisClient', () => createRedisClient(settingsOf('Cluster', mutual, withOwn()))],
    ['ioredis', () => new Redis({ ...ofRedis(), ...options() })],
    ['ioredis 5', () => new Redis5({ ...ofRedis(), ...options() })],
    ['ioredis, to Sentinel', () => new Redis(ofSentinel())],
    ['ioredis 5, to Sentinel', () => new Redis5(ofSentinel())],
    ['ioredis, to a Cluster', () => new Cluster(mutual.cluster.startupNodes, ofCluster())],
    ['ioredis 5, to a Cluster', () => new Cluster5(mutual.cluster.startupNodes, ofCluster())],
  ])('of %s: every later connection has its TLS', async (_, open) => {
    expect(await useEveryConnection(kept(open() as Redis | Cluster))).toEqual(ALL_IS_WELL);
  });
});

/** Resolves no names: the certificates contain them. */
const LOOKUP = (name: string, callback: (error: null, address: string) => void) => callback(null, name);

describe('without TLS', () => {
  it('every connection works over IPv6, given by a URL, settings or a client', async () => {
    const { host, port } = masterOf(plain);
    const targets = [
      urlOf(masterOf(plain)),
      { host, port, ...ACL_LOGIN },
      kept(new Redis({ host, port, ...ACL_LOGIN })),
    ];
    for (const target of targets) expect(await useEveryConnection(target)).toEqual(ALL_IS_WELL);
  });

  it('every connection works over a Unix socket, given by settings or a client', async () => {
    const [, folder] = await ask<[string, string]>(masterOf(plain), 'CONFIG', 'GET', 'dir');
    const path = `${folder}/redis.sock`;
    const targets = [{ path, ...ACL_LOGIN }, kept(new Redis({ path, ...ACL_LOGIN }))];
    for (const target of targets) expect(await useEveryConnection(target)).toEqual(ALL_IS_WELL);
  });

  it('a missing Unix socket gives a 503 that says so', async () => {
    const store = new RedisStore({ path: '/nowhere/redis.sock' }, PATIENT);
    onClose(() => store.close());
    await expect(store.list('A'.repeat(22))).rejects.toMatchObject({
      code: 'ERR_STORE_UNAVAILABLE',
      cause: { code: 'ENOENT' },
    });
  });
});
