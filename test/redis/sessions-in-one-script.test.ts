import fc from 'fast-check';
import { Redis } from 'ioredis';
import { Redis as Redis5 } from 'ioredis5';
import {
  RedisStore,
  type RedisStoreOptions,
  type ReusePolicy,
  SessionError,
  type Store,
  type TokenClaims,
} from 'tokensession';
import { tagOf } from '../../src/token/token';
import { closeAfterEach } from '../support/closing';
import { applyAll, type Damage, damages } from '../support/damages';
import { type RedisServer, scriptCalls, startAll, startRedis } from '../support/redis-server';
import { PROPERTY_TIMEOUT, runs } from '../support/runs';
import {
  claimsOf,
  HOUR,
  keepUserInfo,
  newSession,
  PATIENT,
  POLICY,
  randomPrefixes,
  sidsOf,
  startSession,
  unknownToken,
} from '../support/stores';
import { until } from '../support/until';

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
const { check, touch } = VERBS;
const NAMES = Object.keys(VERBS) as Verb[];

type Calls = readonly (() => Promise<void>)[];

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
  server = await startRedis({ 'repl-diskless-sync-delay': '0' });
});
afterAll(() => server.stop());

function openStore(target: string | Redis = server.url, options: RedisStoreOptions = {}): RedisStore {
  const store = new RedisStore(target, { ...PATIENT, ...randomPrefixes(), ...options });
  closing(() => store.close());
  return store;
}

/** A store that has seen that all keys are on one server. */
async function openTogether(target?: string | Redis, options?: RedisStoreOptions, on = server): Promise<RedisStore> {
  const store = openStore(target, options);
  const ask = () => Promise.all([check(store, unknownToken(tagOf('a'))), check(store, unknownToken(tagOf('b')))]);
  await until('two calls take one script', async () => (await scriptsDuring(ask, on)) === 1);
  return store;
}

/** How many scripts clients send during the work. */
async function scriptsDuring(work: () => Promise<unknown>, on: RedisServer = server): Promise<number> {
  const before = await scriptCalls(on);
  await work();
  return (await scriptCalls(on)) - before;
}

async function logIn(store: Store, users: number): Promise<TokenClaims[]> {
  const ids = Array.from({ length: users }, (_, i) => `user ${i}`);
  return Promise.all(ids.map((id) => startSession(store, tagOf(id), newSession(id))));
}

/** What three users are given, of whom the second one's call fails. */
const allButSecond = (code: string) => [
  { value: { userId: 'user 0' } },
  { reason: { code } },
  { value: { userId: 'user 2' } },
];

const usersOf = (claims: readonly TokenClaims[]) => claims.map((_, i) => ({ userId: `user ${i}` }));

describe('calls that go out in one turn of the event loop', () => {
  it.each(NAMES)('%s: take one script for each 16 sessions, and each gets its own answer', async (name) => {
    const store = await openTogether();
    const users = await logIn(store, 40);
    for (const [i, { tag }] of users.entries()) if (i % 3 === 0) await keepUserInfo(store, tag, `{"n":${i}}`);
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

  it('take a script for each manager with other options, and each is judged by its own', async () => {
    const store = await openTogether();
    const users = await logIn(store, 4);
    const former = users.map((claims) => ({ ...claims, mintedAt: claims.mintedAt - 10_000 }));
    const [strict, lenient]: ReusePolicy[] = [0, HOUR].map((graceMs) => ({ graceMs, onReuse: 'ignore' }));
    const policies = [strict, strict, lenient, lenient] as ReusePolicy[];
    let found: unknown[] = [];
    const scripts = await scriptsDuring(async () => {
      const calls = former.map((claims, i) => store.touch(claims.tag, claims, policies[i] as ReusePolicy, HOUR));
      found = await Promise.all(calls);
    });
    expect(scripts).toBe(2);
    const reused = { session: null, reason: 'reused' };
    expect(found).toMatchObject([reused, reused, { userId: 'user 2' }, { userId: 'user 3' }]);
  });

  it('give the same answers as calls that are made alone, whatever is stored', async () => {
    const worlds = [randomPrefixes(), randomPrefixes()] as const;
    const stores = [openStore(server.url, worlds[0]), await openTogether(server.url, worlds[1])] as const;
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
    const store = await openTogether();
    const [claims] = await logIn(store, 1);
    const newer = { ...(claims as TokenClaims), gen: 1, mintedAt: (claims as TokenClaims).mintedAt + 1 };
    const found = await Promise.all([newer, claims as TokenClaims].map((one) => touch(store, one)));
    expect(found).toMatchObject([{ session: { gen: 1 } }, { session: null, reason: 'reused', isEndedNow: true }]);
  });

  it.each([
    ['after all of them', true, (touches: Calls, ends: Calls) => [...touches, ...ends]],
    ['before all of them', false, (touches: Calls, ends: Calls) => [...ends, ...touches]],
    ['each after its own', true, (touches: Calls, ends: Calls) => touches.flatMap((one, i) => [one, ends[i] ?? one])],
  ])(
    'of sessions that are ended in the same turn, %s: none revives, and no answer is older than its call',
    async (_, mayBeLive, put) => {
      const prefixes = randomPrefixes();
      const store = await openTogether(server.url, prefixes);
      const other = openStore(server.url, prefixes);
      const used = (claims: TokenClaims, gen: number) => ({ ...claims, gen, mintedAt: claims.mintedAt + gen });
      // A script takes 16 sessions; fewer wait for the end of the turn, and the ends go out before them.
      for (const [count, name] of [1, 2, 15, 16, 17, 40].flatMap((n) => NAMES.map((verb) => [n, verb] as const))) {
        const users = await logIn(other, count);
        // Done by another process before the turn: tokens of a new generation, and new user info.
        await Promise.all(users.map((claims) => touch(other, used(claims, 1))));
        for (const [i, { tag }] of users.entries()) await keepUserInfo(other, tag, `"${name} ${i}"`);

        const found: unknown[] = [];
        const ended: unknown[] = [];
        // Every other token is of the next generation: its first use writes the record.
        const touches = users.map((claims, i) => async () => {
          found[i] = await VERBS[name](store, used(claims, 1 + (i % 2)));
        });
        const ends = users.map(({ tag, sid }, i) => async () => {
          ended[i] = await store.end(tag, sid, { reason: 'revoked', message: '' });
        });
        await Promise.all(put(touches, ends).map((call) => call()));

        for (const [i, one] of found.entries()) {
          const live = { userInfo: `"${name} ${i}"`, session: { gen: name === 'check' ? 1 : 1 + (i % 2) } };
          const isLive = (one as { session: unknown }).session !== null;
          expect(one).toMatchObject(isLive && mayBeLive ? live : { session: null, reason: 'revoked' });
        }
        expect(ended).toEqual(users.map((_user, i) => expect.objectContaining({ userId: `user ${i}` })));
        for (const claims of users) {
          expect(await touch(store, used(claims, 3))).toMatchObject({ session: null, reason: 'revoked' });
          expect(await sidsOf(other, claims.tag)).toEqual([]);
        }
      }
    },
  );

  it('are answered right where each user has a large info', async () => {
    const store = await openTogether();
    const users = await logIn(store, 16);
    // Other bytes and another length for each.
    const infos = users.map((_, i) => JSON.stringify({ i, text: String.fromCharCode(0x20ac + i).repeat(100_000 + i) }));
    expect(Buffer.byteLength(infos[0] as string)).toBeGreaterThan(300_000);
    for (const [i, { tag }] of users.entries()) await keepUserInfo(store, tag, infos[i] as string);
    for (const name of NAMES) {
      let found: unknown[] = [];
      const scripts = await scriptsDuring(async () => {
        found = await Promise.all(users.map((claims) => VERBS[name](store, claims)));
      });
      expect(scripts).toBe(1);
      expect(found).toMatchObject(users.map(({ sid }, i) => ({ userId: `user ${i}`, session: { sid } })));
      // Not toEqual: it would print megabytes.
      expect(found.every((one, i) => (one as { userInfo: string }).userInfo === infos[i])).toBe(true);
    }
  });

  it('announce each change', async () => {
    const prefixes = randomPrefixes();
    const store = await openTogether(server.url, prefixes);
    const users = await logIn(store, 20);
    const listener = new Redis(server.url);
    closing(() => listener.disconnect());
    const changed: string[] = [];
    listener.on('message', (_channel: string, tag: string) => changed.push(tag));
    await listener.subscribe(`${prefixes.tokenKeyPrefix}:changes`);
    const newer = users.map((claims) => ({ ...claims, gen: 1, mintedAt: claims.mintedAt + 1 }));
    await Promise.all(newer.map((claims) => touch(store, claims)));
    await until('all are announced', () => changed.length >= users.length);
    expect(changed.toSorted()).toEqual(users.map(({ tag }) => tag).toSorted());
  });

  it('of sessions that are unknown take no second script', async () => {
    const store = await openTogether();
    const ask = () => Promise.all(['a', 'b', 'c'].map((id) => check(store, unknownToken(tagOf(id)))));
    expect(await scriptsDuring(ask)).toBe(1);
    expect(await ask()).toEqual([null, null, null]);
  });

  it('take one script again after the server has lost its scripts', async () => {
    const store = await openTogether();
    const users = await logIn(store, 3);
    await server.admin.script('FLUSH');
    expect(await Promise.all(users.map((claims) => touch(store, claims)))).toMatchObject(usersOf(users));
  });

  it.each([
    ['6', (port: number) => new Redis({ port, keyPrefix: 'app:' })],
    ['5', (port: number) => new Redis5({ port, keyPrefix: 'app:' }) as unknown as Redis],
  ])('give a damaged session’s error to its own call alone, with ioredis %s', async (_, connect) => {
    const client = connect(server.port);
    closing(() => client.disconnect());
    const prefixes = randomPrefixes();
    const store = await openTogether(client, prefixes);
    const users = await logIn(store, 3);
    await server.admin.set(`app:${prefixes.tokenKeyPrefix}:{${users[1]?.tag}}`, 'no hash');
    const found = await Promise.allSettled(users.map((claims) => touch(store, claims)));
    expect(found).toMatchObject(allButSecond('ERR_STORE_CORRUPT'));
  });

  it('are answered although the server refuses the write that another of them needs', async () => {
    const { store } = await openLimited();
    const [first, second] = (await logIn(store, 2)) as [TokenClaims, TokenClaims];
    await forbid('-hset');
    const found = await Promise.allSettled([touch(store, first), VERBS['touch, thinned out'](store, second)]);
    expect(found).toMatchObject([{ reason: { code: 'ERR_STORE_UNAVAILABLE' } }, { value: { userId: 'user 1' } }]);
  });

  it('are answered although the server refuses a key of another of them', async () => {
    const { store, prefixes } = await openLimited();
    const users = await logIn(store, 3);
    const infos = [0, 2].map((i) => `~${prefixes.userKeyPrefix}:{${users[i]?.tag}}`);
    await forbid('resetkeys', `~${prefixes.tokenKeyPrefix}:*`, ...infos);
    const found = await Promise.allSettled(users.map((claims) => check(store, claims)));
    expect(found).toMatchObject(allButSecond('ERR_STORE_UNAVAILABLE'));
  });

  it('that were given up before the refusal came are not sent again', async () => {
    const own = await startRedis();
    closing(() => own.stop());
    const prefixes = randomPrefixes();
    const users = await logIn(openStore(own.url, prefixes), 3);
    const client = new Redis(own.url);
    closing(() => client.disconnect());
    const store = await openTogether(client, { ...prefixes, timeoutMs: 1000 }, own);
    await own.admin.call('ACL', 'SETUSER', 'default', 'resetkeys', `~${prefixes.tokenKeyPrefix}:*`);
    const scripts = await scriptsDuring(async () => {
      own.pause();
      const failed = await Promise.allSettled(users.map((claims) => check(store, claims)));
      own.resume();
      const reason = expect.objectContaining({ code: 'ERR_STORE_TIMEOUT' });
      expect(failed).toEqual(users.map(() => ({ status: 'rejected', reason })));
      // Its answer comes after the refusal; the second one's after what would be sent then.
      for (let i = 0; i < 2; i++) await client.ping();
    }, own);
    expect(scripts).toBe(1);
  });

  it('all fail at a master that was made a replica', async () => {
    const own = await startRedis();
    closing(() => own.stop());
    const store = await openTogether(own.url, {}, own);
    const users = await logIn(store, 3);
    await own.admin.call('REPLICAOF', '127.0.0.1', String(server.port));
    const failed = await Promise.allSettled(users.map((claims) => check(store, claims)));
    const reason = expect.objectContaining({ code: 'ERR_STORE_UNAVAILABLE' });
    expect(failed).toEqual(users.map(() => ({ status: 'rejected', reason })));
  });

  it('take a script each after the connection was lost, until one server was seen to hold all keys again', async () => {
    const client = new Redis(server.url);
    closing(() => client.disconnect());
    const store = await openTogether(client);
    const users = await logIn(store, 2);
    const askAll = () => Promise.all(users.map((claims) => check(store, claims)));
    expect(await scriptsDuring(askAll)).toBe(1);
    await server.admin.call('CLIENT', 'KILL', 'ID', await client.client('ID'));
    await until('it is connected again', () => check(store, users[0] as TokenClaims));
    expect(await scriptsDuring(askAll)).toBeGreaterThan(1);
    await until('it is seen again', async () => (await scriptsDuring(askAll)) === 1);
  });

  it('take a script each when that was last seen a minute ago', async () => {
    const store = await openTogether();
    const users = await logIn(store, 2);
    const askAll = () => Promise.all(users.map((claims) => check(store, claims)));
    expect(await scriptsDuring(askAll)).toBe(1);
    const now = performance.now.bind(performance);
    const later = jest.spyOn(performance, 'now').mockImplementation(() => now() + 60_000);
    closing(() => later.mockRestore());
    expect(await scriptsDuring(askAll)).toBeGreaterThan(1);
    await until('it is seen again', async () => (await scriptsDuring(askAll)) === 1);
  });

  it('still take one script while Redis has no memory left', async () => {
    const full = await startRedis();
    closing(() => full.stop());
    const prefixes = randomPrefixes();
    const users = await logIn(await openTogether(full.url, prefixes, full), 2);
    await full.admin.config('SET', 'maxmemory', '1');
    const store = await openTogether(full.url, prefixes, full);
    const askAll = async () => {
      expect(await Promise.all(users.map((claims) => check(store, claims)))).toMatchObject(usersOf(users));
    };
    expect(await scriptsDuring(askAll, full)).toBe(1);
  });

  it('all fail at a replica, and none is answered from it', async () => {
    const prefixes = randomPrefixes();
    const users = await logIn(await openTogether(server.url, prefixes), 3);
    const replica = await startRedis({ replicaof: [['127.0.0.1', String(server.port)]] });
    closing(() => replica.stop());
    await until(
      'the replica has the sessions',
      async () => (await replica.admin.keys(`${prefixes.tokenKeyPrefix}*`)).length === 3,
    );
    const store = openStore(replica.url, prefixes);
    const reason = expect.objectContaining({
      code: 'ERR_STORE_UNAVAILABLE',
      message: expect.stringContaining('replica'),
    });
    for (let round = 0; round < 2; round++) {
      const failed = await Promise.allSettled(users.map((claims) => check(store, claims)));
      expect(failed).toEqual(Array(3).fill({ status: 'rejected', reason }));
    }
  });

  it.each([
    [
      'throws',
      () => {
        throw new Error('thrown by an instrumentation');
      },
    ],
    ['gives no reply of the script', () => Promise.resolve('QUEUED')],
  ])('are refused where the client %s', async (_, sendCommand) => {
    const client = new Redis(server.url);
    closing(() => client.disconnect());
    const store = await openTogether(client);
    const users = await logIn(store, 3);
    client.sendCommand = sendCommand;
    for (const some of [users, users.slice(1)]) {
      const failed = await Promise.allSettled(some.map((claims) => touch(store, claims)));
      expect(failed).toEqual(some.map(() => ({ status: 'rejected', reason: expect.any(SessionError) })));
    }
  });
});

describe('where users are on several servers, calls of one turn', () => {
  it('are sent one by one to one node of a Cluster, which takes the keys of one slot in a script', async () => {
    const node = await startRedis({ 'cluster-enabled': 'yes' });
    closing(() => node.stop());
    await node.admin.call('CLUSTER', 'ADDSLOTS', ...Array(16_384).keys());
    const store = openStore(node.url);
    await until('the node serves its slots', () => logIn(store, 1));
    const users = await logIn(store, 20);
    const touchAll = async () => {
      expect(await Promise.all(users.map((claims) => touch(store, claims)))).toMatchObject(usersOf(users));
    };
    await touchAll();
    expect(await scriptsDuring(touchAll, node)).toBe(20);
  });

  it('are answered by the right one, behind a proxy that sends a script to the server of its first key', async () => {
    const shards = await startAll([startRedis(), startRedis()]);
    closing(() => Promise.all(shards.map((shard) => shard.stop())));
    const prefixes = randomPrefixes();
    const store = openStore(new Sharded(shards.map(({ port }) => port)), prefixes);
    const users = await logIn(store, 20);
    // Former copies, as after keys were moved to another server.
    for (const { tag } of users) {
      const key = `${prefixes.tokenKeyPrefix}:{${tag}}`;
      const held = await Promise.all(shards.map((shard) => shard.admin.dumpBuffer(key)));
      const other = held[0] === null ? 0 : 1;
      await shards[other]?.admin.restore(key, 0, held[1 - other] as Buffer);
    }
    const ended = users.slice(10);
    for (const { tag, sid } of ended) await store.end(tag, sid, { reason: 'revoked', message: '' });
    let scripts = 0;
    // With the look for where keys are: 65.
    while (scripts < 65 + 3 * 20) {
      scripts = (await Promise.all(shards.map(scriptCalls))).reduce((sum, run) => sum + run, 0);
      const found = await Promise.all(users.map((claims) => touch(store, claims)));
      expect(found.slice(0, 10)).toMatchObject(usersOf(users).slice(0, 10));
      expect(found.slice(10)).toMatchObject(ended.map(() => ({ session: null, reason: 'revoked' })));
    }
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
    const sum = Buffer.from(key).reduce((total, byte) => total + byte, 0);
    const shard = sum % this.#shards.length;
    return (this.#shards[shard] as Redis).sendCommand(command);
  }
}

const ACCOUNT = 'limited';

/** A store whose rights the test takes away. */
async function openLimited() {
  const prefixes = randomPrefixes();
  await forbid('reset', 'on', 'nopass', '+@all', 'allkeys', 'allchannels');
  const store = await openTogether(server.url.replace('//', `//${ACCOUNT}:any@`), prefixes);
  return { store, prefixes };
}

const forbid = (...rules: string[]) => server.admin.call('ACL', 'SETUSER', ACCOUNT, ...rules);

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
