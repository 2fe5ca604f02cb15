import { Redis } from 'ioredis';
import { RedisStore, type ReusePolicy, type TokenClaims } from 'tokensession';
import { MAX_REMEMBERED, MAX_SESSIONS } from '../../src/store/limits';
import { tagOf } from '../../src/token/token';
import { type RedisServer, startRedis } from '../support/redis-server';
import { HOUR, newSession, PATIENT, POLICY, randomPrefixes, startSession } from '../support/stores';
import { until } from '../support/until';

/* What one user can cost Redis: a method on one session does constant work, and the whole hash is bounded. */

/**
 * Three fields (record, attributes, data) for each live session, and for each expired one that is remembered; and the
 * id, the layout and a ban.
 */
const MAX_FIELDS = 3 * (MAX_SESSIONS + MAX_REMEMBERED) + 3;
const ATTRIBUTES = {
  device: 'web',
  ip: '192.0.2.1',
  userAgent: 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Firefox/140.0',
};
const DATA = new Map([
  ['cart', JSON.stringify({ items: ['book', 'lamp'] })],
  ['theme', '"dark"'],
]);
const LIMITS = { maxBytes: 1000, maxKeys: 10 };
const ENDS: ReusePolicy = { graceMs: 0, onReuse: 'end-session' };
const KICKED = { reason: 'revoked', message: null } as const;

let server: RedisServer;
let prefixes: ReturnType<typeof randomPrefixes>;
let store: RedisStore;

beforeAll(async () => {
  server = await startRedis();
});
beforeEach(() => {
  prefixes = randomPrefixes();
  store = new RedisStore(server.url, { ...prefixes, ...PATIENT });
});
afterEach(() => store.close());
afterAll(() => server.stop());

const keyOf = (userId: string) => `${prefixes.tokenKeyPrefix}:{${tagOf(userId)}}`;
const logIn = (userId: string, ttlMs = HOUR) =>
  startSession(
    store,
    tagOf(userId),
    newSession(userId, { ttlMs, attributes: ATTRIBUTES, data: DATA, maxSessions: MAX_SESSIONS }),
  );
/** Three users with one session each. */
const logInAlone = async (name: string) =>
  [await logIn(`${name} used`), await logIn(`${name} ended`), await logIn(`${name} reused`)] as const;

/** Gives a user the maximum of live and of remembered sessions. Returns a token of each live one. */
async function startAll(userId: string): Promise<TokenClaims[]> {
  const ended: TokenClaims[] = [];
  for (let i = 0; i < MAX_REMEMBERED; i++) ended.push(await logIn(userId));
  for (const { sid } of ended) await store.end(tagOf(userId), sid, KICKED);
  const live: TokenClaims[] = [];
  for (let i = 0; i < MAX_SESSIONS; i++) live.push(await logIn(userId));
  expect(await server.admin.hlen(keyOf(userId))).toBe(3 * MAX_SESSIONS + MAX_REMEMBERED + 2);
  return live;
}

/** A child of the token. */
const childOf = (token: TokenClaims): TokenClaims => ({ ...token, gen: token.gen + 1, mintedAt: token.mintedAt + 1 });

/** Runs the methods on one session, of one user or of three, and returns what `observe` returns for each. */
async function observeVerbs<Seen>(
  [used, ended, reused]: readonly [TokenClaims, TokenClaims, TokenClaims],
  observe: (verb: () => Promise<unknown>) => Promise<Seen>,
): Promise<Record<string, Seen>> {
  const { tag } = used;
  await store.touch(reused.tag, childOf(reused), POLICY, 0);
  // The first slide of a minute may also extend the key.
  await store.touch(tag, used, POLICY, 0);
  return {
    check: await observe(() => store.check(tag, used, POLICY)),
    touch: await observe(() => store.touch(tag, used, POLICY, 0)),
    'touch with a new token': await observe(() => store.touch(tag, childOf(used), POLICY, 0)),
    // Longer than the user's key lives: how much of that is left depends on the clock.
    refresh: await observe(() => store.refresh(tag, childOf(used), POLICY, 2 * HOUR)),
    'check of a session that never was': await observe(() =>
      store.check(tag, { ...used, sid: 'x'.repeat(22) }, POLICY),
    ),
    touchWithData: await observe(() => store.touchWithData(tag, childOf(used), POLICY, 0)),
    readData: await observe(() => store.readData(tag, childOf(used), POLICY, ['cart'])),
    writeData: await observe(() =>
      store.writeData(tag, childOf(used), POLICY, { entries: new Map([['count', '1']]) }, LIMITS),
    ),
    addToData: await observe(() => store.addToData(tag, childOf(used), POLICY, { key: 'count', by: 1 }, LIMITS)),
    takeData: await observe(() => store.takeData(tag, childOf(used), POLICY, 'count')),
    clearData: await observe(() => store.clearData(tag, childOf(used), POLICY)),
    reuse: await observe(() => store.check(reused.tag, reused, ENDS)),
    'check of an ended session': await observe(() => store.check(reused.tag, reused, POLICY)),
    end: await observe(() => store.end(ended.tag, ended.sid, KICKED)),
    getBan: await observe(() => store.getBan(tag)),
    states: await observe(() => store.states(tag, [used.sid, ended.sid])),
  };
}

it('each operation on one session runs the same commands on as many fields, whatever else its user has', async () => {
  const big = await startAll('big');
  const small = await logInAlone('small');
  const client = new Redis(server.url);
  const monitor = await client.monitor();
  const seen: string[] = [];
  monitor.on('monitor', (_time: string, args: string[], source: string) => {
    if (source === 'lua' || args[0] === 'echo')
      seen.push(`${args[0]?.toLowerCase()} with ${args.length - 1} arguments`, ...args.slice(-1));
  });
  /** Waits until the monitor has shown everything that Redis has run so far. */
  const settled = async () => {
    const marker = `marker ${performance.now()}`;
    await server.admin.echo(marker);
    await until('the monitor has shown the marker', () => seen.includes(marker));
  };
  const commandsOf = async (verb: () => Promise<unknown>) => {
    await settled();
    seen.length = 0;
    await verb();
    await settled();
    return seen.filter((text) => / with \d+ arguments$/.test(text) && !text.startsWith('echo'));
  };
  try {
    const ofSmall = await observeVerbs(small, commandsOf);
    const ofBig = await observeVerbs(
      [big[0], big[100], big[249]] as [TokenClaims, TokenClaims, TokenClaims],
      commandsOf,
    );
    expect(ofBig).toEqual(ofSmall);
    for (const commands of Object.values(ofSmall)) {
      expect(commands).toContainEqual(expect.stringMatching(/^hmget with [345] arguments$/));
      expect(commands.join()).not.toMatch(/hgetall|hkeys|hvals|hscan/);
    }
  } finally {
    monitor.disconnect();
    client.disconnect();
  }
});

it('each operation on one session takes Redis about as long, whatever else its user has', async () => {
  const big = await startAll('big');
  /** The time that Redis has spent on the scripts of a method, loading included. */
  const microseconds = async (verb: () => Promise<unknown>) => {
    await server.admin.config('RESETSTAT');
    await verb();
    const stats = [
      ...(await server.admin.info('commandstats')).matchAll(/^cmdstat_eval(?:sha)?:calls=\d+,usec=(\d+)/gm),
    ];
    return stats.reduce((sum, [, usec]) => sum + Number(usec), 0);
  };
  const rounds: { small: Record<string, number>; big: Record<string, number> }[] = [];
  for (let round = 0; round < 25; round++) {
    // Redis collects Lua's garbage at every 50th script: spread that over the methods.
    for (let i = 0; i < round; i++) await store.getBan(tagOf('big'));
    const small = await logInAlone(`small ${round}`);
    const of = big.slice(3 * round, 3 * round + 3) as [TokenClaims, TokenClaims, TokenClaims];
    rounds.push({
      small: await observeVerbs(small, microseconds),
      big: await observeVerbs(of, microseconds),
    });
  }
  const median = (values: number[]) => values.sort((a, b) => a - b)[values.length >> 1] as number;
  for (const verb of Object.keys(rounds[0]?.small ?? {})) {
    const [small, ofBig] = [
      median(rounds.map((r) => r.small[verb] as number)),
      median(rounds.map((r) => r.big[verb] as number)),
    ];
    expect({ verb, small, big: ofBig, isBounded: ofBig <= 4 * small }).toMatchObject({ isBounded: true });
  }
});

it('the hash of a user stays within its limit under endless logins, kicks and expiries', async () => {
  const tag = tagOf('ada');
  let most = 0;
  const tokens: TokenClaims[] = [];
  for (let i = 0; i < 1200; i++) {
    tokens.push(await logIn('ada', [HOUR, 2000, 50][i % 3]));
    most = Math.max(most, await server.admin.hlen(keyOf('ada')));
    const random = tokens[(i * 7919) % tokens.length] as TokenClaims;
    if (i % 4 === 0) await store.end(tag, random.sid, KICKED);
    if (i % 5 === 0) await store.touch(tag, childOf(random), POLICY, 0);
    if (i % 400 === 399) await store.endAll(tag, { except: random.sid, message: null, goneAtVersion: null });
    most = Math.max(most, await server.admin.hlen(keyOf('ada')));
  }
  await store.ban(tag, { userId: 'ada', durationMs: HOUR, reason: 'spam' });
  most = Math.max(most, await server.admin.hlen(keyOf('ada')));
  expect(most).toBeLessThanOrEqual(MAX_FIELDS);
  expect(most).toBeGreaterThan(MAX_FIELDS / 2);
});
