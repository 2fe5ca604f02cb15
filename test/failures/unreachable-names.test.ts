import dns from 'node:dns';
import { setTimeout as sleep } from 'node:timers/promises';
import { RedisStore, type RedisStoreOptions, TokenManager } from 'tokensession';
import { closeAfterEach } from '../support/closing';
import { announceName, hideAddresses, showAddresses } from '../support/cluster-announcements';
import { type ClusterTopology, startClusterTopology } from '../support/cluster-topology';
import { ask, askInfo, freePort, type RedisServer, startRedis } from '../support/redis-server';
import { type SentinelTopology, startSentinelTopology } from '../support/sentinel-topology';
import { PATIENT, randomPrefixes, SECRET } from '../support/stores';
import { startProxy, type TcpProxy } from '../support/tcp-proxy';
import { until } from '../support/until';

const HOST = '127.0.0.1';
/** A name that no resolver is asked for: a label is empty (RFC 1035). */
const GONE = { host: 'gone..invalid' };

/** Nodes of Redis 6.2 that hide their addresses exchange no messages, and must not report each other as down. */
const NEVER_MS = 3_600_000;

const onClose = closeAfterEach();
let cluster: ClusterTopology;
let sentinel: SentinelTopology;

beforeAll(async () => {
  [cluster, sentinel] = await Promise.all([
    startClusterTopology({ masters: 2, replicas: 0, nodeTimeoutMs: NEVER_MS }),
    startSentinelTopology({ replicas: 0, sentinels: 1, downAfterMs: 60_000 }),
  ]);
});
afterAll(() => Promise.all([cluster.stop(), sentinel.stop()]));

type Target = ConstructorParameters<typeof RedisStore>[0];

function manage(target: Target, options: RedisStoreOptions = PATIENT): TokenManager<never> {
  const store = new RedisStore(target, { ...randomPrefixes(), ...options });
  const manager = new TokenManager<never>({ store, secret: SECRET });
  onClose(() => manager.close());
  return manager;
}

/** Breaks all connections but those of the tests. */
const breakConnections = (servers: readonly RedisServer[]) =>
  Promise.all(servers.map((server) => ask(server, 'CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')));

/** Users on both of two masters. */
const USERS = Array.from({ length: 8 }, (_, i) => `user-${i}`);

describe('a name that does not resolve', () => {
  const names = [GONE, { host: `too.${GONE.host}`, port: 7000 }, { host: `and-this.${GONE.host}` }];

  it('among the seeds of a Cluster is harmless while one seed works, at the start and later', async () => {
    const [seed] = cluster.startupNodes as [{ host: string; port: number }];
    for (const target of [{ cluster: [...names, seed] }, { cluster: [{ ...seed, host: 'localhost' }, ...names] }]) {
      const sessions = manage(target);
      const tokens = await Promise.all(USERS.map((user) => sessions.setToken(user)));
      await breakConnections(cluster.nodes);
      for (const token of tokens) {
        await until('it is served again', async () => (await sessions.checkToken(token)) !== null);
      }
    }
  });

  it('among the sentinels is harmless while one sentinel works, at the start and later', async () => {
    const sessions = manage({ sentinels: [...names, ...sentinel.sentinels], name: sentinel.name });
    const token = await sessions.setToken('ada');
    await breakConnections([...sentinel.nodes, ...sentinel.sentinelServers]);
    await until('it is served again', async () => (await sessions.checkToken(token)) !== null);
  });

  it('of one node of a Cluster gives a 503, with the reason, to its users alone', async () => {
    const [lost, other] = cluster.nodes as [RedisServer, RedisServer];
    onClose(() => showAddresses(cluster));
    await announceName(cluster, lost, GONE.host);
    const sessions = manage({ cluster: [{ host: HOST, port: other.port }] });
    // Even when that node is no longer called.
    for (let round = 0; round < 3; round++) {
      const outcomes = await Promise.allSettled(USERS.map((user) => sessions.setToken(user)));
      const reasons = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason] : []));
      expect(reasons.length).toBeGreaterThan(0);
      expect(reasons.length).toBeLessThan(USERS.length);
      for (const reason of reasons) {
        expect(reason).toMatchObject({ status: 503, cause: { message: expect.stringContaining(GONE.host) } });
      }
    }
    expect(await sessions.health()).toMatchObject({
      status: 'degraded',
      reasons: [expect.stringContaining(GONE.host)],
    });
  });
});

describe('a name that stops resolving while the process runs', () => {
  const PODS = ['pod-0.example', 'pod-1.example'] as const;
  /** Names that the resolver no longer knows. */
  const missing = new Set<string>();
  /** Missing names that it was asked for. */
  const missed = new Set<string>();

  beforeEach(() => {
    missing.clear();
    missed.clear();
    const lookUp = dns.lookup as (...args: unknown[]) => void;
    jest.spyOn(dns, 'lookup').mockImplementation(((name: string, ...rest: unknown[]) => {
      if (!PODS.some((pod) => pod === name)) return lookUp(name, ...rest);
      const answer = rest.at(-1) as (...found: unknown[]) => void;
      if (missing.has(name)) {
        missed.add(name);
        return setImmediate(answer, Object.assign(new Error(`getaddrinfo ENOTFOUND ${name}`), { code: 'ENOTFOUND' }));
      }
      const { all } = rest[0] as { all?: boolean };
      return all ? setImmediate(answer, null, [{ address: HOST, family: 4 }]) : setImmediate(answer, null, HOST, 4);
    }) as never);
  });
  afterEach(() => jest.restoreAllMocks());

  it.each(PODS)('of a seed of a Cluster is harmless while the other seed works: %s', async (pod) => {
    const seeds = PODS.map((host, i) => ({ host, port: cluster.nodes[i]?.port as number }));
    const sessions = manage({ cluster: seeds });
    const tokens = await Promise.all(USERS.map((user) => sessions.setToken(user)));
    missing.add(pod);
    await until('the client has missed the name', async () => {
      await breakConnections(cluster.nodes);
      await Promise.allSettled(tokens.map((token) => sessions.checkToken(token)));
      return missed.has(pod);
    });
    for (const token of tokens) {
      await until('it is served again', async () => (await sessions.checkToken(token)) !== null);
    }
    expect(await Promise.all(USERS.map((user) => sessions.setToken(user)))).toHaveLength(USERS.length);
  });

  it.each(PODS)('of a sentinel is harmless while the other sentinel works: %s', async (pod) => {
    // One sentinel under two names.
    const sentinels = PODS.map((host) => ({ host, port: sentinel.sentinels[0]?.port as number }));
    const sessions = manage({ sentinels, name: sentinel.name });
    const token = await sessions.setToken('ada');
    missing.add(pod);
    await until('the client has missed the name', async () => {
      await breakConnections([...sentinel.nodes, ...sentinel.sentinelServers]);
      await sessions.checkToken(token).catch(() => null);
      return missed.has(pod);
    });
    await until('it is served again', async () => (await sessions.checkToken(token)) !== null);
    expect(await sessions.setToken('ada')).toEqual(expect.any(String));
  });

  it('of the one Redis fails calls with that reason, until the name is back', async () => {
    const server = await startRedis();
    onClose(() => server.stop());
    const sessions = manage({ host: PODS[0], port: server.port });
    const token = await sessions.setToken('ada');
    missing.add(PODS[0]);
    await breakConnections([server]);
    const reason = await until('the name is missed', () =>
      sessions.checkToken(token).then(
        () => null,
        (error) => missed.has(PODS[0]) && error,
      ),
    );
    expect(reason).toMatchObject({ status: 503, cause: { message: expect.stringContaining(`ENOTFOUND ${PODS[0]}`) } });
    missing.clear();
    await until('it is served again', async () => (await sessions.checkToken(token)) !== null);
  });
});

describe('a Cluster whose nodes do not announce their address', () => {
  afterEach(() => showAddresses(cluster));

  it.each([
    ['at all', ''],
    ['by name', '?'],
  ] as const)('%s is reached at the address of its seed, also while slots move', async (_, announced) => {
    await hideAddresses(cluster, announced);
    const prefixes = randomPrefixes();
    const [from, to] = cluster.nodes as [RedisServer, RedisServer];
    const sessions = manage({ cluster: [{ host: 'localhost', port: to.port }] }, { ...PATIENT, ...prefixes });
    const tokens = await Promise.all(USERS.map((user) => sessions.setToken(user)));
    expect(await sessions.health()).toMatchObject({ status: 'up' });

    const keys = tokens.map((token) => `${prefixes.tokenKeyPrefix}:{${token.split('.')[0]}}`);
    const owners = await Promise.all(keys.map((key) => cluster.ownerOf(key)));
    const at = owners.indexOf(from);
    const [key, token] = [keys[at] as string, tokens[at] as string];
    const slot = await cluster.slotOf(key);
    await cluster.beginMigration(slot, from, to);
    await cluster.migrateKeys(slot, from, to);
    expect(await sessions.touchToken(token)).not.toBeNull();
    await cluster.endMigration(slot, from, to);
    expect(await sessions.touchToken(token)).not.toBeNull();
    await cluster.beginMigration(slot, to, from);
    await cluster.migrateKeys(slot, to, from);
    await cluster.endMigration(slot, to, from);
    expect(await sessions.touchToken(token)).not.toBeNull();
  });
});

describe('an idle connection that the network dropped silently', () => {
  const TIMEOUT_MS = 5000;
  /** Longer than the time after which an idle connection is tested. */
  const IDLE_MS = 5200;

  it('fails no call: the next calls are served; one to a Redis that answers, even slowly, is kept', async () => {
    const proxies: TcpProxy[] = [];
    const proxyTo = async (server: RedisServer) => {
      const proxy = await startProxy(server.port);
      onClose(() => proxy.stop());
      proxies.push(proxy);
      return { host: HOST, port: proxy.port };
    };
    const natMapOf = async (servers: readonly RedisServer[]) => {
      const entries = servers.map(async (server) => [`${HOST}:${server.port}`, await proxyTo(server)] as const);
      return Object.fromEntries(await Promise.all(entries));
    };
    const single = await startRedis({ 'repl-diskless-sync-delay': '0' });
    onClose(() => single.stop());
    const replica = await startRedis({ replicaof: [[HOST, String(single.port)]] });
    onClose(() => replica.stop());
    const { sentinels, name } = sentinel;
    const targets: [string, Target, RedisStoreOptions?][] = [
      ['one Redis', await proxyTo(single)],
      ['one Redis and its replica', await proxyTo(single), { durability: { replicas: 1 } }],
      ['Sentinel', { sentinels, name, natMap: await natMapOf(sentinel.nodes) }],
      ['a Cluster', { cluster: cluster.startupNodes, natMap: await natMapOf(cluster.nodes) }],
    ];
    const all = targets.map(([what, target, options]) => ({
      what,
      sessions: manage(target, { timeoutMs: TIMEOUT_MS, ...options }),
    }));
    const tokens = await Promise.all(
      all.map(({ sessions }) =>
        until('it is served', async () => {
          const first = await Promise.all(USERS.map((user) => sessions.setToken(user)));
          await sessions.deleteToken(await sessions.setToken('eve'));
          return first;
        }),
      ),
    );
    const slow = await startRedis();
    onClose(() => slow.stop());
    const slowed = await startProxy(slow.port);
    onClose(() => slowed.stop());
    const kept = manage({ host: HOST, port: slowed.port }, { timeoutMs: TIMEOUT_MS });
    const token = await kept.setToken('ada');
    const connections = async () => (await askInfo(slow, 'INFO', 'stats')).total_connections_received;
    const before = await connections();
    await sleep(IDLE_MS);
    for (const proxy of proxies) proxy.forget();
    slowed.delay(100);
    expect(await kept.checkToken(token)).not.toBeNull();
    expect(await connections()).toBe(before);
    const outcomes = await Promise.all(
      all.map(async ({ what, sessions }, i) => {
        const calls = (tokens[i] as string[]).map((token, user) =>
          user === 0 ? sessions.deleteToken(token) : sessions.checkToken(token),
        );
        const failed = (await Promise.allSettled(calls)).filter(({ status }) => status === 'rejected');
        return [what, failed];
      }),
    );
    expect(outcomes).toEqual(all.map(({ what }) => [what, []]));
  });
});

it('health checks every master, and names the one that lacks a right', async () => {
  const [lacking, other] = cluster.nodes as [RedisServer, RedisServer];
  const rights = ['on', '>secret', '~*', '&*', '+@all'];
  await Promise.all([
    ask(lacking, 'ACL', 'SETUSER', 'half', ...rights, '-hset'),
    ask(other, 'ACL', 'SETUSER', 'half', ...rights),
  ]);
  const sessions = manage({ cluster: cluster.startupNodes, username: 'half', password: 'secret' });
  expect(await sessions.health()).toMatchObject({
    status: 'degraded',
    reasons: [expect.stringMatching(new RegExp(`:${lacking.port}: it refuses HSET`))],
  });
  expect(await Promise.all(cluster.nodes.map((node) => ask(node, 'KEYS', '*health*')))).toEqual([[], []]);
});

it('when no seed is reachable, the error names each of them', async () => {
  const port = await freePort();
  const cluster = manage({ cluster: [{ host: HOST, port }, GONE] });
  const sentinel = manage({ sentinels: [{ host: HOST, port }, GONE], name: 'x' });
  for (const sessions of [cluster, sentinel]) {
    const { cause } = await sessions.setToken('ada').catch((error) => error);
    expect(cause.message).toContain(`connect ECONNREFUSED ${HOST}:${port}`);
    expect(cause.message).toContain(GONE.host);
  }
});
