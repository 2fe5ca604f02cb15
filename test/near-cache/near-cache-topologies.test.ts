import { setTimeout as sleep } from 'node:timers/promises';
import { Cluster, Redis } from 'ioredis';
import { Cluster as Cluster5, Redis as Redis5 } from 'ioredis5';
import { RedisStore, type Session, TokenManager, type TokenManagerOptions } from 'tokensession';
import { askingsOf, catchAsking } from '../../src/redis/client/asking';
import { tagOf } from '../../src/token/token';
import { closeAfterEach } from '../support/closing';
import { type ClusterTopology, startClusterTopology } from '../support/cluster-topology';
import { runProgram } from '../support/programs';
import { ask, askInfo, type RedisServer, scriptCalls } from '../support/redis-server';
import { type SentinelTopology, startSentinelTopology } from '../support/sentinel-topology';
import { idOf } from '../support/session-id';
import { PATIENT, randomPrefixes, SECRET } from '../support/stores';
import { answered, until } from '../support/until';

/** For processes whose servers fail: calls to a server that is silent. */
const HASTY = { timeoutMs: 2500 };
/** So long that in a test only announcements, or their absence, make a cache call the store. */
const MAX_AGE_MS = 60_000;
/** The longest time of an announcement on a busy machine. */
const ANNOUNCED_MS = 10_000;
/** For failing servers: shorter than the default, and longer than a busy machine suspends this process. */
const HEARTBEAT_MS = 1000;
/** How long a silent server may count as healthy: two heartbeats, plus the time of a signal. */
const LEASE_MS = 2 * HEARTBEAT_MS + 50;
/** After this silence a server counts as down. */
const DOWN_AFTER_MS = 3000;
/** For nodes that must not report each other as down, though they exchange no messages. */
const NEVER_MS = 3_600_000;

type Target = ConstructorParameters<typeof RedisStore>[0];
type Sessions = TokenManager<{ version: number }>;

let cluster: ClusterTopology;
/** A Cluster whose nodes exchange no messages, one of them without slots. */
let splitCluster: ClusterTopology;
/**
 * One for each promotion, after which the former master takes longer to resume its role than a topology to start.
 */
const sentinels = new Map<string, SentinelTopology>();

beforeAll(async () => {
  const starting = ['killed', 'paused', 'handing over', 'handed in'].map(async (scene) => {
    sentinels.set(scene, await startSentinelTopology({ replicas: 1, downAfterMs: DOWN_AFTER_MS }));
  });
  const started = await Promise.allSettled([
    startClusterTopology({ nodeTimeoutMs: DOWN_AFTER_MS }).then((topology) => {
      cluster = topology;
    }),
    startClusterTopology({ replicas: 0, spares: 1, nodeTimeoutMs: NEVER_MS, hasBreakableBus: true }).then(
      (topology) => {
        splitCluster = topology;
        topology.breakBus();
      },
    ),
    ...starting,
  ]);
  for (const outcome of started) if (outcome.status === 'rejected') throw outcome.reason;
});
afterAll(() => Promise.all([cluster, splitCluster, ...sentinels.values()].map((topology) => topology?.stop())));

const onClose = closeAfterEach();
let prefixes: ReturnType<typeof randomPrefixes>;

beforeEach(() => {
  prefixes = randomPrefixes();
});

/** A process with a near cache. */
function caching(target: Target, heartbeatMs?: number, timing = PATIENT): Sessions {
  return manage(target, { cache: { maxAgeMs: MAX_AGE_MS, heartbeatMs } }, timing);
}

/** Another process, by default without a near cache. */
function manage(
  target: Target,
  options: Partial<TokenManagerOptions<{ version: number }>> = {},
  timing = PATIENT,
): Sessions {
  const store = new RedisStore(target, { ...timing, ...prefixes });
  const sessions = new TokenManager({ store, secret: SECRET, ...options });
  onClose(() => sessions.close());
  return sessions;
}

function statsOf({ cacheStats }: Sessions) {
  if (cacheStats === null) throw new Error('it has no near cache');
  return cacheStats;
}

/** Checks a session, and returns at once whether the near cache answered. */
function touch(sessions: Sessions, token: string) {
  const { hits } = statsOf(sessions);
  const answer = sessions.touchToken(token);
  return { isFromMemory: statsOf(sessions).hits > hits, answer };
}

/** {@link touch} without its answer. */
function isFromMemory(sessions: Sessions, token: string): boolean {
  const { isFromMemory, answer } = touch(sessions, token);
  answer.catch(() => undefined);
  return isFromMemory;
}

async function untilFromMemory(sessions: Sessions, tokens: readonly string[]): Promise<void> {
  const areFromMemory = async () => {
    const touched = tokens.map((token) => touch(sessions, token));
    await Promise.all(touched.map(({ answer }) => answer));
    return touched.every(({ isFromMemory }) => isFromMemory);
  };
  await until('memory answers for all of them', areFromMemory);
}

/** Waits until the near cache no longer answers for a session, and returns the answer of the store. */
async function untilAnnounced(sessions: Sessions, token: string): Promise<Session<{ version: number }> | null> {
  const fromStore = async () => {
    const { isFromMemory, answer } = touch(sessions, token);
    const session = await answer;
    return isFromMemory ? undefined : { session };
  };
  return (await until('the announcement arrives', fromStore, ANNOUNCED_MS)).session;
}

/** Checks at a steady rate, with a record of near-cache answers. */
function watch(sessions: Sessions, tokens: readonly string[]) {
  const seen: { at: number; token: string; isFromMemory: boolean }[] = [];
  const timer = setInterval(() => {
    for (const token of tokens) {
      seen.push({ at: performance.now(), token, isFromMemory: isFromMemory(sessions, token) });
    }
  }, 20);
  onClose(() => clearInterval(timer));
  return {
    /**
     * Expects that in this period memory answered all requests for these tokens, except just after this process was
     * suspended: it may then use no earlier entry.
     */
    expectFromMemory(of: readonly string[], from: number, to: number) {
      const those = seen.filter(({ at, token }) => at >= from && at < to && of.includes(token));
      expect(those.length).toBeGreaterThan(0);
      const pauseEnds = seen.filter(({ at }, i) => at - (seen[i - 1]?.at ?? at) > HEARTBEAT_MS / 2);
      const asked = those.filter(
        ({ at, isFromMemory }) => !isFromMemory && !pauseEnds.some((end) => at >= end.at && at < end.at + LEASE_MS),
      );
      expect(asked.map(({ at }) => Math.round(at - from))).toEqual([]);
    },
    /** Expects that in this period memory answered no request for these tokens. */
    expectAsked(of: readonly string[], from: number, to: number) {
      const those = seen.filter(({ at, token }) => at >= from && at < to && of.includes(token));
      expect(those.length).toBeGreaterThan(0);
      const fromMemory = those.filter(({ isFromMemory }) => isFromMemory);
      expect(fromMemory.map(({ at }) => Math.round(at - from))).toEqual([]);
    },
  };
}

/** The events of a cache, and the time of its first `cache-up`. */
function cacheEventsOf(sessions: Sessions) {
  const seen = { names: [] as string[], upAt: Number.POSITIVE_INFINITY };
  sessions.on('cache-down', () => seen.names.push('down'));
  sessions.on('cache-up', () => {
    seen.names.push('up');
    seen.upAt = Math.min(seen.upAt, performance.now());
  });
  return seen;
}

/** Down and up, at least once: until all servers know of a promotion, a client may leave the new master again. */
const DOWN_AND_UP = /^down,up(,down,up)*$/;

/** The number of subscriptions to changes on a server. */
async function subscribersAt(server: RedisServer): Promise<number> {
  const [, count = 0] = await ask<[string, number]>(server, 'PUBSUB', 'NUMSUB', `${prefixes.tokenKeyPrefix}:changes`);
  return Number(count);
}

/** The number of calls for sessions on these servers. */
async function scriptCallsAt(servers: readonly RedisServer[]): Promise<number> {
  return (await Promise.all(servers.map(scriptCalls))).reduce((sum, calls) => sum + calls, 0);
}

/** Changes that another process makes to a user with a session, each with the expected answer for its token. */
const CHANGES: Record<string, (far: Sessions, id: string, token: string) => Promise<object | null>> = {
  logout: (far, _, token) => far.deleteToken(token).then(() => null),
  kick: (far, id, token) => far.deleteSession(id, idOf(token)).then(() => null),
  kickOfAll: (far, id) => far.deleteUserToken(id).then(() => null),
  ban: (far, id) => far.banUser(id).then(() => null),
  loginInItsPlace: (far, id, token) => far.createSession(id, { replaces: [token] }).then(() => null),
  useOfARotatedToken: (far, _, token) =>
    far.rotateToken(token).then((next) => far.refreshToken(next as string, 40).then(() => ({ ttl: 40 }))),
  shorterTtl: (far, _, token) => far.refreshToken(token, 50).then(() => ({ ttl: 50 })),
  newInfo: (far, id) => far.refreshUser([id]).then(() => ({ user: { detail: { version: 2 } } })),
  forgottenInfo: (far, id) => far.deleteUser(id).then(() => ({ user: { detail: { version: 2 } } })),
};

const keyOf = (token: string, prefix = prefixes.tokenKeyPrefix) => `${prefix}:{${token.split('.')[0]}}`;

describe('in a Cluster', () => {
  let topology: ClusterTopology;
  let ours: { cluster: { host: string; port: number }[] };

  beforeEach(async () => {
    topology = cluster;
    ours = { cluster: topology.startupNodes };
    await topology.untilHealed();
  });

  /** Signs in this many users on each master. Returns their tokens, by master and user id. */
  async function logIn(sessions: Sessions, users: number): Promise<Map<RedisServer, Map<string, string>>> {
    const onMasters = new Map((await topology.masters()).map((master) => [master, new Map<string, string>()]));
    for (let i = 0; [...onMasters.values()].some((tokens) => tokens.size < users); i++) {
      const token = await sessions.setToken(`user-${i}`);
      const tokens = onMasters.get(await topology.ownerOf(keyOf(token)));
      if (tokens !== undefined && tokens.size < users) tokens.set(`user-${i}`, token);
    }
    await topology.untilReplicated();
    return onMasters;
  }

  const allOf = (onMasters: Map<RedisServer, Map<string, string>>) =>
    [...onMasters.values()].flatMap((tokens) => [...tokens.values()]);

  it('caches answer for users of every master, without a call', async () => {
    const sessions = caching(ours);
    const tokens = allOf(await logIn(sessions, 2));
    await untilFromMemory(sessions, tokens);
    const before = await scriptCallsAt(topology.nodes);
    for (let i = 0; i < 20; i++) {
      for (const token of tokens) expect(await sessions.touchToken(token)).toMatchObject({ token });
    }
    expect(await scriptCallsAt(topology.nodes)).toBe(before);
  });

  it('every end or change in another process takes effect at once, on every master', async () => {
    let version = 1;
    const getUserInfo = () => ({ version });
    const [near, far] = [manage(ours, { cache: { maxAgeMs: MAX_AGE_MS }, getUserInfo }), manage(ours, { getUserInfo })];
    const onMasters = await logIn(near, Object.keys(CHANGES).length);
    await untilFromMemory(near, allOf(onMasters));
    version = 2;
    for (const tokens of onMasters.values()) {
      const users = [...tokens];
      for (const [index, change] of Object.values(CHANGES).entries()) {
        const [id, token] = users[index] as [string, string];
        await untilFromMemory(near, [token]);
        const expected = await change(far, id, token);
        const session = await untilAnnounced(near, token);
        if (expected === null) expect(session).toBeNull();
        else expect(session).toMatchObject(expected);
      }
    }
  });

  describe.each([
    ['killed', (master: RedisServer) => master.kill(), (master: RedisServer) => master.restart()],
    ['paused', async (master: RedisServer) => master.pause(), async (master: RedisServer) => master.resume()],
  ] as const)('a master that is %s', (_, strike, recover) => {
    it('affects its own users alone: no cached answer after two heartbeats, until its replacement announces changes', async () => {
      const [near, far] = [caching(ours, HEARTBEAT_MS, HASTY), manage(ours, {}, HASTY)];
      const onMasters = await logIn(near, 2);
      const [[master, lost], ...others] = [...onMasters] as [[RedisServer, Map<string, string>]];
      const [[kicked, token], [, live]] = [...lost] as [[string, string], [string, string]];
      const spared = allOf(new Map(others));
      await untilFromMemory(near, allOf(onMasters));
      // Listens from here on: after a Cluster has healed, a cache may start in several steps.
      const events = cacheEventsOf(near);
      const seen = watch(near, allOf(onMasters));
      onClose(() => master.isUp || recover(master));

      await strike(master);
      const begin = performance.now();
      await until('cache-down is emitted', () => events.names.includes('down'));
      await untilFromMemory(near, spared);
      const promoted = await topology.untilOwner(keyOf(token), master);
      await until('the cache is up again', () => events.names.at(-1) === 'up');
      await untilFromMemory(near, allOf(onMasters));
      seen.expectAsked([...lost.values()], begin + LEASE_MS, events.upAt);
      seen.expectFromMemory(spared, begin, begin + DOWN_AFTER_MS);
      await until('the new master is listened to', async () => (await subscribersAt(promoted)) === 1);
      await until('it is kicked', () => far.deleteUserToken(kicked).then(() => true));
      expect(await untilAnnounced(near, token)).toBeNull();
      await untilFromMemory(near, [live]);
      await recover(master);
      await topology.untilHealed();
      await until('the old master has no subscription', async () => (await subscribersAt(master)) === 0);
      await answered(() => far.deleteToken(live));
      expect(await untilAnnounced(near, live)).toBeNull();
      await until('the cache is up', () => statsOf(near).isUp);
      expect(events.names.join()).toMatch(DOWN_AND_UP);
    });
  });

  it('a master that hands over to its replica is left, and no end is missed in the meantime', async () => {
    const [near, far] = [caching(ours), manage(ours)];
    const [[master, tokens]] = [...(await logIn(near, 2))] as [[RedisServer, Map<string, string>]];
    const [first, second] = [...tokens.values()] as [string, string];
    const replica = await topology.replicaOf(master);
    await untilFromMemory(near, [first, second]);
    // Without a broken connection.
    await ask(replica, 'CLUSTER', 'FAILOVER');
    await topology.untilOwner(keyOf(first), master);
    // Until its nodes agree, a Cluster may send a call to the former master, which refuses it.
    await answered(() => far.deleteToken(first));
    expect(await untilAnnounced(near, first)).toBeNull();
    await until('the old master has no subscription', async () => (await subscribersAt(master)) === 0);
    await untilFromMemory(near, [second]);
    await answered(() => far.deleteToken(second));
    expect(await untilAnnounced(near, second)).toBeNull();
  });

  it('a session survives the move of its slot, and its end takes effect on either node', async () => {
    const [near, far] = [caching(ours), manage(ours)];
    const tokens = await Promise.all(Array.from({ length: 4 }, () => near.setToken('ada')));
    const [first, second, third, last] = tokens as [string, string, string, string];
    const key = keyOf(last);
    const [from, slot] = [await topology.ownerOf(key), await topology.slotOf(key)];
    const to = (await topology.masters()).find((node) => node !== from) as RedisServer;
    onClose(async () => {
      await topology.migrateKeys(slot, from, to);
      await topology.endMigration(slot, from, to);
    });
    const expectAnnounced = async (token: string) => {
      await answered(() => far.deleteToken(token));
      expect(await untilAnnounced(near, token)).toBeNull();
      expect(await answered(() => near.touchToken(last))).toMatchObject({ user: { id: 'ada' } });
    };
    await untilFromMemory(near, [first, last]);
    await topology.beginMigration(slot, from, to);
    await expectAnnounced(first);
    await untilFromMemory(near, [second, last]);
    await topology.migrateKeys(slot, from, to, [key]);
    await expectAnnounced(second);
    await topology.migrateKeys(slot, from, to);
    await topology.endMigration(slot, from, to);
    await untilFromMemory(near, [third, last]);
    await expectAnnounced(third);
    await untilFromMemory(near, [last]);
    await answered(() => far.banUser('ada'));
    expect(await untilAnnounced(near, last)).toBeNull();
  });

  // Redis 6.2 also redirects a call whose first key has not moved: the other node refuses it, and the first answers.
  it.each([
    ['ioredis', () => new Cluster(topology.startupNodes)],
    ['ioredis 5', () => new Cluster5(topology.startupNodes) as unknown as Cluster],
  ])('a redirection to a node that is receiving a slot counts once that node answers, with %s', async (_, open) => {
    const client = open();
    onClose(() => client.disconnect());
    const keys = ['a', 'b'].map((name) => `{${prefixes.tokenKeyPrefix}}${name}`) as [string, string];
    const [from, slot] = [await topology.ownerOf(keys[0]), await topology.slotOf(keys[0])];
    const to = (await topology.masters()).find((node) => node !== from) as RedisServer;
    onClose(() => Promise.all([from, to].map((node) => ask(node, 'CLUSTER', 'SETSLOT', slot, 'STABLE'))));
    await topology.beginMigration(slot, from, to);
    await client.get('any');
    const node = client.nodes('master').find(({ options }) => options.port === to.port) as Redis;
    catchAsking(node, client);
    for (let i = 0; i < 2; i++) {
      node.asking();
      await expect(node.mget(keys)).rejects.toThrow('TRYAGAIN');
      expect(askingsOf(client)).toBe(i);
      node.asking();
      expect(await Promise.all([node.get(keys[0]), node.ping()])).toEqual([null, 'PONG']);
      expect(askingsOf(client)).toBe(i + 1);
    }
    expect(Object.hasOwn(node, 'sendCommand')).toBe(false);
    // ioredis itself sends a command right after ASKING, also where the application has a sendCommand of its own.
    const sendCommand = jest.fn(node.sendCommand.bind(node));
    node.sendCommand = sendCommand;
    expect(await client.get(keys[0])).toBeNull();
    expect(askingsOf(client)).toBe(3);
    expect(sendCommand.mock.calls.map(([{ name }]) => name)).toEqual(['asking', 'get']);
    expect(node.sendCommand).toBe(sendCommand);
  });

  it.each([
    ['ioredis', () => new Cluster(topology.startupNodes)],
    ['ioredis 5', () => new Cluster5(topology.startupNodes)],
  ])(
    'a Cluster of %s that was passed in is left unchanged when its store closes, without subscriptions',
    async (_, open) => {
      const client = open() as Cluster;
      onClose(() => client.disconnect());
      await expectLeftAlone(client, topology.nodes);
    },
  );

  it('a process survives the move of a slot to a node that dies, closes its manager and ends by itself', async () => {
    const programs = [{}, { OWN_CLIENT: '1' }].map((options) =>
      runProgram('topology.ts', {
        REDIS_CLUSTER: JSON.stringify(topology.startupNodes),
        LASTS_MS: '2500',
        ...options,
      }),
    );
    const key = keyOf(`${tagOf('ada')}.`, 'session-token');
    const [from, slot] = [await topology.ownerOf(key), await topology.slotOf(key)];
    const to = (await topology.masters()).find((node) => node !== from) as RedisServer;
    const begun = keyOf(`${tagOf('zoe')}.`, 'session-token');
    await until('they have begun', async () => {
      return (await ask<number>(await topology.ownerOf(begun), 'HLEN', begun)) === 4;
    });
    await topology.beginMigration(slot, from, to);
    await topology.migrateKeys(slot, from, to);
    await to.kill();
    await sleep(300);
    await to.restart();
    const outcomes = await Promise.all(programs);
    expect(outcomes.map(({ stdout }) => stdout)).toEqual(['closed\n', 'ready\nclosed\n']);
    await topology.untilHealed();
    for (const node of await topology.masters()) await ask(node, 'CLUSTER', 'SETSLOT', slot, 'STABLE');
  });
});

describe('in a Cluster whose nodes exchange no messages', () => {
  let topology: ClusterTopology;
  let ours: { cluster: { host: string; port: number }[] };

  beforeEach(() => {
    topology = splitCluster;
    ours = { cluster: topology.startupNodes };
  });

  it('a revocation still arrives from every master', async () => {
    const [near, far] = [caching(ours), manage(ours)];
    const onMasters = new Map<RedisServer, string>();
    const masters = await topology.masters();
    for (let i = 0; onMasters.size < masters.length; i++) {
      const token = await near.setToken(`user-${i}`);
      onMasters.set(await topology.ownerOf(keyOf(token)), token);
    }
    await untilFromMemory(near, [...onMasters.values()]);
    const [one, another] = masters as [RedisServer, RedisServer];
    expect(await receivedAt(one, [another, one])).toEqual([one.url]);
    for (const token of onMasters.values()) {
      await untilFromMemory(near, [token]);
      await far.deleteToken(token);
      expect(await untilAnnounced(near, token)).toBeNull();
    }
  });

  it('a revocation on a node without a subscription is noticed at the next look-up of the slots', async () => {
    const [near, far] = [caching(ours), manage(ours)];
    const token = await near.setToken('ada');
    await untilFromMemory(near, [token]);
    const from = await topology.ownerOf(keyOf(token));
    const to = topology.nodes.at(-1) as RedisServer;
    const slot = await topology.slotOf(keyOf(token));
    await topology.beginMigration(slot, from, to);
    await topology.migrateKeys(slot, from, to);
    await topology.endMigration(slot, from, to);
    await answered(() => far.deleteToken(token));
    await until('it is asked again', () => !isFromMemory(near, token), ANNOUNCED_MS);
    expect(await answered(() => near.touchToken(token))).toBeNull();
  });

  it('a master that sees no others accepts no writes, and no cache relies on it after two heartbeats', async () => {
    const near = caching(ours, HEARTBEAT_MS);
    const token = await near.setToken('ada');
    const master = await topology.ownerOf(keyOf(token));
    await untilFromMemory(near, [token]);
    await ask(master, 'CONFIG', 'SET', 'cluster-node-timeout', DOWN_AFTER_MS);
    const hasFailed = async () => (await askInfo(master, 'CLUSTER', 'INFO')).cluster_state === 'fail';
    await until('it takes no more writes', hasFailed);
    await sleep(LEASE_MS);
    expect(isFromMemory(near, token)).toBe(false);
    // The master answers, and its subscription is kept.
    expect(await subscribersAt(master)).toBe(1);
  });

  /** Publishes a message at each server, and returns those received at a node, which must include the last one. */
  async function receivedAt(node: RedisServer, publishers: readonly RedisServer[]): Promise<string[]> {
    const listener = new Redis(node.url);
    onClose(() => listener.disconnect());
    const received: string[] = [];
    listener.on('message', (_channel, message) => received.push(message));
    await listener.subscribe('test');
    for (const publisher of publishers) await ask(publisher, 'PUBLISH', 'test', publisher.url);
    await until('the last message arrives', () => received.includes(publishers.at(-1)?.url ?? ''));
    return received;
  }
});

describe('behind Sentinels', () => {
  const topologyFor = (scene: string) => {
    const topology = sentinels.get(scene) as SentinelTopology;
    return { topology, ours: { sentinels: topology.sentinels, name: topology.name } };
  };

  it.each([
    ['killed', (master: RedisServer) => master.kill(), (master: RedisServer) => master.restart()],
    ['paused', async (master: RedisServer) => master.pause(), async (master: RedisServer) => master.resume()],
  ] as const)(
    'a master that is %s is not trusted beyond two heartbeats, and the promoted one is subscribed to',
    async (scene, strike, recover) => {
      const { topology, ours } = topologyFor(scene);
      await followedThrough(topology, ours, { strike, recover, isSilent: true });
    },
  );

  it('a master that hands over to its replica is left, and the promoted one is subscribed to', async () => {
    const { topology, ours } = topologyFor('handing over');
    const sentinel = topology.sentinelServers[0] as RedisServer;
    await followedThrough(topology, ours, {
      strike: () => ask(sentinel, 'SENTINEL', 'FAILOVER', topology.name),
      recover: async () => undefined,
      isSilent: false,
    });
  });

  interface Promotion {
    strike(master: RedisServer): Promise<unknown>;
    recover(master: RedisServer): Promise<unknown>;
    /** Whether the master answers no more calls after the strike. */
    isSilent: boolean;
  }

  async function followedThrough(topology: SentinelTopology, ours: object, { strike, recover, isSilent }: Promotion) {
    const [near, far] = [caching(ours as Target, HEARTBEAT_MS, HASTY), manage(ours as Target, {}, HASTY)];
    const tokens = await Promise.all(['ada', 'bob', 'eve'].map((user) => near.setToken(user)));
    const [loggedOut, banned, live] = tokens as [string, string, string];
    await topology.untilReplicated();
    await untilFromMemory(near, tokens);
    const events = cacheEventsOf(near);
    const seen = watch(near, tokens);
    const master = await topology.master();

    await strike(master);
    const begin = performance.now();
    await until('cache-down is emitted', () => events.names.includes('down'));
    const promoted = await topology.untilMaster(master);
    await until('the cache is up again', () => events.names.at(-1) === 'up');
    await untilFromMemory(near, tokens);
    if (isSilent) seen.expectAsked(tokens, begin + LEASE_MS, events.upAt);
    await until('the new master is listened to', async () => (await subscribersAt(promoted)) === 1);
    await answered(() => far.deleteToken(loggedOut));
    expect(await untilAnnounced(near, loggedOut)).toBeNull();
    await untilFromMemory(near, [live]);

    await recover(master);
    await until('the old master has no subscription', async () => (await subscribersAt(master)) === 0);
    await answered(() => far.banUser('bob'));
    expect(await untilAnnounced(near, banned)).toBeNull();
    // A Sentinel that is not yet up to date leads back to the old master, for a moment.
    await until('the cache is up', () => statsOf(near).isUp);
    expect(events.names.join()).toMatch(DOWN_AND_UP);
  }

  it('clients that were passed in are followed to the next master, and left unchanged when their stores close', async () => {
    const { topology, ours } = topologyFor('handed in');
    const clients = [new Redis(ours), new Redis5(ours)] as Redis[];
    onClose(() => clients.map((client) => client.disconnect()));
    const [near, other] = clients.map((client) => caching(client)) as [Sessions, Sessions];
    const far = manage(ours);
    const token = await near.setToken('ada');
    await topology.untilReplicated();
    for (const sessions of [near, other]) await untilFromMemory(sessions, [token]);
    const master = await topology.master();
    await ask(topology.sentinelServers[0] as RedisServer, 'SENTINEL', 'FAILOVER', topology.name);
    const promoted = await topology.untilMaster(master);
    await until('it is listened to', async () => (await subscribersAt(promoted)) === clients.length);
    for (const sessions of [near, other]) await untilFromMemory(sessions, [token]);
    await answered(() => far.deleteToken(token));
    for (const sessions of [near, other]) expect(await untilAnnounced(sessions, token)).toBeNull();
    for (const sessions of [near, other]) await sessions.close();
    for (const client of clients) await expectLeftAlone(client, topology.nodes);
  });

  it('a subscription that finds no Sentinel is made once there are some, even by a client that does not retry', async () => {
    const { topology, ours } = topologyFor('handed in');
    const client = new Redis({ ...ours, sentinelRetryStrategy: () => null });
    onClose(() => client.disconnect());
    const near = caching(client, HEARTBEAT_MS, HASTY);
    const { names } = cacheEventsOf(near);
    const token = await answered(() => near.setToken('ada'));
    await untilFromMemory(near, [token]);
    await Promise.all(topology.sentinelServers.map((sentinel) => sentinel.kill()));
    onClose(() => Promise.all(topology.sentinelServers.map((sentinel) => sentinel.isUp || sentinel.restart())));
    for (const node of topology.nodes) await ask(node, 'CLIENT', 'KILL', 'TYPE', 'pubsub');
    await until('cache-down is emitted', () => names.includes('down'));
    await sleep(3 * HEARTBEAT_MS);
    await Promise.all(topology.sentinelServers.map((sentinel) => sentinel.restart()));
    await untilFromMemory(near, [token]);
  });

  it('a process closes its manager and ends by itself', async () => {
    const { ours } = topologyFor('handed in');
    const programs = [{}, { OWN_CLIENT: '1' }].map((options) =>
      runProgram('topology.ts', { REDIS_SENTINELS: JSON.stringify(ours), LASTS_MS: '0', ...options }),
    );
    const outcomes = await Promise.all(programs);
    expect(outcomes.map(({ stdout }) => stdout)).toEqual(['closed\n', 'ready\nclosed\n']);
  });

  it('a master that the Sentinels have dropped is left by subscription and calls alike', async () => {
    // The last scene of this topology.
    const { topology, ours } = topologyFor('handed in');
    await topology.untilHealed();
    const near = caching(ours);
    const token = await near.setToken('ada');
    await topology.untilReplicated();
    await untilFromMemory(near, [token]);
    const master = await topology.master();
    const [next] = (await topology.replicas()) as [RedisServer];
    await ask(next, 'REPLICAOF', 'NO', 'ONE');
    for (const sentinel of topology.sentinelServers) {
      await ask(sentinel, 'SENTINEL', 'REMOVE', topology.name);
      await ask(sentinel, 'SENTINEL', 'MONITOR', topology.name, '127.0.0.1', next.port, 2);
    }
    const far = manage(ours);
    // The subscription gets no notice.
    await ask(master, 'CLIENT', 'KILL', 'TYPE', 'normal');
    await until('the calls lead to the other one', () => near.checkToken(token));
    await untilFromMemory(near, [token]);
    await answered(() => far.deleteToken(token));
    expect(await untilAnnounced(near, token)).toBeNull();
    await until('the old master has no subscription', async () => (await subscribersAt(master)) === 0);
  });
});

/** Expects that a store with a near cache leaves a passed client unchanged. */
async function expectLeftAlone(client: Redis | Cluster, servers: readonly RedisServer[]): Promise<void> {
  await client.ping();
  // Every store leaves some listeners on a Cluster, once.
  await manage(client).close();
  const listeners = () => client.eventNames().map((name) => [name, client.listenerCount(name)]);
  const before = listeners();
  const sessions = caching(client);
  const token = await sessions.setToken('eve');
  await untilFromMemory(sessions, [token]);
  await sessions.close();
  // One that has not yet subscribed.
  await caching(client).close();
  expect(await client.ping()).toBe('PONG');
  expect(listeners()).toEqual(before);
  const isLeft = async () => (await Promise.all(servers.map(subscribersAt))).every((count) => count === 0);
  await until('no subscription is left', isLeft);
  await sleep(100);
  expect(await isLeft()).toBe(true);
}
