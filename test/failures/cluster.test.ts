import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { Cluster } from 'ioredis';
import { Cluster as Cluster5 } from 'ioredis5';
import { createRedisClient, RedisStore, type RedisStoreOptions, TokenManager } from 'tokensession';
import { ACL_LOGIN, aclsIn, refusalsOf, setAcl } from '../support/acl';
import { closeAfterEach } from '../support/closing';
import { type ClusterTopology, startClusterTopology } from '../support/cluster-topology';
import { runProgram } from '../support/programs';
import { ask, freePort, type RedisServer } from '../support/redis-server';
import { PATIENT, randomPrefixes, SECRET } from '../support/stores';
import { startTraffic } from '../support/traffic';
import { answered, until } from '../support/until';

/** Where servers fail. */
const TIMEOUT_MS = 2500;
/** The margin of a call beyond its deadline on a busy machine; shorter than a deadline. */
const SLACK_MS = 900;
/** How long after the other nodes mark a master as down all users must be served again. */
const BACK_MS = 15_000;

let topology: ClusterTopology;
let prefixes: ReturnType<typeof randomPrefixes>;
const onClose = closeAfterEach();

beforeAll(async () => {
  topology = await startClusterTopology();
});
afterAll(() => topology.stop());
beforeEach(() => {
  prefixes = randomPrefixes();
});

type Target = ConstructorParameters<typeof RedisStore>[0];

function manage(target: Target | Cluster = { cluster: topology.startupNodes }, options: RedisStoreOptions = {}) {
  const store = new RedisStore(target, { ...PATIENT, ...prefixes, ...options });
  const manager = new TokenManager<{ name: string }>({ store, secret: SECRET, getUserInfo: (id) => ({ name: id }) });
  onClose(() => manager.close());
  return manager;
}

const keyOf = (token: string, prefix = prefixes.tokenKeyPrefix) => `${prefix}:{${token.split('.')[0]}}`;

async function logIn(sessions: TokenManager<{ name: string }>, users: number): Promise<Map<string, string>> {
  const ids = Array.from({ length: users }, (_, i) => `user-${i}`);
  const tokens = await Promise.all(ids.map((id) => sessions.setToken(id)));
  await topology.untilReplicated();
  return new Map(ids.map((id, i) => [id, tokens[i] as string]));
}

/** The tokens whose users are on that node. */
async function tokensOn(node: RedisServer, tokens: Iterable<string>): Promise<string[]> {
  const owners = await Promise.all(
    [...tokens].map(async (token) => [token, await topology.ownerOf(keyOf(token))] as const),
  );
  return owners.filter(([, owner]) => owner === node).map(([token]) => token);
}

describe('a Cluster', () => {
  it('supports everything that a single Redis does, for users on every node, with our client or your own', async () => {
    const own = [new Cluster(topology.startupNodes), new Cluster5(topology.startupNodes)];
    onClose(() => own.map((client) => client.disconnect()));
    for (const target of [
      { cluster: topology.startupNodes },
      createRedisClient({ cluster: topology.startupNodes }),
      ...own,
    ]) {
      const sessions = manage(target as Target);
      const tokens = await logIn(sessions, 30);
      for (const [id, token] of tokens) {
        const second = await sessions.setToken(id, 60, { device: 'web' });
        expect(await sessions.touchToken(token)).toMatchObject({ user: { id, detail: { name: id } } });
        expect(await sessions.refreshToken(second, 50)).toBe(true);
        expect(await sessions.listUserToken(id)).toEqual([token, second]);
        expect(await sessions.deleteUserToken(id, { except: token })).toBe(1);
        expect(await sessions.deleteUser(id)).toBe(true);
        expect(await sessions.deleteToken(token)).toBe(true);
        expect(await sessions.checkToken(token)).toBeNull();
      }
      // A session of another user, on another node, ends as well.
      const old = await sessions.setToken('user-1');
      await sessions.createSession('user-2', { replaces: [old] });
      expect(await sessions.checkToken(old)).toBeNull();
      await sessions.deleteUserToken('user-2');
      if (target instanceof Cluster) target.disconnect();
    }
  });

  it('lists all users for a process that has just started, and lists nothing where it can not look', async () => {
    await logIn(manage(), 20);
    const tagsOf = async (store: RedisStore) => {
      const found: string[] = [];
      for await (const tags of store.tags()) found.push(...tags);
      return found;
    };
    const open = (target: Target) => {
      const store = new RedisStore(target, { ...PATIENT, ...prefixes });
      onClose(() => store.close());
      return store;
    };
    const store = open({ cluster: topology.startupNodes });
    expect(new Set(await tagsOf(store)).size).toBe(20);
    await store.close();
    const unreachable = open({ cluster: [{ host: '127.0.0.1', port: await freePort() }] });
    for (const other of [store, unreachable]) {
      await expect(tagsOf(other)).rejects.toMatchObject({ code: 'ERR_STORE_UNAVAILABLE' });
    }
  });

  it('is healthy at the first check', async () => {
    expect(await manage().health()).toMatchObject({ status: 'up' });
  });

  it('is healthy with all masters, degraded without one of them, and down without any', async () => {
    const token = await manage().setToken('ada');
    expect(await manage().health()).toEqual({ status: 'up', latencyMs: expect.any(Number), reasons: [] });
    const master = await topology.ownerOf(keyOf(token));
    const replica = await topology.replicaOf(master);
    const sessions = manage(undefined, { timeoutMs: TIMEOUT_MS });
    await until('it is connected', () => sessions.checkToken(token));
    // Nobody takes its place.
    replica.pause();
    master.pause();
    await until('only that master is missing', async () => {
      const { status, reasons } = await sessions.health();
      return status === 'degraded' && reasons.length === 1 && reasons[0]?.includes(`:${master.port}: `);
    });
    master.resume();
    replica.resume();
    const nowhere = manage({ cluster: [{ host: '127.0.0.1', port: await freePort() }] });
    expect(await nowhere.health()).toMatchObject({ status: 'down', latencyMs: null });
    await topology.untilHealed();
  });

  it('serves the users of other nodes while one has more waiting calls than may be in flight', async () => {
    const sessions = manage();
    const tokens = await logIn(sessions, 30);
    const [held = ''] = [...tokens.values()];
    const master = await topology.ownerOf(keyOf(held));
    const ofMaster = await tokensOn(master, tokens.values());
    const others = [...tokens.values()].filter((token) => !ofMaster.includes(token));
    master.pause();
    const waiting = Array.from({ length: 5000 }, () => sessions.checkToken(held));
    const settled = Promise.allSettled(waiting);
    try {
      for (const token of others) expect(await sessions.checkToken(token)).not.toBeNull();
    } finally {
      master.resume();
      await settled;
      await topology.untilHealed();
    }
  });

  it('serves a user with the rights that docs/redis.md gives, and needs no other, also while a slot moves', async () => {
    await setAcl(topology.nodes, aclsIn('docs/redis.md')[1] as string[]);
    await Promise.all(topology.nodes.map((node) => ask(node, 'ACL', 'LOG', 'RESET')));
    const store = new RedisStore(
      { cluster: topology.startupNodes, ...ACL_LOGIN },
      { ...PATIENT, durability: { replicas: 1 } },
    );
    const sessions = new TokenManager({ store, secret: SECRET, getUserInfo: () => ({}) });
    onClose(() => sessions.close());
    const token = await sessions.setToken('ada');
    const key = keyOf(token, 'session-token');
    const from = await topology.ownerOf(key);
    const to = (await topology.masters()).find((node) => node !== from) as RedisServer;
    const slot = await topology.slotOf(key);
    await topology.beginMigration(slot, from, to);
    await topology.migrateKeys(slot, from, to, [key]);
    expect(await sessions.touchToken(token)).not.toBeNull();
    await topology.migrateKeys(slot, from, to);
    await topology.endMigration(slot, from, to);
    expect(await sessions.refreshToken(token, 5)).toBe(true);
    expect(await sessions.listUserToken('ada')).toEqual([token]);
    expect(await sessions.refreshUser(['ada'])).toBe(1);
    expect(await sessions.deleteUser('ada')).toBe(true);
    await until('it is confirmed', async () => (await sessions.deleteUserToken('ada')) >= 0);
    expect(await sessions.health()).toMatchObject({ status: 'up' });
    expect(await refusalsOf(topology.nodes)).toEqual([]);
  });

  it('does not keep a process from ending after its client was closed, even during a look-up of the slots', async () => {
    const client = createRedisClient({ cluster: topology.startupNodes }, PATIENT);
    onClose(() => client.disconnect());
    await once(client, 'ready');
    while (!Reflect.get(client, 'isRefreshing')) await sleep(1);
    client.disconnect();
    await until('it has looked', () => !Reflect.get(client, 'isRefreshing'));
    await sleep(50);
    expect(Reflect.get(client, 'slotsTimer')).toBeNull();
  });

  it('that is unreachable at boot gives a 503 at once, with the reason', async () => {
    const port = await freePort();
    const sessions = manage({ cluster: [{ host: '127.0.0.1', port }] });
    await sessions.setToken('ada').catch(() => null);
    // Not the deadline, which has another code.
    await expect(sessions.setToken('ada')).rejects.toMatchObject({
      code: 'ERR_STORE_UNAVAILABLE',
      cause: { message: `127.0.0.1:${port}: connect ECONNREFUSED 127.0.0.1:${port}` },
    });
  });
});

describe.each([
  ['killed', (master: RedisServer) => master.kill(), (master: RedisServer) => master.restart()],
  ['paused', async (master: RedisServer) => master.pause(), async (master: RedisServer) => master.resume()],
] as const)('a master that is %s', (_, strike, recover) => {
  /** With what a client needs to leave a master that was replaced while it was paused. */
  const OWN = { keyPrefix: 'app:', slotsRefreshInterval: 1000, redisOptions: { socketTimeout: 2 * TIMEOUT_MS } };

  beforeEach(() => topology.untilHealed());

  it('is replaced, and all users are served again; users on other nodes notice nothing', async () => {
    const [hasty, patient] = [manage(undefined, { timeoutMs: TIMEOUT_MS }), manage()];
    const tokens = await logIn(patient, 12);
    const master = await topology.ownerOf(keyOf(tokens.get('user-0') as string));
    const struck = new Set(await tokensOn(master, tokens.values()));
    const trafficOf = (sessions: typeof hasty, isStruck: boolean) =>
      startTraffic(sessions, new Map([...tokens].filter(([, token]) => struck.has(token) === isStruck)));
    const [theirs, others] = [trafficOf(hasty, true), trafficOf(patient, false)];
    await theirs.untilServed();
    await strike(master);
    await theirs.untilFailed();
    await topology.untilOwner(keyOf(tokens.get('user-0') as string), master);
    await theirs.untilServed(BACK_MS);
    await recover(master);
    await topology.untilHealed();
    await theirs.untilServed();
    const [report, spared] = await Promise.all([theirs.stop(), others.stop()]);
    expect(report).toMatchObject({ signedOut: 0, mixedUp: 0 });
    for (const code of Object.keys(report.failed)) expect(code).toMatch(/^ERR_STORE_(UNAVAILABLE|TIMEOUT)$/);
    expect(report.worstActiveMs).toBeLessThan(TIMEOUT_MS + SLACK_MS);
    expect(spared).toMatchObject({ failed: {}, signedOut: 0, mixedUp: 0 });
    expect(spared.worstActiveMs).toBeLessThan(TIMEOUT_MS + SLACK_MS);
  });

  it.each([
    ['a client of ours', undefined],
    ["a client of the application's own, with a keyPrefix", OWN],
  ])('loses no revocation: it is repeated on the promoted node, by %s', async (_by, options) => {
    const client = options && new Cluster(topology.startupNodes, options);
    onClose(() => client?.disconnect());
    const sessions = manage(client, { timeoutMs: TIMEOUT_MS });
    const tokens = await logIn(manage(client), 12);
    const master = await topology.ownerOf(keyOf(tokens.get('user-0') as string));
    const replica = await topology.replicaOf(master);
    const [loggedOut, kicked, live] = (await tokensOn(master, tokens.values())) as [string, string, string];
    const kickedId = [...tokens].find(([, token]) => token === kicked)?.[0] as string;
    await until('it serves', async () => (await sessions.checkToken(live)) !== null);

    // From here on the replica receives no writes.
    replica.pause();
    await ask(master, 'CLIENT', 'KILL', 'TYPE', 'replica');
    expect(await sessions.deleteToken(loggedOut)).toBe(true);
    expect(await sessions.deleteUserToken(kickedId)).toBe(1);
    await strike(master);
    replica.resume();
    await topology.untilOwner(keyOf(loggedOut), master);
    await until('service is back', async () => (await sessions.checkToken(live)) !== null);
    // A redirection may lead the client to the new master a moment before it learns of the promotion.
    await until('the logout is repeated', async () => (await sessions.checkToken(loggedOut)) === null);
    await until('the kick is repeated', async () => (await sessions.checkToken(kicked)) === null);
    expect(await answered(() => sessions.listUserToken(kickedId))).toEqual([]);
    await recover(master);
  });
});

describe("an application's own client that silently drops commands", () => {
  it('is used again all the same, and serves again', async () => {
    await topology.untilHealed();
    const client = new Cluster(topology.startupNodes, {
      clusterNodeRetryStrategy: () => 50,
      redisOptions: { autoResendUnfulfilledCommands: false },
    });
    onClose(() => client.disconnect());
    const sessions = manage(client, { timeoutMs: 1000 });
    const token = await manage().setToken('ada');
    await until('it is connected', () => sessions.checkToken(token));
    const master = await topology.ownerOf(keyOf(token));
    const replica = await topology.replicaOf(master);
    // No replica is promoted.
    replica.pause();
    master.pause();
    for (let i = 0; i < 2; i++) {
      await Promise.allSettled(Array.from({ length: 5 }, () => sessions.checkToken(token)));
    }
    await expect(sessions.checkToken(token)).rejects.toThrow('stopped answering');
    await sleep(300);
    await master.kill();
    await master.restart();
    replica.resume();
    await topology.untilHealed();
    await until('it is asked again', () => sessions.checkToken(token).then(() => true));
  });
});

describe('a slot that moves to another node', () => {
  /** Logs a user in several times, and returns the tokens and the user's keys, which share a slot. */
  async function aSlot(sessions: TokenManager<{ name: string }>) {
    await topology.untilHealed();
    const token = await sessions.setToken('ada');
    const from = await topology.ownerOf(keyOf(token));
    const to = (await topology.masters()).find((node) => node !== from) as RedisServer;
    const slot = await topology.slotOf(keyOf(token));
    onClose(async () => {
      await topology.migrateKeys(slot, from, to);
      await topology.endMigration(slot, from, to);
    });
    return { token, from, to, slot };
  }

  it('halfway, with the key of the sessions on either side, signs no user out and accepts logins', async () => {
    const sessions = manage();
    const { token, from, to, slot } = await aSlot(sessions);
    await sessions.touchToken(token);
    await topology.beginMigration(slot, from, to);
    // Halfway through the move of the slot, with both, one and none of the user's keys on this node.
    for (const moved of [[], [keyOf(token)], [keyOf(token).replace(prefixes.tokenKeyPrefix, prefixes.userKeyPrefix)]]) {
      if (moved.length > 0) await topology.migrateKeys(slot, from, to, moved);
      expect(await sessions.touchToken(token)).toMatchObject({ user: { id: 'ada', detail: { name: 'ada' } } });
      expect(await sessions.checkToken(token)).not.toBeNull();
      const other = await sessions.setToken('ada');
      expect(await sessions.listUserToken('ada')).toEqual([token, other]);
      expect(await sessions.refreshToken(other, 50)).toBe(true);
      expect(await sessions.deleteToken(other)).toBe(true);
      expect(await sessions.touchToken(other)).toBeNull();
    }
  });

  it('whose keys have not moved yet forgets user info, renews it, and ends the sessions of a deleted user', async () => {
    let exists = true;
    const store = new RedisStore({ cluster: topology.startupNodes }, { ...PATIENT, ...prefixes });
    const sessions = new TokenManager({ store, secret: SECRET, getUserInfo: (id) => (exists ? { name: id } : null) });
    onClose(() => sessions.close());
    const { token, from, to, slot } = await aSlot(sessions);
    await sessions.checkTokenOrUpdateUser(token);
    await topology.beginMigration(slot, from, to);
    expect(await sessions.deleteUser('ada')).toBe(true);
    // The second one finds no info.
    expect(await sessions.deleteUser('ada')).toBe(false);
    expect(await sessions.refreshUser(['ada'])).toBe(1);
    expect(await sessions.touchToken(token)).toMatchObject({ user: { detail: { name: 'ada' } } });
    exists = false;
    expect(await sessions.addUser('ada')).toBeNull();
    expect(await sessions.checkToken(token)).toBeNull();
  });

  it.each([
    ['without its layout', ['v']],
    ['without its layout and id', ['v', 'id']],
  ])('whose keys have not moved yet ends the sessions of a damaged record: %s', async (_, lost) => {
    const sessions = manage();
    const { token, from, to, slot } = await aSlot(sessions);
    await topology.beginMigration(slot, from, to);
    await ask(from, 'HDEL', keyOf(token), ...lost);
    await expect(sessions.checkToken(token)).rejects.toMatchObject({ code: 'ERR_STORE_CORRUPT' });
    expect(await sessions.deleteUserToken('ada')).toBe(1);
    expect(await sessions.checkToken(token)).toBeNull();
  });

  it('whose keys have not moved yet bans the user of a damaged record', async () => {
    const sessions = manage();
    const { token, from, to, slot } = await aSlot(sessions);
    await topology.beginMigration(slot, from, to);
    await ask(from, 'HDEL', keyOf(token), 'v', 'id');
    await sessions.banUser('ada');
    expect(await sessions.getBan('ada')).not.toBeNull();
    await expect(sessions.setToken('ada')).rejects.toMatchObject({ code: 'ERR_USER_BANNED' });
    expect(await sessions.checkToken(token)).toBeNull();
  });

  it('with only half of its keys reports no user as gone whose sessions it can not end', async () => {
    let exists = true;
    const store = new RedisStore({ cluster: topology.startupNodes }, { ...PATIENT, ...prefixes });
    const sessions = new TokenManager({ store, secret: SECRET, getUserInfo: (id) => (exists ? { name: id } : null) });
    onClose(() => sessions.close());
    const { token, from, to, slot } = await aSlot(sessions);
    await sessions.addUser('ada');
    await topology.beginMigration(slot, from, to);
    await topology.migrateKeys(slot, from, to, [keyOf(token)]);
    exists = false;
    await expect(sessions.addUser('ada')).rejects.toMatchObject({ code: 'ERR_STORE_UNAVAILABLE', status: 503 });
    await topology.migrateKeys(slot, from, to);
    expect(await sessions.addUser('ada')).toBeNull();
    exists = true;
    expect(await sessions.checkToken(token)).toBeNull();
  });

  it('whose keys move reports a user who has no session as gone', async () => {
    const store = new RedisStore({ cluster: topology.startupNodes }, { ...PATIENT, ...prefixes });
    const sessions = new TokenManager({ store, secret: SECRET, getUserInfo: (): { name: string } | null => null });
    onClose(() => sessions.close());
    const { token, from, to, slot } = await aSlot(sessions);
    await sessions.deleteToken(token);
    await ask(from, 'DEL', keyOf(token));
    await topology.beginMigration(slot, from, to);
    try {
      expect(await sessions.addUser('ada')).toBeNull();
    } finally {
      await topology.migrateKeys(slot, from, to);
    }
  });

  it('under load fails no request and signs no user out', async () => {
    const sessions = manage();
    const { token, from, to, slot } = await aSlot(sessions);
    const traffic = startTraffic(sessions, new Map([['ada', token]]), { everyMs: 2 });
    await traffic.untilServed();
    await topology.beginMigration(slot, from, to);
    await traffic.untilServed();
    await topology.migrateKeys(slot, from, to, [keyOf(token)]);
    await traffic.untilServed();
    await topology.migrateKeys(slot, from, to);
    await topology.endMigration(slot, from, to);
    await traffic.untilServed();
    expect(await traffic.stop()).toMatchObject({ failed: {}, signedOut: 0, mixedUp: 0 });
  });

  it('to a node that dies halfway gives a 503 to its users, and leaves no unhandled rejection', async () => {
    const sessions = new TokenManager({
      store: new RedisStore({ cluster: topology.startupNodes }, PATIENT),
      secret: SECRET,
    });
    onClose(() => sessions.close());
    const token = await sessions.setToken('ada');
    const key = keyOf(token, 'session-token');
    const from = await topology.ownerOf(key);
    const to = (await topology.masters()).find((node) => node !== from) as RedisServer;
    const slot = await topology.slotOf(key);
    await sessions.deleteUserToken('ada');
    const run = runProgram('lasting.ts', { REDIS_CLUSTER: JSON.stringify(topology.startupNodes) });
    await until('it has begun', async () => (await ask<number>(from, 'EXISTS', key)) === 1);
    await topology.beginMigration(slot, from, to);
    await topology.migrateKeys(slot, from, to);
    to.pause();
    await sleep(500);
    to.resume();
    await to.kill();
    await sleep(500);
    await to.restart();
    expect((await run).stdout).toBe('went on\n');
    await topology.untilHealed();
    for (const node of await topology.masters()) await ask(node, 'CLUSTER', 'SETSLOT', slot, 'STABLE');
  });

  it('loads its scripts on the node that takes it over', async () => {
    const sessions = manage();
    const { token, from, to, slot } = await aSlot(sessions);
    await topology.beginMigration(slot, from, to);
    await topology.migrateKeys(slot, from, to);
    await Promise.all(topology.nodes.map((node) => ask(node, 'SCRIPT', 'FLUSH')));
    expect(await sessions.touchToken(token)).not.toBeNull();
  });
});

describe('durability in a Cluster', () => {
  const confirming = { durability: { replicas: 1, timeoutMs: PATIENT.timeoutMs } };
  /** For revocations that no replica confirms. */
  const unconfirmed = { timeoutMs: TIMEOUT_MS, durability: { replicas: 1, timeoutMs: 1000 } };
  const notReplicated = { name: 'SessionError', code: 'ERR_NOT_REPLICATED', status: 503 };

  beforeEach(() => topology.untilHealed());

  it('waits on the node that owns the user, also with a keyPrefix, and ends nothing without it', async () => {
    for (const keyPrefix of ['staging:', '{app}:']) {
      const client = new Cluster(topology.startupNodes, { keyPrefix });
      onClose(() => client.disconnect());
      const [own, prefixed] = [undefined, client].map((target) => manage(target, confirming)) as [
        ReturnType<typeof manage>,
        ReturnType<typeof manage>,
      ];
      for (let i = 0; i < 6; i++) {
        const [mine, theirs] = [await own.setToken(`user-${i}`), await prefixed.setToken(`user-${i}`)];
        expect(await prefixed.deleteUserToken(`user-${i}`)).toBe(1);
        expect(await prefixed.checkToken(theirs)).toBeNull();
        expect(await own.checkToken(mine)).not.toBeNull();
      }
    }
  });

  it('waits on the node that owns the user, also after a promotion', async () => {
    const [sessions, patient] = [manage(undefined, unconfirmed), manage(undefined, confirming)];
    const tokens = [...(await logIn(patient, 12)).values()];
    const master = await topology.ownerOf(keyOf(tokens[0] as string));
    const replica = await topology.replicaOf(master);
    const theirs = await tokensOn(master, tokens);
    const others = tokens.filter((token) => !theirs.includes(token));

    replica.pause();
    for (const token of others) expect(await patient.deleteToken(token)).toBe(true);
    await until('it serves', async () => (await sessions.checkToken(theirs[0] as string)) !== null);
    await expect(sessions.deleteToken(theirs[0] as string)).rejects.toMatchObject(notReplicated);
    replica.resume();
    await until('it is confirmed', async () => (await sessions.deleteToken(theirs[0] as string)) === false);

    const promoted = await sessions.setToken('user-0');
    await topology.untilReplicated();
    await master.kill();
    await topology.untilOwner(keyOf(promoted), master);
    await until('service is back', async () => (await sessions.checkToken(promoted)) !== null);
    // Its only replica is now the master, and has no replica itself.
    await expect(sessions.deleteToken(promoted)).rejects.toMatchObject(notReplicated);
    await master.restart();
    await topology.untilHealed();
    await until('it is confirmed', async () => (await sessions.deleteToken(promoted)) === false);
  });
});

it('a master with a single slot is tried by health and heartbeats like any other', async () => {
  const pair = await startClusterTopology({ masters: 1, replicas: 0, spares: 1 });
  onClose(() => pair.stop());
  const [from, to] = pair.nodes as [RedisServer, RedisServer];
  await pair.endMigration(16_383, from, to);
  const sessions = new TokenManager({
    store: new RedisStore({ cluster: pair.startupNodes }, { ...PATIENT, ...prefixes }),
    secret: SECRET,
    cache: { maxAgeMs: 60_000, heartbeatMs: 1000 },
  });
  onClose(() => sessions.close());
  await until('the near cache is up', () => sessions.cacheStats?.isUp);
  expect(await sessions.health()).toMatchObject({ status: 'up', reasons: [] });
  await ask(to, 'CONFIG', 'SET', 'min-replicas-to-write', 1);
  expect(await sessions.health()).toMatchObject({
    status: 'degraded',
    reasons: expect.arrayContaining([expect.stringMatching(`^127.0.0.1:${to.port}: Redis has too few replicas`)]),
  });
  await until('the near cache is down', () => sessions.cacheStats?.isUp === false);
});
