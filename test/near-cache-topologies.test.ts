import { setTimeout as sleep } from 'node:timers/promises';
import { Cluster, Redis } from 'ioredis';
import { Cluster as Cluster5, Redis as Redis5 } from 'ioredis5';
import { RedisStore, type Session, TokenManager, type TokenManagerOptions } from 'tokensession';
import { tagOf } from '../src/token/token';
import { closeAfterEach } from './support/closing';
import { type ClusterTopology, startClusterTopology } from './support/cluster-topology';
import { runProgram } from './support/programs';
import { ask, askInfo, type RedisServer, startRedis } from './support/redis-server';
import { type SentinelTopology, startSentinelTopology } from './support/sentinel-topology';
import { PATIENT, randomPrefixes, SECRET } from './support/stores';
import { answered, until } from './support/until';

/** For processes whose servers fail: calls to a server that is silent. */
const HASTY = { timeoutMs: 2500 };
/** So long that within a test nothing but an announcement, or its absence, makes a cache ask again. */
const MAX_AGE_MS = 60_000;
/** How long an announcement may take on a busy machine. */
const HEARD_MS = 10_000;
/**
 * Where servers fail: shorter than the default, and longer than this process is held up on a machine that has other
 * things to do.
 */
const HEARTBEAT_MS = 1000;
/** How long a server that says nothing may be taken for well: two heartbeats, and for a signal to arrive. */
const LEASE_MS = 2 * HEARTBEAT_MS + 50;
/** Until the others may call a server down that says nothing. */
const DOWN_AFTER_MS = 3000;
/** For nodes that must not call each other down, though they hear nothing of each other. */
const NEVER_MS = 3_600_000;

type Target = ConstructorParameters<typeof RedisStore>[0];
type Sessions = TokenManager<{ version: number }>;

let cluster: ClusterTopology;
/** A Cluster whose nodes hear nothing of each other, one of them without slots. */
let deafCluster: ClusterTopology;
/** One for each test: a master that was away takes longer to come back into its place than all of them to start. */
const sentinels = new Map<string, SentinelTopology>();

beforeAll(async () => {
  const starting = ['killed', 'paused', 'replaced', 'forgotten', 'handed in'].map(async (scene) => {
    sentinels.set(scene, await startSentinelTopology({ replicas: 1, downAfterMs: DOWN_AFTER_MS }));
  });
  const started = await Promise.allSettled([
    startClusterTopology({ nodeTimeoutMs: DOWN_AFTER_MS }).then((topology) => {
      cluster = topology;
    }),
    startClusterTopology({ replicas: 0, spares: 1, nodeTimeoutMs: NEVER_MS, hasBreakableBus: true }).then(
      (topology) => {
        deafCluster = topology;
        topology.breakBus();
      },
    ),
    ...starting,
  ]);
  for (const outcome of started) if (outcome.status === 'rejected') throw outcome.reason;
});
afterAll(() => Promise.all([cluster, deafCluster, ...sentinels.values()].map((topology) => topology?.stop())));

const onClose = closeAfterEach();
let prefixes: ReturnType<typeof randomPrefixes>;

beforeEach(() => {
  prefixes = randomPrefixes();
});

/** A process with a near cache. */
function caching(target: Target, heartbeatMs?: number, timing = PATIENT): Sessions {
  return manage(target, { cache: { maxAgeMs: MAX_AGE_MS, heartbeatMs } }, timing);
}

/** Another process, unless told otherwise without a near cache. */
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

/** Asks for a session, and tells whether it was memory that answered: that is known at once. */
function touch(sessions: Sessions, token: string) {
  const { hits } = statsOf(sessions);
  const answer = sessions.touchToken(token);
  return { isFromMemory: statsOf(sessions).hits > hits, answer };
}

/** {@link touch}, whatever becomes of the answer. */
function isFromMemory(sessions: Sessions, token: string): boolean {
  const { isFromMemory, answer } = touch(sessions, token);
  answer.catch(() => undefined);
  return isFromMemory;
}

async function untilFromMemory(sessions: Sessions, tokens: readonly string[], timeoutMs?: number): Promise<void> {
  const areFromMemory = async () => {
    const touched = tokens.map((token) => touch(sessions, token));
    await Promise.all(touched.map(({ answer }) => answer));
    return touched.every(({ isFromMemory }) => isFromMemory);
  };
  await until('memory answers for all of them', areFromMemory, timeoutMs);
}

/** Waits until a session is not answered from memory any more, and gives what is answered then. */
async function untilHeard(sessions: Sessions, token: string): Promise<Session<{ version: number }> | null> {
  const isHeard = async () => {
    const { isFromMemory, answer } = touch(sessions, token);
    const session = await answer;
    return isFromMemory ? undefined : { session };
  };
  return (await until('it is heard', isHeard, HEARD_MS)).session;
}

/** Requests at a steady rate, and whether memory answered. */
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
     * That in that time all requests for these tokens were answered from memory. A process that is held up for a
     * heartbeat believes nothing that it kept before.
     */
    expectFromMemory(of: readonly string[], from: number, to: number) {
      const those = seen.filter(({ at, token }) => at >= from && at < to && of.includes(token));
      const pauses = those.slice(1).map(({ at }, i) => at - (those[i]?.at ?? 0));
      if (Math.max(...pauses) > HEARTBEAT_MS / 2) return;
      const asked = those.filter(({ isFromMemory }) => !isFromMemory);
      expect(asked.map(({ at }) => Math.round(at - from))).toEqual([]);
    },
    /** That in that time no request for these tokens was answered from memory. */
    expectAsked(of: readonly string[], from: number, to: number) {
      const those = seen.filter(({ at, token }) => at >= from && at < to && of.includes(token));
      expect(those.length).toBeGreaterThan(0);
      const fromMemory = those.filter(({ isFromMemory }) => isFromMemory);
      expect(fromMemory.map(({ at }) => Math.round(at - from))).toEqual([]);
    },
  };
}

/** What a manager has told of its cache, and when it first told that it is up. */
function cacheEventsOf(sessions: Sessions) {
  const seen = { told: [] as string[], upAt: Number.POSITIVE_INFINITY };
  sessions.on('cache-down', () => seen.told.push('down'));
  sessions.on('cache-up', () => {
    seen.told.push('up');
    seen.upAt = Math.min(seen.upAt, performance.now());
  });
  return seen;
}

/** Goes down and up, at least once: what takes a server's place may be left again for a moment, until all know of it. */
const DOWN_AND_UP = /^down,up(,down,up)*$/;

/** How many are subscribed to the changes there. */
async function subscribersAt(server: RedisServer): Promise<number> {
  const [, count = 0] = await ask<[string, number]>(server, 'PUBSUB', 'NUMSUB', `${prefixes.tokenKeyPrefix}:changes`);
  return Number(count);
}

/** How often these servers have been asked for sessions. */
async function scriptCallsAt(servers: readonly RedisServer[]): Promise<number> {
  const infos = await Promise.all(servers.map((server) => askInfo(server, 'INFO', 'commandstats')));
  const calls = infos.flatMap((info) => [info.cmdstat_evalsha, info.cmdstat_eval]);
  return calls.reduce((sum, text) => sum + Number(text?.match(/calls=(\d+)/)?.[1] ?? 0), 0);
}

/**
 * What another process does to a user with a session; and what is to be answered for its token then, `null` for
 * nothing.
 */
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
const idOf = (token: string) => token.split('.')[1] as string;

describe('in a Cluster', () => {
  let topology: ClusterTopology;
  let ours: { cluster: { host: string; port: number }[] };

  beforeEach(async () => {
    topology = cluster;
    ours = { cluster: topology.startupNodes };
    await topology.untilHealed();
  });

  /** Signs in that many users on each of the masters; the tokens, by their user's id, of each master. */
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

  it.each([
    ['ours', () => ours],
    ["an ioredis Cluster of the application's own", () => new Cluster(topology.startupNodes)],
    ['an ioredis 5 Cluster', () => new Cluster5(topology.startupNodes)],
  ])(
    'with a client that is %s, memory answers for the users of every master, and none of them is asked',
    async (_, client) => {
      const target = client() as Target;
      if (target instanceof Cluster || target instanceof Cluster5) onClose(() => target.disconnect());
      const sessions = caching(target);
      const tokens = allOf(await logIn(sessions, 2));
      await untilFromMemory(sessions, tokens);
      const before = await scriptCallsAt(topology.nodes);
      for (let i = 0; i < 20; i++) {
        for (const token of tokens) expect(await sessions.touchToken(token)).toMatchObject({ token });
      }
      expect(await scriptCallsAt(topology.nodes)).toBe(before);
    },
  );

  it('whatever ends or changes a session in another process is heard at once, on every master', async () => {
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
        const session = await untilHeard(near, token);
        if (expected === null) expect(session).toBeNull();
        else expect(session).toMatchObject(expected);
      }
    }
  });

  describe.each([
    ['killed', (master: RedisServer) => master.kill(), (master: RedisServer) => master.restart()],
    ['paused', async (master: RedisServer) => master.pause(), async (master: RedisServer) => master.resume()],
  ] as const)('a master that is %s', (_, strike, recover) => {
    it('leaves the users of the others to memory, its own to nobody after two heartbeats, until who takes its place is heard', async () => {
      const [near, far] = [caching(ours, HEARTBEAT_MS, HASTY), manage(ours, {}, HASTY)];
      const onMasters = await logIn(near, 2);
      const [[master, lost], ...others] = [...onMasters] as [[RedisServer, Map<string, string>]];
      const [[kicked, token], [, live]] = [...lost] as [[string, string], [string, string]];
      const spared = allOf(new Map(others));
      await untilFromMemory(near, allOf(onMasters));
      // From here on: a Cluster that has just healed may bring a cache up in several steps.
      const events = cacheEventsOf(near);
      const seen = watch(near, allOf(onMasters));
      onClose(() => master.isUp || recover(master));

      await strike(master);
      const begin = performance.now();
      await until('the cache is known to be down', () => events.told.includes('down'));
      await untilFromMemory(near, spared);
      const promoted = await topology.untilOwner(keyOf(token), master);
      await until('the cache is up again', () => events.told.at(-1) === 'up');
      await untilFromMemory(near, allOf(onMasters));
      seen.expectAsked([...lost.values()], begin + LEASE_MS, events.upAt);
      seen.expectFromMemory(spared, begin, begin + DOWN_AFTER_MS);
      await until('the new master is listened to', async () => (await subscribersAt(promoted)) === 1);
      await until('it is kicked', () => far.deleteUserToken(kicked).then(() => true));
      expect(await untilHeard(near, token)).toBeNull();
      await untilFromMemory(near, [live]);
      await recover(master);
      await topology.untilHealed();
      await until('nobody listens to the old master', async () => (await subscribersAt(master)) === 0);
      await answered(() => far.deleteToken(live));
      expect(await untilHeard(near, live)).toBeNull();
      await until('the cache is up', () => statsOf(near).isUp);
      expect(events.told.join()).toMatch(DOWN_AND_UP);
    });
  });

  it('a master that hands over to its replica is left, and nothing that ends meanwhile is missed', async () => {
    const [near, far] = [caching(ours), manage(ours)];
    const [[master, tokens]] = [...(await logIn(near, 2))] as [[RedisServer, Map<string, string>]];
    const [first, second] = [...tokens.values()] as [string, string];
    const replica = await topology.replicaOf(master);
    await untilFromMemory(near, [first, second]);
    // No connection breaks.
    await ask(replica, 'CLUSTER', 'FAILOVER');
    await topology.untilOwner(keyOf(first), master);
    // Until its nodes agree, a Cluster may send a call to the former master, which refuses it.
    await answered(() => far.deleteToken(first));
    expect(await untilHeard(near, first)).toBeNull();
    await until('nobody listens to the old master', async () => (await subscribersAt(master)) === 0);
    await untilFromMemory(near, [second]);
    await answered(() => far.deleteToken(second));
    expect(await untilHeard(near, second)).toBeNull();
  });

  it('a session whose slot moves to another node goes on, and its end is heard wherever it is', async () => {
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
    const expectHeard = async (token: string) => {
      await answered(() => far.deleteToken(token));
      expect(await untilHeard(near, token)).toBeNull();
      expect(await answered(() => near.touchToken(last))).toMatchObject({ user: { id: 'ada' } });
    };
    await untilFromMemory(near, [first, last]);
    await topology.beginMigration(slot, from, to);
    await expectHeard(first);
    await untilFromMemory(near, [second, last]);
    await topology.migrateKeys(slot, from, to, [key]);
    await expectHeard(second);
    await topology.migrateKeys(slot, from, to);
    await topology.endMigration(slot, from, to);
    await untilFromMemory(near, [third, last]);
    await expectHeard(third);
    await untilFromMemory(near, [last]);
    await answered(() => far.banUser('ada'));
    expect(await untilHeard(near, last)).toBeNull();
  });

  it.each([
    ['a Cluster', () => new Cluster(topology.startupNodes, { keyPrefix: 'app:' })],
    ['the nodes of a Cluster', () => new Cluster(topology.startupNodes, { redisOptions: { keyPrefix: 'app:' } })],
    ['an ioredis 5 Cluster', () => new Cluster5(topology.startupNodes, { keyPrefix: 'app:' })],
  ])('a keyPrefix of %s is part of what is announced and listened to', async (_, open) => {
    const clients = [open(), open()] as Cluster[];
    onClose(() => clients.map((client) => client.disconnect()));
    const [near, far] = [caching(clients[0]), manage(clients[1])];
    const tokens = await Promise.all(['ada', 'bob', 'eve', 'joe', 'kim', 'liz'].map((user) => near.setToken(user)));
    for (const token of tokens) {
      await untilFromMemory(near, [token]);
      await far.deleteToken(token);
      expect(await untilHeard(near, token)).toBeNull();
    }
  });

  it.each([
    ['ioredis', () => new Cluster(topology.startupNodes)],
    ['ioredis 5', () => new Cluster5(topology.startupNodes)],
  ])(
    'a Cluster of %s that was handed in is left as it was when its store closes, and nobody listens any more',
    async (_, open) => {
      const client = open() as Cluster;
      onClose(() => client.disconnect());
      await expectLeftAlone(client, topology.nodes);
    },
  );

  it('a process goes on while a slot moves to a node that dies, closes its manager and ends by itself', async () => {
    const programs = [{}, { OWN_CLIENT: '1' }].map((options) =>
      runProgram('topology-program.ts', {
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

describe('in a Cluster whose nodes hear nothing of each other', () => {
  let topology: ClusterTopology;
  let ours: { cluster: { host: string; port: number }[] };

  beforeEach(() => {
    topology = deafCluster;
    ours = { cluster: topology.startupNodes };
  });

  it('a revocation is heard all the same, from every master', async () => {
    const [near, far] = [caching(ours), manage(ours)];
    const onMasters = new Map<RedisServer, string>();
    const masters = await topology.masters();
    for (let i = 0; onMasters.size < masters.length; i++) {
      const token = await near.setToken(`user-${i}`);
      onMasters.set(await topology.ownerOf(keyOf(token)), token);
    }
    await untilFromMemory(near, [...onMasters.values()]);
    const [one, another] = masters as [RedisServer, RedisServer];
    expect(await areHeardAt(one, [another, one])).toEqual([one.url]);
    for (const token of onMasters.values()) {
      await untilFromMemory(near, [token]);
      await far.deleteToken(token);
      expect(await untilHeard(near, token)).toBeNull();
    }
  });

  it('a revocation at a node that nobody listened to is not overlooked for longer than until the slots are looked at', async () => {
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
    await until('it is asked again', () => !isFromMemory(near, token), HEARD_MS);
    expect(await answered(() => near.touchToken(token))).toBeNull();
  });

  it('a master that knows of no others takes no more writes, and after two heartbeats nobody is answered from memory', async () => {
    const near = caching(ours, HEARTBEAT_MS);
    const token = await near.setToken('ada');
    const master = await topology.ownerOf(keyOf(token));
    await untilFromMemory(near, [token]);
    await ask(master, 'CONFIG', 'SET', 'cluster-node-timeout', DOWN_AFTER_MS);
    const hasFailed = async () => (await askInfo(master, 'CLUSTER', 'INFO')).cluster_state === 'fail';
    await until('it takes no more writes', hasFailed);
    await sleep(LEASE_MS);
    expect(isFromMemory(near, token)).toBe(false);
    // It answers, and its subscription holds.
    expect(await subscribersAt(master)).toBe(1);
  });

  /** Which of those who tell something are heard at a node, the last of whom is. */
  async function areHeardAt(node: RedisServer, tellers: readonly RedisServer[]): Promise<string[]> {
    const listener = new Redis(node.url);
    onClose(() => listener.disconnect());
    const heard: string[] = [];
    listener.on('message', (_channel, message) => heard.push(message));
    await listener.subscribe('test');
    for (const teller of tellers) await ask(teller, 'PUBLISH', 'test', teller.url);
    await until('the last is heard', () => heard.includes(tellers.at(-1)?.url ?? ''));
    return heard;
  }
});

describe('behind Sentinels', () => {
  const topologyFor = (scene: string) => {
    const topology = sentinels.get(scene) as SentinelTopology;
    return { topology, ours: { sentinels: topology.sentinels, name: topology.name } };
  };

  it.each(['killed', 'paused', 'replaced'] as const)(
    'a master that is %s is not believed beyond two heartbeats, and the one that takes its place is listened to',
    async (scene) => {
      const { topology, ours } = topologyFor(scene);
      const [near, far] = [caching(ours, HEARTBEAT_MS, HASTY), manage(ours, {}, HASTY)];
      const tokens = await Promise.all(['ada', 'bob', 'eve'].map((user) => near.setToken(user)));
      const [loggedOut, banned, live] = tokens as [string, string, string];
      await topology.untilReplicated();
      await untilFromMemory(near, tokens);
      const events = cacheEventsOf(near);
      const seen = watch(near, tokens);
      const master = await topology.master();

      if (scene === 'killed') await master.kill();
      else if (scene === 'paused') master.pause();
      else await ask(topology.sentinelServers[0] as RedisServer, 'SENTINEL', 'FAILOVER', topology.name);
      const begin = performance.now();
      await until('the cache is known to be down', () => events.told.includes('down'));
      const promoted = await topology.untilMaster(master);
      await until('the cache is up again', () => events.told.at(-1) === 'up');
      await untilFromMemory(near, tokens);
      if (scene !== 'replaced') seen.expectAsked(tokens, begin + LEASE_MS, events.upAt);
      await until('the new master is listened to', async () => (await subscribersAt(promoted)) === 1);
      await answered(() => far.deleteToken(loggedOut));
      expect(await untilHeard(near, loggedOut)).toBeNull();
      await untilFromMemory(near, [live]);

      if (scene === 'killed') await master.restart();
      if (scene === 'paused') master.resume();
      await until('nobody listens to the old master', async () => (await subscribersAt(master)) === 0);
      await answered(() => far.banUser('bob'));
      expect(await untilHeard(near, banned)).toBeNull();
      // A Sentinel that hasn't heard yet leads back to the old master, for a moment.
      await until('the cache is up', () => statsOf(near).isUp);
      expect(events.told.join()).toMatch(DOWN_AND_UP);
    },
  );

  it('a master that the Sentinels have forgotten is left by the subscription when the calls leave it', async () => {
    const { topology, ours } = topologyFor('forgotten');
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
    // The subscription is not told.
    await ask(master, 'CLIENT', 'KILL', 'TYPE', 'normal');
    await until('the calls lead to the other one', () => near.checkToken(token));
    await untilFromMemory(near, [token]);
    await answered(() => far.deleteToken(token));
    expect(await untilHeard(near, token)).toBeNull();
    await until('nobody listens to the old master', async () => (await subscribersAt(master)) === 0);
  });

  it('clients that were handed in are followed to the next master, and left as they were when their stores close', async () => {
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
    for (const sessions of [near, other]) expect(await untilHeard(sessions, token)).toBeNull();
    for (const sessions of [near, other]) await sessions.close();
    for (const client of clients) await expectLeftAlone(client, topology.nodes);
  });

  it('a subscription that finds no Sentinel is made when there are some again, also by a client that does not ask twice', async () => {
    const { topology, ours } = topologyFor('handed in');
    const client = new Redis({ ...ours, sentinelRetryStrategy: () => null });
    onClose(() => client.disconnect());
    const near = caching(client, HEARTBEAT_MS, HASTY);
    const { told } = cacheEventsOf(near);
    const token = await answered(() => near.setToken('ada'));
    await untilFromMemory(near, [token]);
    await Promise.all(topology.sentinelServers.map((sentinel) => sentinel.kill()));
    onClose(() => Promise.all(topology.sentinelServers.map((sentinel) => sentinel.isUp || sentinel.restart())));
    for (const node of topology.nodes) await ask(node, 'CLIENT', 'KILL', 'TYPE', 'pubsub');
    await until('the cache is known to be down', () => told.includes('down'));
    await sleep(3 * HEARTBEAT_MS);
    await Promise.all(topology.sentinelServers.map((sentinel) => sentinel.restart()));
    await untilFromMemory(near, [token]);
  });

  it('a process closes its manager and ends by itself', async () => {
    const { ours } = topologyFor('handed in');
    const programs = [{}, { OWN_CLIENT: '1' }].map((options) =>
      runProgram('topology-program.ts', { REDIS_SENTINELS: JSON.stringify(ours), LASTS_MS: '0', ...options }),
    );
    const outcomes = await Promise.all(programs);
    expect(outcomes.map(({ stdout }) => stdout)).toEqual(['closed\n', 'ready\nclosed\n']);
  });
});

it.each([
  ['ioredis', (url: string) => new Redis(url, { keyPrefix: 'app:' })],
  ['ioredis 5', (url: string) => new Redis5(url, { keyPrefix: '{app}:' })],
])('a keyPrefix of a Redis of %s is part of what is announced and listened to', async (_, open) => {
  const server = await startRedis();
  onClose(() => server.stop());
  const clients = [open(server.url), open(server.url)] as Redis[];
  onClose(() => clients.map((client) => client.disconnect()));
  const [near, far] = [caching(clients[0]), manage(clients[1])];
  const token = await near.setToken('ada');
  await untilFromMemory(near, [token]);
  await far.deleteToken(token);
  expect(await untilHeard(near, token)).toBeNull();
  // Of those without it, there are others.
  expect(await subscribersAt(server)).toBe(0);
});

/** Of a client that was handed in: a store with a near cache leaves it as it was. */
async function expectLeftAlone(client: Redis | Cluster, servers: readonly RedisServer[]): Promise<void> {
  await client.ping();
  // What every store leaves on a Cluster, once.
  await manage(client).close();
  const listeners = () => client.eventNames().map((name) => [name, client.listenerCount(name)]);
  const before = listeners();
  const sessions = caching(client);
  const token = await sessions.setToken('eve');
  await untilFromMemory(sessions, [token]);
  await sessions.close();
  // One that hasn't come to listen yet.
  await caching(client).close();
  expect(await client.ping()).toBe('PONG');
  expect(listeners()).toEqual(before);
  const isLeft = async () => (await Promise.all(servers.map(subscribersAt))).every((count) => count === 0);
  await until('nobody listens any more', isLeft);
  await sleep(100);
  expect(await isLeft()).toBe(true);
}
