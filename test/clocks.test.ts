import { MemoryStore, RedisStore, type Store, type TokenClaims } from 'tokensession';
import { tagOf } from '../src/token/token';
import { type RedisServer, startRedis } from './support/redis-server';
import { HOUR, liveIn, newSession, PATIENT, randomPrefixes, startSession } from './support/stores';
import { moveRecords } from './support/virtual-time';

/*
 * The clock of the store is set back by an hour, so that earlier records lie in the future; or it leaps ahead.
 */

const USER_ID = 'ada';
const TAG = tagOf(USER_ID);
const GRACE = 60_000;
const ENDS = { graceMs: GRACE, onReuse: 'end' } as const;
const TTL = 2 * HOUR;

interface Clock {
  store: Store;
  /** Sets the clock of the store back by an hour. */
  setBack(): Promise<void>;
  /** Sets the clock of the store ahead by this many milliseconds. */
  leapAhead(ms: number): Promise<void>;
}

let server: RedisServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

function memoryClock(): Clock {
  let now = Date.now();
  const setBack = async () => {
    now -= HOUR;
  };
  const leapAhead = async (ms: number) => {
    now += ms;
  };
  return { store: new MemoryStore({ now: () => now }), setBack, leapAhead };
}

/** Redis uses the clock of the machine, so the moments in the records are moved the other way instead. */
function redisClock(): Clock {
  const prefixes = randomPrefixes();
  return {
    store: new RedisStore(server.url, { ...prefixes, ...PATIENT }),
    setBack: () => moveRecords(server.admin, prefixes, HOUR),
    leapAhead: (ms) => moveRecords(server.admin, prefixes, -ms),
  };
}

describe.each([
  ['MemoryStore', memoryClock],
  ['RedisStore', redisClock],
])('%s', (_name, open) => {
  let clock: Clock;
  beforeEach(() => {
    clock = open();
  });
  afterEach(() => clock.store.close());

  const logIn = () => startSession(clock.store, TAG, newSession(USER_ID, { ttlMs: TTL }));
  const touch = (token: TokenClaims) => clock.store.touch(TAG, token, ENDS, GRACE);
  /** The claims of the token in the record. */
  const current = async (sid: string): Promise<TokenClaims> => {
    const record = (await clock.store.list(TAG))?.sessions.find((session) => session.sid === sid);
    return { tag: TAG, ...(record as NonNullable<typeof record>) };
  };

  it('the next touch extends a session to its full ttl', async () => {
    const { sid } = await logIn();
    await clock.setBack();
    const found = await liveIn(touch(await current(sid)));
    expect((found?.session.seenAt as number) - (found?.now as number)).toBe(0);
  });

  it('a leap ahead expires the sessions with less time left than the leap, and no other', async () => {
    const short = await startSession(clock.store, TAG, newSession(USER_ID, { ttlMs: HOUR / 2 }));
    const long = await logIn();
    await clock.leapAhead(HOUR);
    const [later, now] = await Promise.all([current(long.sid), clock.store.states(TAG, [short.sid, long.sid])]);
    expect(now).toMatchObject({ states: [{ reason: 'expired' }, { expiresAt: expect.any(Number) }] });
    expect(await touch(short)).toMatchObject({ session: null, reason: 'expired' });
    expect(await liveIn(touch(later))).not.toBeNull();
    const next = await logIn();
    expect((await clock.store.list(TAG))?.sessions.map(({ sid }) => sid)).toEqual([long.sid, next.sid]);
  });

  it('reuse of a former token is detected at once, not an hour later', async () => {
    const first = await logIn();
    const next = { ...first, gen: 1, mintedAt: first.mintedAt + 1 };
    expect(await liveIn(touch(next))).not.toBeNull();
    await clock.setBack();
    expect(await touch(first)).toMatchObject({ session: null, reason: 'reused' });
  });

  it('later logins are ordered after the earlier ones, and end with the rest', async () => {
    const earlier = await logIn();
    await clock.setBack();
    const later = await logIn();
    const sids = (await clock.store.list(TAG))?.sessions.map(({ sid }) => sid);
    expect(sids).toEqual([earlier.sid, later.sid]);
    expect(await clock.store.endAll(TAG, { except: null, message: null, goneAtVersion: null })).toHaveLength(2);
    expect((await clock.store.list(TAG))?.sessions ?? []).toEqual([]);
  });

  it('a login is a recent proof, though it is ordered after logins with a later time', async () => {
    await logIn();
    await clock.setBack();
    const { provedAt, mintedAt, sid } = await logIn();
    const now = (await liveIn(touch(await current(sid))))?.now as number;
    expect(now - provedAt).toBeGreaterThanOrEqual(0);
    expect(now - provedAt).toBeLessThan(60_000);
    expect(mintedAt).toBe(provedAt);
  });

  it('user info loaded after it is cached for its whole ttl', async () => {
    const { store } = clock;
    await store.setUserInfo(TAG, '1', HOUR, await store.renewUserInfo(TAG));
    await clock.setBack();
    await store.setUserInfo(TAG, '2', 30_000, await store.renewUserInfo(TAG));
    const token = await logIn();
    expect((await liveIn(touch(token)))?.userInfo).toBe('2');
    await clock.leapAhead(30_000);
    expect((await liveIn(touch(token)))?.userInfo).toBeNull();
  });
});
