import { mkdir, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { RedisStore, type RedisStoreOptions, TokenManager, type TokenManagerOptions } from 'tokensession';
import { SCRIPTS } from '../../src/redis/scripts/index';
import { PROBE } from '../../src/redis/scripts/probe';
import { CertificateAuthority } from '../support/certificates';
import { closeAfterEach } from '../support/closing';
import { type ClusterTopology, startClusterTopology } from '../support/cluster-topology';
import {
  ask,
  askInfo,
  freePort,
  isRedis6,
  type RedisConfig,
  type RedisServer,
  startRedis,
} from '../support/redis-server';
import { type SentinelTopology, startSentinelTopology } from '../support/sentinel-topology';
import { startStopwatch } from '../support/stopwatch';
import { PATIENT, randomPrefixes, SECRET } from '../support/stores';
import { startProxy } from '../support/tcp-proxy';
import { until } from '../support/until';

const HOST = '127.0.0.1';
/** The longest time of a call that waits for no timeout: PATIENT ones are much longer. */
const AT_ONCE_MS = PATIENT.timeoutMs / 2;
/** How long after Redis is ready it must be used again, plus the delay of a busy machine. */
const BACK_MS = 1000 + 1000;

/** Delays the load of each key by 20 ms. Without compression, the file is as large as the keys. */
const SLOW_TO_LOAD: RedisConfig = { save: '3600 1000000', 'key-load-delay': '20000', rdbcompression: 'no' };
const KEYS_TO_LOAD = 300;
/** A server that is loading answers clients after each 2 MB: in 6.2, no setting changes that. */
const BYTES_OF_KEY = 100_000;

/** The mark in which Redis quotes a command that it doesn't know. */
const QUOTE = isRedis6() ? '`' : "'";

/** A name that no resolver is asked for: its label is too long (RFC 1035). */
const GONE = `${'x'.repeat(64)}.invalid`;

type Target = ConstructorParameters<typeof RedisStore>[0];

/** A connection target, and the server behind it. */
interface Way {
  server: RedisServer;
  target: Exclude<Target, string | undefined> & object;
}

const TOPOLOGIES = ['one Redis', 'Sentinel', 'a Cluster'] as const;
type Topology = (typeof TOPOLOGIES)[number];

let sentinel: SentinelTopology;
let cluster: ClusterTopology;
let single: RedisServer;
let ways: Record<Topology, Way>;
const onClose = closeAfterEach();

beforeAll(async () => {
  [single, sentinel, cluster] = await Promise.all([
    startRedis(SLOW_TO_LOAD),
    startSentinelTopology({ replicas: 0, sentinels: 1, downAfterMs: 60_000, settings: SLOW_TO_LOAD }),
    startClusterTopology({ masters: 1, replicas: 0, nodeTimeoutMs: 30_000, settings: SLOW_TO_LOAD }),
  ]);
  const { sentinels, name } = sentinel;
  ways = {
    'one Redis': { server: single, target: { host: HOST, port: single.port } },
    Sentinel: { server: sentinel.nodes[0] as RedisServer, target: { sentinels, name } },
    'a Cluster': { server: cluster.nodes[0] as RedisServer, target: { cluster: cluster.startupNodes } },
  };
});
afterAll(() => Promise.all([single.stop(), sentinel.stop(), cluster.stop()]));

interface Options extends Omit<Partial<TokenManagerOptions<never>>, 'store'> {
  store?: RedisStoreOptions;
}

function manage(target: Target, { store, ...options }: Options = {}): TokenManager<never> {
  const manager = new TokenManager<never>({
    store: new RedisStore(target, { ...PATIENT, ...randomPrefixes(), ...store }),
    secret: SECRET,
    ...options,
  });
  onClose(() => manager.close());
  return manager;
}

/** The messages of the error, which must come at once, and of its cause. */
async function failureOf(call: Promise<unknown>): Promise<string> {
  const begin = performance.now();
  const [outcome] = await Promise.allSettled([call]);
  expect(performance.now() - begin).toBeLessThan(AT_ONCE_MS);
  if (outcome.status === 'fulfilled') return 'none';
  expect(outcome.reason).toMatchObject({ name: 'SessionError', code: 'ERR_STORE_UNAVAILABLE', status: 503 });
  return `${outcome.reason.message} (${outcome.reason.cause?.message})`;
}

/** A reason why calls are refused: how to cause it on the server, how to undo it, and the expected message. */
interface Refusal {
  begin?(server: RedisServer): Promise<() => unknown>;
  target?(target: Way['target']): Way['target'];
  says: RegExp;
  /** Whether it also stops a process that was served before. */
  isForAll?: boolean;
}

const set = async (server: RedisServer, name: string, value: string) => {
  const [, before = ''] = await ask<string[]>(server, 'CONFIG', 'GET', name);
  await ask(server, 'CONFIG', 'SET', name, value);
  return () => ask(server, 'CONFIG', 'SET', name, before);
};

const REFUSALS: Record<string, Refusal> = {
  'wrong password': {
    target: (target) => ({ ...target, username: 'nobody', password: 'wrong' }),
    says: /refused our credentials.*WRONGPASS/,
  },
  'no password': {
    begin: async (server) => {
      const undo = await set(server, 'requirepass', 'secret');
      await server.admin.auth('secret');
      return undo;
    },
    says: /refused our credentials.*NOAUTH/,
  },
  'more clients than maxclients': {
    begin: async (server) =>
      set(server, 'maxclients', (await askInfo(server, 'INFO', 'clients')).connected_clients ?? '1'),
    says: /maxclients.*max number of clients/,
  },
  'script that runs too long': {
    begin: async (server) => {
      const undo = await set(server, 'lua-time-limit', '50');
      const other = new Redis(server.port, HOST, { retryStrategy: () => null });
      other.on('error', () => undefined);
      const script = other.eval('while true do end', 0).catch(() => undefined);
      await until('it is busy', () =>
        ask(server, 'GET', 'x').then(
          () => false,
          ({ message }) => /BUSY/.test(message),
        ),
      );
      return async () => {
        await ask(server, 'SCRIPT', 'KILL');
        await script;
        other.disconnect();
        await undo();
      };
    },
    says: /busy with a script.*BUSY/,
    isForAll: true,
  },
  'disk that can’t be written': {
    begin: async (server) => {
      const [, dir = ''] = await ask<string[]>(server, 'CONFIG', 'GET', 'dir');
      // Persistence fails: a file cannot replace a folder.
      await mkdir(join(dir, 'dump.rdb'));
      await ask(server, 'BGSAVE');
      await until('it has failed', async () => {
        return (await askInfo(server, 'INFO', 'persistence')).rdb_last_bgsave_status === 'err';
      });
      return async () => {
        await rmdir(join(dir, 'dump.rdb'));
        await ask(server, 'SAVE');
      };
    },
    says: /save to its disk.*MISCONF/,
    isForAll: true,
  },
  'user who may not run scripts': {
    begin: async (server) => {
      await ask(server, 'ACL', 'SETUSER', 'default', '-eval', '-evalsha');
      return () => ask(server, 'ACL', 'SETUSER', 'default', '+eval', '+evalsha');
    },
    says: /refused us a command.*NOPERM/,
    isForAll: true,
  },
};

describe.each(TOPOLOGIES)('%s', (topology) => {
  it.each(Object.entries(REFUSALS))('refuses a call at once, and the error says why: %s', async (_, refusal) => {
    const { server, target } = ways[topology];
    const served = manage(target);
    await served.setToken('ada');
    const undo = await refusal.begin?.(server);
    const refused = refusal.target?.(target) ?? target;
    try {
      const begun = manage(refused);
      for (let i = 0; i < 3; i++) expect(await failureOf(begun.setToken('ada'))).toMatch(refusal.says);
      const { status, reasons } = await begun.health();
      expect([status, reasons.join()]).toEqual(['down', expect.stringMatching(refusal.says)]);
      if (refusal.isForAll) expect(await failureOf(served.setToken('ada'))).toMatch(refusal.says);
    } finally {
      await undo?.();
    }
    await until('it is served again', () => served.setToken('ada'));
  });

  it('is reached by a name, at a port, with a trusted certificate: otherwise the error says so', async () => {
    const authority = await CertificateAuthority.create();
    onClose(() => authority.remove());
    const { certFile, keyFile } = await authority.issue('redis.example');
    const tlsPort = await freePort();
    const files = { 'tls-cert-file': certFile, 'tls-key-file': keyFile, 'tls-ca-cert-file': authority.certFile };
    const server = await startRedis({ ...files, 'tls-port': String(tlsPort), 'tls-auth-clients': 'no' });
    onClose(() => server.stop());
    const at = (address: { host: string; port: number }, tls = false): Target => {
      if (topology === 'one Redis') return { ...address, tls };
      return topology === 'Sentinel' ? { sentinels: [address], name: 'x', tls } : { cluster: [address], tls };
    };
    const port = await freePort();
    const says: [Target, RegExp][] = [
      [at({ host: GONE, port }), new RegExp(`ENOTFOUND ${GONE}`)],
      [at({ host: HOST, port }), new RegExp(`connect ECONNREFUSED ${HOST}:${port}`)],
      [at({ host: HOST, port: tlsPort }, true), /self-signed certificate in certificate chain/],
    ];
    for (const [target, words] of says) {
      const sessions = manage(target);
      for (let i = 0; i < 3; i++) expect(await failureOf(sessions.setToken('ada'))).toMatch(words);
    }
  });

  it('that is loading its data refuses at once, and serves within about a second of being ready', async () => {
    const { server, target } = ways[topology];
    const fill = "for i = 1, ARGV[1] do redis.call('SET', KEYS[1] .. i, string.rep('x', ARGV[2])) end";
    await ask(server, 'EVAL', fill, 1, '{fill}', KEYS_TO_LOAD, BYTES_OF_KEY);
    await ask(server, 'SAVE');
    const served = manage(target);
    await served.setToken('ada');
    const back = server.restart();
    const isReady = untilWritable(server.port);
    const untilLoading = (sessions: TokenManager<never>) =>
      until('it says so', async () => /still reads its data.*LOADING/.test(await failureOf(sessions.setToken('ada'))));
    await untilLoading(served);
    const begun = manage(target);
    await untilLoading(begun);
    expect((await begun.health()).reasons.join()).toMatch(/LOADING/);
    await loadFast(server.port);
    await isReady;
    const elapsedMs = startStopwatch();
    await until('all are served', () => Promise.all([served.setToken('ada'), begun.setToken('ada')]));
    expect(elapsedMs()).toBeLessThan(BACK_MS);
    await back;
  });
});

/** Has a server that is loading its data go on without delay, unless it is a Redis 6.2. */
async function loadFast(port: number): Promise<void> {
  const client = new Redis(port, HOST, { enableReadyCheck: false });
  try {
    await client.config('SET', 'key-load-delay', '0').catch((error) => {
      if (!/Only CONFIG GET is allowed during loading/.test(error.message)) throw error;
    });
  } finally {
    client.disconnect();
  }
}

/** Waits until a server runs a script that writes. */
async function untilWritable(port: number): Promise<void> {
  await until('Redis is ready', async () => {
    const client = new Redis(port, HOST, { retryStrategy: () => null, maxLoadingRetryTime: 20 });
    client.on('error', () => undefined);
    try {
      return await client.eval("redis.call('HDEL', KEYS[1], '') return 1", 1, 'x');
    } finally {
      client.disconnect();
    }
  });
}

it('a Cluster that is down, or does not report its state, gives an error that says so', async () => {
  const { server, target } = ways['a Cluster'];
  const undo = await set(server, 'cluster-require-full-coverage', 'yes');
  onClose(undo);
  await ask(server, 'CLUSTER', 'DELSLOTS', 1);
  onClose(() => ask(server, 'CLUSTER', 'ADDSLOTS', 1));
  await until('it is down', async () => (await askInfo(server, 'CLUSTER', 'INFO')).cluster_state === 'fail');
  expect(await failureOf(manage(target).setToken('ada'))).toMatch(/no node serves.*CLUSTERDOWN/);

  const refused = isRedis6() ? "'cluster'" : "'cluster\\|info'";
  await ask(server, 'ACL', 'SETUSER', 'blind', 'on', '>secret', '~*', '&*', '+@all', '-cluster', '+cluster|slots');
  const blind = manage({ ...target, username: 'blind', password: 'secret' } as Target);
  expect(await failureOf(blind.setToken('ada'))).toMatch(new RegExp(`refused us a command.*NOPERM.*${refused}`));
});

it('sentinels that do not know the master, or name one that is none, give an error that says so', async () => {
  const { server, target } = ways.Sentinel;
  const other = manage({ ...target, name: 'other' } as Target);
  expect(await failureOf(other.setToken('ada'))).toMatch(/no sentinel named the master.*No such master/);
  await ask(server, 'REPLICAOF', HOST, 1);
  onClose(() => ask(server, 'REPLICAOF', 'NO', 'ONE'));
  expect(await failureOf(manage(target).setToken('ada'))).toMatch(/lead to a server that is not a master/);
});

describe('health', () => {
  const ALL = ['on', '>secret', 'resetkeys', '~*', 'resetchannels', '&*', '+@all'];
  let users = 0;

  /** Connects as a user who lacks some rights. */
  const lacking = async (...rights: string[]) => {
    const username = `user-${users++}`;
    await ask(single, 'ACL', 'SETUSER', username, ...ALL, ...rights);
    return { host: HOST, port: single.port, username, password: 'secret' };
  };

  it('leaves nothing behind', async () => {
    const before = await ask(single, 'DBSIZE');
    const sessions = manage(ways['one Redis'].target, { store: { durability: { replicas: 1 } } });
    for (let i = 0; i < 3; i++) await sessions.health();
    expect(await ask(single, 'DBSIZE')).toBe(before);
  });

  it('tries every command that the scripts call, except those that publish', () => {
    const commandsIn = (text: string) =>
      [...text.matchAll(/(?:redis\.p?call|\btry)\('([A-Z]+)'/g)].map(([, name]) => name);
    const called = new Set(Object.values(SCRIPTS).flatMap(commandsIn));
    called.delete('PUBLISH');
    expect(new Set(commandsIn(PROBE))).toEqual(called);
  });

  it.each([
    ['-eval', 'down', /NOPERM.*'eval'/],
    ['-evalsha', 'down', /NOPERM.*'evalsha'/],
    ['-time', 'down', /it refuses TIME/],
    ['-hmget', 'down', /it refuses HMGET/],
    ['-hdel', 'down', /it refuses HDEL/],
    ['-mget', 'degraded', /it refuses MGET/],
    ['-getex', 'down', /it refuses GETEX/],
    ['-hset', 'down', /it refuses HSET/],
    ['-hkeys', 'degraded', /it refuses HKEYS/],
    ['-hlen', 'degraded', /it refuses HLEN/],
    ['-pexpire', 'down', /it refuses PEXPIRE/],
    ['-persist', 'degraded', /it refuses PERSIST/],
    ['-pttl', 'down', /it refuses PTTL/],
    ['-unlink', 'degraded', /it refuses UNLINK/],
    ['-set', 'degraded', /it refuses SET/],
    ['-info', 'degraded', /it refuses INFO.*'info'/],
    ['-publish', 'degraded', /does not let changes be announced.*'publish'/],
    ['resetchannels', 'degraded', /does not let changes be announced.*channel/],
    ['resetkeys', 'down', /NOPERM.*key/],
  ])('names the missing right, at the first call and later: %s', async (right, status, words) => {
    const sessions = manage(await lacking(right));
    for (let i = 0; i < 2; i++) {
      expect(await sessions.health()).toMatchObject({ status });
      expect((await sessions.health()).reasons.join()).toMatch(words);
    }
  });

  it('names +wait where durability asks for replicas', async () => {
    const target = await lacking('-wait');
    const durable = manage(target, { store: { durability: { replicas: 1 } } });
    const { status, reasons } = await durable.health();
    expect([status, reasons.join()]).toEqual(['degraded', expect.stringMatching(/it refuses WAIT.*'wait'/)]);
    expect(await manage(target).health()).toMatchObject({ status: 'up' });
  });

  it.each([
    ['EVAL', 'down', `does not know a command.*${QUOTE}eval${QUOTE}`],
    ['EVALSHA', 'down', `does not know a command.*${QUOTE}evalsha${QUOTE}`],
    ['TIME', 'down', 'it refuses TIME .*Unknown'],
    ['PUBLISH', 'degraded', `does not let changes be announced.*${QUOTE}publish${QUOTE}`],
  ])('names a renamed command: %s', async (command, status, words) => {
    const server = await startRedis({ 'rename-command': [[command, '']] });
    onClose(() => server.stop());
    const sessions = manage(server.url);
    expect(await sessions.health()).toMatchObject({ status });
    expect((await sessions.health()).reasons.join()).toMatch(new RegExp(words, 'i'));
  });
});

describe('a near cache', () => {
  const HEARTBEAT_MS = 500;
  const CACHE = { cache: { maxAgeMs: 60_000, heartbeatMs: HEARTBEAT_MS } };
  /** Long enough for a working cache to start. */
  const HEARTBEATS_MS = 3 * HEARTBEAT_MS;
  const ALL = ['on', '>secret', 'resetkeys', '~*', 'resetchannels', '&*', '+@all'];

  const listened = (sessions: TokenManager<never>) => {
    const downs: unknown[] = [];
    sessions.on('cache-down', ({ error }) => downs.push(error));
    return downs;
  };
  const connectionsOf = async (server: RedisServer) =>
    Number((await askInfo(server, 'INFO', 'stats')).total_connections_received);

  it('never answers while changes cannot be announced, and reports that', async () => {
    const server = await startRedis({ 'rename-command': [['PUBLISH', '']] });
    onClose(() => server.stop());
    const store = randomPrefixes();
    const [here, there] = [manage(server.url, { ...CACHE, store }), manage(server.url, { store })];
    const downs = listened(here);
    const token = await here.setToken('ada');
    await until('the cache-down event arrives', () => downs.length > 0);
    for (let i = 0; i < 3; i++) expect(await here.checkToken(token)).not.toBeNull();
    expect(await there.deleteToken(token)).toBe(true);
    expect(await here.checkToken(token)).toBeNull();
    expect(here.cacheStats).toMatchObject({ hits: 0, isUp: false });
    expect(downs).toMatchObject([
      { cause: { cause: { message: expect.stringMatching(/unknown command.*publish/i) } } },
    ]);
    expect((await here.health()).reasons.join()).toMatch(/announced.*near cache is bypassed/s);
  });

  it.each(['publish', 'subscribe', 'info'])('starts once %s is no longer refused', async (command) => {
    await ask(single, 'ACL', 'SETUSER', 'quiet', ...ALL, `-${command}`);
    const target = { host: HOST, port: single.port, username: 'quiet', password: 'secret' };
    const sessions = manage(target, CACHE);
    const downs = listened(sessions);
    await sessions.setToken('ada');
    await until('the cache-down event arrives', () => downs.length > 0);
    await ask(single, 'ACL', 'SETUSER', 'quiet', `+${command}`);
    await until('it is up', () => sessions.cacheStats?.isUp);
    expect(await sessions.health()).toEqual({ status: 'up', latencyMs: expect.any(Number), reasons: [] });
  });

  it.each([
    ['tells no run_id', /no run_id/],
    ['is refused', /NOPERM.*'info'/],
  ])('stays off where INFO %s: it is detected once, reported once, without a reconnect', async (how, words) => {
    const proxy = await startProxy(single.port);
    onClose(() => proxy.stop());
    proxy.rewriteReplies('run_id:', 'runner:');
    await ask(single, 'ACL', 'SETUSER', 'blind', ...ALL, how === 'is refused' ? '-info' : '+info');
    const port = how === 'is refused' ? single.port : proxy.port;
    const sessions = manage({ host: HOST, port, username: 'blind', password: 'secret' }, CACHE);
    const downs = listened(sessions);
    const token = await sessions.setToken('ada');
    await until('the cache-down event arrives', () => downs.length > 0);
    const before = await connectionsOf(single);
    await sleep(HEARTBEATS_MS);
    expect(await connectionsOf(single)).toBe(before);
    for (let i = 0; i < 3; i++) expect(await sessions.checkToken(token)).not.toBeNull();
    expect(sessions.cacheStats).toMatchObject({ hits: 0, isUp: false });
    expect(downs).toHaveLength(1);
    const { status, reasons } = await sessions.health();
    expect([status, reasons.join()]).toEqual(['degraded', expect.stringMatching(/near cache is bypassed/)]);
    expect(reasons.join()).toMatch(words);
  });
});
