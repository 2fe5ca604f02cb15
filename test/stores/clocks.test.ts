import { type Session, type TokenClaims, TokenManager } from 'tokensession';
import { tagOf } from '../../src/token/token';
import {
  describeStores,
  HOUR,
  liveIn,
  newSession,
  SECRET,
  type StoreFixture,
  sidsOf,
  startSession,
} from '../support/stores';
import { until } from '../support/until';

/*
 * The clock of the store is set back, so that earlier records lie in the future; or it leaps ahead.
 */

const USER_ID = 'ada';
const TAG = tagOf(USER_ID);
const GRACE = 60_000;
const ENDS = { graceMs: GRACE, onReuse: 'end-session' } as const;
const TTL = 2 * HOUR;
const DAY = 24 * HOUR;

describeStores((open) => {
  let clock: StoreFixture;
  beforeEach(async () => {
    clock = await open();
  });
  afterEach(() => clock.close());

  const logIn = () => startSession(clock.store, TAG, newSession(USER_ID, { ttlMs: TTL }));
  const touch = (token: TokenClaims) => clock.store.touch(TAG, token, ENDS, GRACE);

  it('the next touch extends a session to its full ttl', async () => {
    const token = await logIn();
    await clock.elapse(-HOUR);
    const found = await liveIn(touch(token));
    expect((found?.session.seenAt as number) - (found?.now as number)).toBe(0);
  });

  it('a leap ahead expires the sessions with less time left than the leap, and no other', async () => {
    const short = await startSession(clock.store, TAG, newSession(USER_ID, { ttlMs: HOUR / 2 }));
    const long = await logIn();
    await clock.elapse(HOUR);
    expect(await clock.store.states(TAG, [short.sid, long.sid])).toMatchObject({
      states: [{ reason: 'expired' }, { expiresAt: expect.any(Number) }],
    });
    expect(await touch(short)).toMatchObject({ session: null, reason: 'expired' });
    expect(await liveIn(touch(long))).not.toBeNull();
    const next = await logIn();
    expect(await sidsOf(clock.store, TAG)).toEqual([long.sid, next.sid]);
  });

  it('reuse of a former token is detected at once, not an hour later', async () => {
    const first = await logIn();
    const next = { ...first, gen: 1, mintedAt: first.mintedAt + 1 };
    expect(await liveIn(touch(next))).not.toBeNull();
    await clock.elapse(-HOUR);
    expect(await touch(first)).toMatchObject({ session: null, reason: 'reused' });
  });

  it('later logins are ordered after the earlier ones, and end with the rest', async () => {
    const earlier = await logIn();
    await clock.elapse(-HOUR);
    const later = await logIn();
    expect(await sidsOf(clock.store, TAG)).toEqual([earlier.sid, later.sid]);
    expect(await clock.store.endAll(TAG, { except: null, message: null, goneAtVersion: null })).toHaveLength(2);
    expect(await sidsOf(clock.store, TAG)).toEqual([]);
  });

  it('a login is a recent proof, though it is ordered after logins with a later time', async () => {
    await logIn();
    await clock.elapse(-HOUR);
    const token = await logIn();
    const { provedAt, mintedAt } = token;
    const now = (await liveIn(touch(token)))?.now as number;
    expect(now - provedAt).toBeGreaterThanOrEqual(0);
    expect(now - provedAt).toBeLessThan(60_000);
    expect(mintedAt).toBe(provedAt);
  });

  it('user info loaded after it is cached for its whole ttl', async () => {
    const { store } = clock;
    await store.setUserInfo(TAG, '1', HOUR, await store.renewUserInfo(TAG));
    await clock.elapse(-HOUR);
    await store.setUserInfo(TAG, '2', 30_000, await store.renewUserInfo(TAG));
    const token = await logIn();
    expect((await liveIn(touch(token)))?.userInfo).toBe('2');
    await clock.elapse(30_000);
    expect((await liveIn(touch(token)))?.userInfo).toBeNull();
  });

  it('a ban that was lifted does not come back when the clock does', async () => {
    for (const [userId, durationMs] of [[USER_ID, null] as const, ['eve', 48 * HOUR] as const]) {
      const tag = tagOf(userId);
      const ban = { userId, durationMs, reason: null };
      await clock.store.ban(tag, ban);
      await clock.elapse(-HOUR);
      expect(await clock.store.getBan(tag)).not.toBeNull();
      expect(await clock.store.unban(tag, userId)).toBe(true);
      await clock.elapse(-24 * HOUR);
      expect(await clock.store.getBan(tag)).toBeNull();
      expect(await clock.store.unban(tag, userId)).toBe(false);
      expect(await startSession(clock.store, tag, newSession(userId))).toMatchObject({ tag });
      await clock.store.ban(tag, ban);
      expect(await clock.store.getBan(tag)).not.toBeNull();
    }
  });

  describe.each([
    ['an hour ahead', HOUR],
    ['an hour back', -HOUR],
    ['a day ahead', DAY],
    ['a day back', -DAY],
  ])('steps %s under requests, and returns:', (_, step) => {
    /** Seconds: longer than any step. */
    const LONG = 3 * 24 * 3600;
    let sessions: TokenManager<{ name: string }>;
    /** Another process, with a near cache where the store can have one. */
    let cached: TokenManager<{ name: string }>;
    beforeEach(async () => {
      const options = { secret: SECRET, rotationGrace: 60, getUserInfo: (name: string) => ({ name }) };
      sessions = new TokenManager({ ...options, store: clock.store });
      cached = new TokenManager({ ...options, store: clock.other, cache: { maxAgeMs: 1000 } });
      await until('the cache is up', () => cached.cacheStats?.isUp !== false);
    });
    afterEach(() => Promise.all([sessions.close(), cached.close()]));

    /** Steps the clock under requests with these tokens and under logins, all of which succeed. */
    async function stepUnderRequests(ms: number, tokens: readonly string[]): Promise<void> {
      const askAll = async () => {
        const both = tokens.flatMap((token) => [sessions.touchToken(token), cached.touchToken(token)]);
        const found = await Promise.all([...both, sessions.createSession('another')]);
        expect(found).toEqual(found.map(() => expect.objectContaining({ user: expect.anything() })));
      };
      // The records move on to the tokens before the step, or else in it.
      await askAll();
      let isStepping = true;
      const stepped = clock.elapse(ms).finally(() => {
        isStepping = false;
      });
      do await askAll();
      while (isStepping);
      await stepped;
    }

    const userOf = (session: Session<{ name: string }> | null) => session?.user.detail?.name ?? null;
    const reasonOf = async (manager: typeof sessions, token: string) => (await manager.inspectToken(token)).reason;
    const untilGoneFromCache = (token: string) =>
      until('the cache has let go of it', async () => (await cached.touchToken(token)) === null);

    it('sessions in use live on with their user, and expire only by their ttl', async () => {
      const users = Array.from({ length: 10 }, (_, i) => `user ${i}`);
      const tokens = await Promise.all(users.map((id) => sessions.setToken(id, LONG)));
      const short = await sessions.setToken('user 0', 1800);
      await cached.touchToken(short);
      for (const ms of [step, -step]) {
        await stepUnderRequests(ms, tokens);
        for (const manager of [sessions, cached]) {
          expect((await Promise.all(tokens.map((token) => manager.touchToken(token)))).map(userOf)).toEqual(users);
        }
        const isLive = async (manager: typeof sessions) => (await manager.checkToken(short)) !== null;
        const isOver = ms === step && step > 0;
        expect(await isLive(sessions)).toBe(!isOver);
        if (isOver) await until('the cache has let go of it', async () => !(await isLive(cached)));
      }
    });

    it('what has ended stays ended, and an end reaches the cache', async () => {
      const live = await sessions.setToken(USER_ID, LONG);
      const [loggedOut, kicked, later, all] = await Promise.all([
        sessions.setToken(USER_ID),
        sessions.createSession(USER_ID),
        sessions.setToken(USER_ID, LONG),
        sessions.setToken('eve', LONG),
      ]);
      await sessions.deleteToken(loggedOut);
      await sessions.deleteSession(USER_ID, kicked.id);
      const ended = [loggedOut, kicked.token];
      for (const [ms, next] of [[step, later] as const, [-step, all] as const]) {
        expect(userOf(await cached.touchToken(next))).not.toBeNull();
        await stepUnderRequests(ms, [live]);
        await sessions.deleteToken(next);
        ended.push(next);
        for (const token of ended) {
          expect(await sessions.touchToken(token)).toBeNull();
          await untilGoneFromCache(token);
        }
      }
    });

    it('rotated tokens live on, and a former one is a reuse', async () => {
      const first = await sessions.setToken(USER_ID, LONG);
      const second = (await sessions.rotateToken(first)) as string;
      expect(await sessions.touchToken(second)).not.toBeNull();
      await stepUnderRequests(step, [second]);
      const third = (await sessions.rotateToken(second)) as string;
      await stepUnderRequests(-step, [third]);
      expect(await reasonOf(sessions, first)).toBe('reused');
      expect(await sessions.touchToken(third)).toBeNull();
      await untilGoneFromCache(third);
    });

    it('logins and bans keep their order', async () => {
      const logins = [await sessions.createSession(USER_ID, { ttl: LONG })];
      await sessions.banUser('eve');
      await sessions.banUser('bob', { seconds: 2 * 3600 });
      for (const ms of [step, -step]) {
        await stepUnderRequests(
          ms,
          logins.map(({ token }) => token),
        );
        logins.push(await sessions.createSession(USER_ID, { ttl: LONG }));
        expect(await sidsOf(clock.store, TAG)).toEqual(logins.map(({ id }) => id));
        await expect(sessions.setToken('eve')).rejects.toMatchObject({ code: 'ERR_USER_BANNED' });
        if (ms === step) expect((await sessions.getBan('bob')) === null).toBe(step === DAY);
      }
      expect(await sessions.banUser(USER_ID)).toBe(logins.length);
      expect(await sidsOf(clock.store, TAG)).toEqual([]);
      await expect(sessions.setToken(USER_ID)).rejects.toMatchObject({ code: 'ERR_USER_BANNED' });
      for (const { token } of logins) {
        expect(await sessions.touchToken(token)).toBeNull();
        await untilGoneFromCache(token);
      }
      await sessions.unbanUser(USER_ID);
      const again = await sessions.setToken(USER_ID);
      for (const manager of [sessions, cached]) expect(await manager.touchToken(again)).not.toBeNull();
    });
  });
});
