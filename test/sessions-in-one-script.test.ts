import fc from 'fast-check';
import { Redis } from 'ioredis';
import { Redis as Redis5 } from 'ioredis5';
import { RedisStore, type Store, type TokenClaims } from 'tokensession';
import { tagOf } from '../src/token/token';
import { closeAfterEach } from './support/closing';
import { applyAll, type Damage, damages } from './support/damages';
import { type RedisServer, startAll, startRedis } from './support/redis-server';
import { PROPERTY_TIMEOUT, runs } from './support/runs';
import {
  claimsOf,
  HOUR,
  keepUserInfo,
  newSession,
  PATIENT,
  POLICY,
  randomPrefixes,
  startSession,
  unknownToken,
} from './support/stores';
import { until } from './support/until';

jest.setTimeout(PROPERTY_TIMEOUT);

/** Without a grace, so that a former token is a reuse. */
const STRICT = { ...POLICY, graceMs: 0 };

/** The calls that requests wait for. */
const VERBS = {
  check: (store, claims) => store.check(claims.tag, claims, STRICT),
  touch: (store, claims) => store.touch(claims.tag, claims, STRICT, 0),
  'touch, thinned out': (store, claims) => store.touch(claims.tag, claims, STRICT, HOUR),
} satisfies Record<string, (store: Store, claims: TokenClaims) => Promise<unknown>>;
type Verb = keyof typeof VERBS;
const NAMES = Object.keys(VERBS) as Verb[];

/** States of a session, and what a call finds. */
const OUTCOMES = {
  live: 'live',
  rotated: 'live',
  reused: 'reused',
  ended: 'revoked',
  expired: 'expired',
  unknown: 'none',
  'no record': 'ERR_STORE_CORRUPT',
  'of a later layout': 'ERR_STORE_LAYOUT',
};
type State = keyof typeof OUTCOMES;
const STATES = Object.keys(OUTCOMES) as State[];

let server: RedisServer;
const closing = closeAfterEach();
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

function openStore(target: string | Redis = server.url, prefixes = randomPrefixes()): RedisStore {
  const store = new RedisStore(target, { ...PATIENT, ...prefixes });
  closing(() => store.close());
  return store;
}

async function scriptsRun(by: RedisServer = server): Promise<number> {
  const stats = await by.admin.info('commandstats');
  return Number(/cmdstat_evalsha:calls=(\d+)/.exec(stats)?.[1] ?? 0);
}

/** How many scripts clients send during the work. Those that a script is loaded with don't count. */
async function scriptsDuring(work: () => Promise<unknown>): Promise<number> {
  const before = await scriptsRun();
  await work();
  return (await scriptsRun()) - before;
}

async function logIn(store: Store, users: number): Promise<TokenClaims[]> {
  const ids = Array.from({ length: users }, (_, i) => `user ${i}`);
  return Promise.all(ids.map((id) => startSession(store, tagOf(id), newSession(id))));
}

describe('calls that go out in one turn of the event loop', () => {
  it.each(NAMES)('%s: take one script for each 16 sessions, and each gets its own answer', async (name) => {
    const store = openStore();
    const users = await logIn(store, 40);
    for (const [i, { tag }] of users.entries()) if (i % 3 === 0) await keepUserInfo(store, tag, `{"n":${i}}`);
    await VERBS[name](store, users[0] as TokenClaims);

    let found: unknown[] = [];
    const scripts = await scriptsDuring(async () => {
      found = await Promise.all(users.map((claims) => VERBS[name](store, claims)));
    });
    expect(scripts).toBe(3);
    expect(found).toMatchObject(
      users.map(({ sid }, i) => ({
        userId: `user ${i}`,
        userInfo: i % 3 === 0 ? `{"n":${i}}` : null,
        session: { sid },
      })),
    );
  });

  it('give the same answers as calls that are made alone, whatever is stored', async () => {
    const worlds = [randomPrefixes(), randomPrefixes()] as const;
    const stores = worlds.map((prefixes) => openStore(server.url, prefixes)) as [RedisStore, RedisStore];
    let users = 0;

    /** A user in both worlds, in the same state. */
    const userIn = async ({ state, all }: { state: State; all: readonly Damage[] }): Promise<TokenClaims> => {
      const userId = `user ${users++}`;
      const tag = tagOf(userId);
      const [store] = stores;
      const { admin } = server;
      const keys = { sessions: `${worlds[0].tokenKeyPrefix}:{${tag}}`, info: `${worlds[0].userKeyPrefix}:{${tag}}` };
      const { session } = await store.create(tag, newSession(userId, { attributes: { ip: '::1' } }));
      const claims = claimsOf(tag, session);
      const { sid, mintedAt } = claims;
      const newer = { ...claims, gen: 2, mintedAt: mintedAt + 1 };
      await keepUserInfo(store, tag, `{"name":"${userId}"}`);
      if (state === 'ended') await store.end(tag, sid, { reason: 'revoked', message: 'two\nlines' });
      if (state === 'rotated' || state === 'reused') await store.touch(tag, newer, STRICT, 0);
      if (state === 'expired') await admin.hset(keys.sessions, sid, `${mintedAt - HOUR}:${mintedAt - HOUR}:1:0`);
      if (state === 'of a later layout') await admin.hset(keys.sessions, 'v', '2');
      if (state === 'no record') await admin.hset(keys.sessions, sid, 'a text');
      await applyAll(all, admin, keys, { sid, userId });
      for (const [kind, key] of [['tokenKeyPrefix', keys.sessions] as const, ['userKeyPrefix', keys.info] as const]) {
        const value = await admin.dumpBuffer(key);
        const left = Math.max(0, await admin.pttl(key));
        if (value !== null) await admin.restore(`${worlds[1][kind]}:{${tag}}`, left, value);
      }
      if (state === 'unknown') return unknownToken(tag);
      return state === 'rotated' ? newer : claims;
    };

    const asCreated = STATES.map((state) => ({ state, all: [] }));
    const some = fc.record({
      state: fc.constantFrom(...STATES),
      all: fc.array(damages, { minLength: 1, maxLength: 3 }),
    });
    const property = fc.asyncProperty(
      fc
        .array(some, { maxLength: 12 })
        .chain((damaged) => fc.shuffledSubarray([...asCreated, ...damaged], { minLength: 2 })),
      fc.constantFrom(...NAMES),
      async (given, name) => {
        const claims: TokenClaims[] = [];
        for (const one of given) claims.push(await userIn(one));
        const alone: unknown[] = [];
        for (const one of claims) alone.push(await outcomeOf(VERBS[name](stores[0], one)));
        const together = await Promise.all(claims.map((one) => outcomeOf(VERBS[name](stores[1], one))));
        expect(together).toEqual(alone);
        for (const [i, { state, all }] of given.entries()) {
          if (all.length === 0) expect(kindOf(alone[i])).toBe(OUTCOMES[state]);
        }
      },
    );
    await fc.assert(property, runs(120));
  });

  it('of one session, twice: the second sees what the first has written', async () => {
    const store = openStore();
    const [claims] = await logIn(store, 1);
    const newer = { ...(claims as TokenClaims), gen: 1, mintedAt: (claims as TokenClaims).mintedAt + 1 };
    const found = await Promise.all([newer, claims as TokenClaims].map((one) => VERBS.touch(store, one)));
    expect(found).toMatchObject([{ session: { gen: 1 } }, { session: null, reason: 'reused', isEndedNow: true }]);
  });

  it('announce each change', async () => {
    const prefixes = randomPrefixes();
    const store = openStore(server.url, prefixes);
    const users = await logIn(store, 20);
    const listener = new Redis(server.url);
    closing(() => listener.disconnect());
    const changed: string[] = [];
    listener.on('message', (_channel: string, tag: string) => changed.push(tag));
    await listener.subscribe(`${prefixes.tokenKeyPrefix}:changes`);
    const newer = users.map((claims) => ({ ...claims, gen: 1, mintedAt: claims.mintedAt + 1 }));
    await Promise.all(newer.map((claims) => VERBS.touch(store, claims)));
    await until('all are announced', () => changed.length >= users.length);
    expect(changed.toSorted()).toEqual(users.map(({ tag }) => tag).toSorted());
  });

  it('all fail at a replica, and none is answered from it', async () => {
    const [replica] = await startAll([startRedis({ replicaof: [['127.0.0.1', String(server.port)]] })]);
    closing(() => replica?.stop());
    const store = openStore(replica?.url);
    const failed = await Promise.allSettled(['a', 'b', 'c'].map((id) => VERBS.check(store, unknownToken(tagOf(id)))));
    const reason = expect.objectContaining({
      code: 'ERR_STORE_UNAVAILABLE',
      message: expect.stringContaining('replica'),
    });
    expect(failed).toEqual(Array(3).fill({ status: 'rejected', reason }));
  });

  it.each([
    ['6', (port: number) => new Redis({ port, keyPrefix: 'app:' })],
    ['5', (port: number) => new Redis5({ port, keyPrefix: 'app:' }) as unknown as Redis],
  ])('give a damaged session’s error to its own call alone, with ioredis %s', async (_, connect) => {
    const client = connect(server.port);
    closing(() => client.disconnect());
    const prefixes = randomPrefixes();
    const store = openStore(client, prefixes);
    const users = await logIn(store, 3);
    await server.admin.set(`app:${prefixes.tokenKeyPrefix}:{${users[1]?.tag}}`, 'no hash');
    const found = await Promise.allSettled(users.map((claims) => VERBS.touch(store, claims)));
    expect(found).toMatchObject([
      { value: { userId: 'user 0' } },
      { reason: { code: 'ERR_STORE_CORRUPT' } },
      { value: { userId: 'user 2' } },
    ]);
  });

  it('work on one node of a Cluster, which takes the keys of one slot in a script', async () => {
    const node = await startRedis({ 'cluster-enabled': 'yes' });
    closing(() => node.stop());
    await node.admin.call('CLUSTER', 'ADDSLOTSRANGE', 0, 16_383);
    const store = openStore(node.url);
    await until('the node serves its slots', () => logIn(store, 1));
    for (let round = 0; round < 2; round++) {
      const users = await logIn(store, 20);
      const found = await Promise.all(users.map((claims) => VERBS.touch(store, claims)));
      expect(found).toMatchObject(users.map((_, i) => ({ userId: `user ${i}` })));
    }
  });

  it('end no session behind a proxy that sends a script to the server of its first key', async () => {
    const shards = await startAll([startRedis(), startRedis()]);
    closing(() => Promise.all(shards.map((shard) => shard.stop())));
    const store = openStore(new Sharded(shards.map(({ port }) => port)));
    const users = await logIn(store, 20);
    for (const verb of [VERBS.check, VERBS.touch]) {
      const found = await Promise.all(users.map((claims) => verb(store, claims)));
      expect(found).toMatchObject(users.map((_, i) => ({ userId: `user ${i}` })));
    }
    for (const shard of shards) expect(await shard.admin.dbsize()).toBeGreaterThan(0);
  });
});

/** A client whose commands go to one of several servers, by their first key. */
class Sharded extends Redis {
  readonly #shards: readonly Redis[];

  constructor(ports: readonly number[]) {
    super(ports[0] as number);
    this.#shards = ports.map((port) => new Redis(port));
    closing(() => this.#shards.map((redis) => redis.disconnect()));
    closing(() => this.disconnect());
  }

  override sendCommand(...[command, stream]: Parameters<Redis['sendCommand']>): unknown {
    const [key] = command.getKeys();
    if (key === undefined) return super.sendCommand(command, stream);
    const shard = key.toString().charCodeAt(key.length - 2) % this.#shards.length;
    return (this.#shards[shard] as Redis).sendCommand(command);
  }
}

/** A result without the moments at which it was found. */
async function outcomeOf(call: Promise<unknown>): Promise<unknown> {
  try {
    const found = (await call) as Record<string, unknown> | null;
    if (found === null) return 'none';
    const { now, userInfoVersion, session, ...rest } = found;
    if (session === null) return rest;
    const { seenAt, confirmedAt, ...kept } = session as Record<string, unknown>;
    return { ...rest, session: kept };
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  }
}

function kindOf(outcome: unknown): string {
  if (typeof outcome === 'string') return outcome;
  return (outcome as { reason?: string }).reason ?? 'live';
}
