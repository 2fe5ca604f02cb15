import type { NewSession, Store, TokenClaims } from 'tokensession';
import { VERBS } from '../../src/store/store';
import { tagOf } from '../../src/token/token';
import {
  claimsOf,
  describeStores,
  HOUR,
  keepUserInfo,
  liveIn,
  newSid,
  POLICY,
  type StoreFixture,
  newSession as session,
  sidsOf,
  startSession,
  unknownToken,
} from '../support/stores';

const LIMITS = { maxBytes: 1000, maxKeys: 10 };

/** Milliseconds until a session ends. No machine takes as long for the steps before that. */
const SHORT = 10_000;

describeStores((open) => {
  const USER = 'ada';
  const TAG = tagOf(USER);
  let fixture: StoreFixture;
  let store: Store;

  beforeEach(async () => {
    fixture = await open();
    store = fixture.store;
  });
  afterEach(() => fixture.close());

  const start = (given: Partial<NewSession> = {}) => startSession(store, TAG, session(USER, given));
  const check = (token: TokenClaims) => liveIn(store.check(TAG, token, POLICY));
  const touch = (token: TokenClaims, slideEveryMs = 0) => liveIn(store.touch(TAG, token, POLICY, slideEveryMs));
  const refresh = (token: TokenClaims, ttlMs: number | null) => liveIn(store.refresh(TAG, token, POLICY, ttlMs));
  const endAll = (except: TokenClaims | null = null, goneAtVersion: number | null = null) =>
    store.endAll(TAG, { except: except?.sid ?? null, message: null, goneAtVersion });

  describe('create', () => {
    it('returns the record that a later check returns', async () => {
      const given = session(USER, { attributes: { device: 'web', ip: '::1', userAgent: 'curl "8"' } });
      const { session: created, now } = await store.create(TAG, given);
      expect(created).toEqual({
        sid: given.sid,
        createdAt: now,
        seenAt: now,
        ttlMs: HOUR,
        capAt: 0,
        gen: 0,
        mintedAt: now,
        confirmedAt: now,
        provedAt: now,
        attributes: { device: 'web', ip: '::1', userAgent: 'curl "8"' },
      });
      expect(await check(claimsOf(TAG, created))).toEqual({
        userId: USER,
        session: created,
        now: expect.any(Number),
        userInfo: null,
        userInfoVersion: 0,
      });
    });

    it('keeps what it was given, whatever the caller does with the objects later', async () => {
      const attributes = { device: 'web' };
      const { session: created } = await store.create(TAG, session(USER, { attributes }));
      attributes.device = 'tv';
      created.attributes.device = 'tv';
      expect((await store.list(TAG))?.sessions[0]?.attributes).toEqual({ device: 'web' });
    });

    it('is refused under the tag of another user, as is a ban, and changes nothing', async () => {
      const { sid } = await start();
      const corrupt = { code: 'ERR_STORE_CORRUPT' };
      await expect(store.create(TAG, session('eve'))).rejects.toMatchObject(corrupt);
      await expect(store.ban(TAG, { userId: 'eve', durationMs: null, reason: null })).rejects.toMatchObject(corrupt);
      expect([await sidsOf(store, TAG), await store.getBan(TAG)]).toEqual([[sid], null]);
    });

    it('orders the logins of one user, however fast they come', async () => {
      const logins = Array.from({ length: 20 }, () => session(USER));
      for (const login of logins) await store.create(TAG, login);
      expect(await sidsOf(store, TAG)).toEqual(logins.map(({ sid }) => sid));
      const created = (await store.list(TAG))?.sessions.map(({ createdAt }) => createdAt) ?? [];
      expect(new Set(created).size).toBe(20);
    });

    it('ends the oldest sessions over the limit, and only those', async () => {
      const logins = Array.from({ length: 5 }, () => session(USER, { maxSessions: 3 }));
      for (const login of logins) await store.create(TAG, login);
      expect(await sidsOf(store, TAG)).toEqual(logins.slice(2).map(({ sid }) => sid));
    });

    it('does not count expired sessions against the limit', async () => {
      const stays = session(USER, { maxSessions: 2 });
      await store.create(TAG, stays);
      await store.create(TAG, session(USER, { ttlMs: SHORT }));
      await fixture.elapse(SHORT);
      const comes = session(USER, { maxSessions: 2 });
      await store.create(TAG, comes);
      expect(await sidsOf(store, TAG)).toEqual([stays.sid, comes.sid]);
    });

    it('ends the sessions it replaces, and ignores one that does not exist', async () => {
      const [kept, replaced] = [session(USER), session(USER)];
      await store.create(TAG, kept);
      await store.create(TAG, replaced);
      const comes = session(USER, { replaces: [replaced.sid, newSid()] });
      await store.create(TAG, comes);
      expect(await sidsOf(store, TAG)).toEqual([kept.sid, comes.sid]);
    });

    it('moves the named keys of a replaced session, in the same step', async () => {
      const former = await start({ data: new Map(Object.entries({ cart: '1', secret: '2', theme: '3' })) });
      const heir = await start({
        data: new Map(Object.entries({ theme: '"dark"', lang: '"en"' })),
        inherits: { sid: former.sid, keys: ['cart', 'theme', 'nothing'] },
        replaces: [former.sid],
      });
      const data = new Map(Object.entries({ cart: '1', theme: '3', lang: '"en"' }));
      expect(await store.readData(TAG, heir, POLICY, null)).toEqual({ userId: USER, data });
      expect(await sidsOf(store, TAG)).toEqual([heir.sid]);
    });

    it('moves no data of a session that has ended, expired or never existed', async () => {
      const data = new Map([['cart', '1']]);
      const [ended, expired] = [await start({ data }), await start({ data, ttlMs: SHORT })];
      await store.end(TAG, ended.sid, null);
      await fixture.elapse(SHORT);
      for (const sid of [ended.sid, expired.sid, newSid()]) {
        const heir = await start({ inherits: { sid, keys: ['cart'] } });
        expect(await store.readData(TAG, heir, POLICY, null)).toEqual({ userId: USER, data: new Map() });
      }
    });

    it('returns the live session with the same id, and changes nothing', async () => {
      const given = session(USER, { data: new Map([['a', '1']]) });
      const { session: first } = await store.create(TAG, given);
      const other = { ttlMs: 5, attributes: { device: 'tv' }, data: new Map([['a', '2']]) };
      const again = await store.create(TAG, { ...given, ...other });
      expect(again.session).toEqual(first);
      expect(again.ended).toEqual([]);
      expect(await store.readData(TAG, claimsOf(TAG, first), POLICY, null)).toMatchObject({
        data: new Map([['a', '1']]),
      });
    });

    it('replaces an expired session with the same id, without its data', async () => {
      const given = session(USER, { attributes: { device: 'web' }, data: new Map([['a', '1']]) });
      await store.create(TAG, { ...given, ttlMs: SHORT });
      await fixture.elapse(SHORT);
      const { session: created } = await store.create(TAG, { ...given, attributes: {}, data: undefined });
      expect(await check(claimsOf(TAG, created))).toMatchObject({ session: { ttlMs: HOUR, attributes: {} } });
      expect(await store.readData(TAG, claimsOf(TAG, created), POLICY, null)).toMatchObject({ data: new Map() });
    });

    it('starts a session with the id of an ended one whose end is forgotten', async () => {
      await start();
      const given = session(USER, { ttlMs: SHORT });
      await store.create(TAG, given);
      await store.end(TAG, given.sid, { reason: 'revoked', message: null });
      await fixture.elapse(SHORT);
      const { session: created } = await store.create(TAG, given);
      expect(await check(claimsOf(TAG, created))).toMatchObject({ session: { sid: given.sid } });
    });

    it('lists a session that replaces an expired one with the same id as the newest', async () => {
      const given = session(USER);
      await store.create(TAG, { ...given, ttlMs: SHORT });
      const other = await start();
      await fixture.elapse(SHORT);
      await store.create(TAG, given);
      expect(await sidsOf(store, TAG)).toEqual([other.sid, given.sid]);
    });

    it('takes over a session with the time of its last proof, once', async () => {
      const given = session(USER, { provedAt: 1_600_000_000_000, data: new Map([['a', '1']]) });
      const outcomes = await Promise.all(
        Array.from({ length: 20 }, (_, i) => (i % 2 === 0 ? store : fixture.other).create(TAG, given)),
      );
      const [first] = outcomes;
      for (const { session: one } of outcomes) expect(one).toEqual(first?.session);
      expect(first?.session).toMatchObject({ gen: 0, provedAt: 1_600_000_000_000 });
      expect(await sidsOf(store, TAG)).toEqual([given.sid]);
      const unknown = await store.create(TAG, session(USER, { provedAt: 0 }));
      expect(unknown.session).toMatchObject({ provedAt: 0, mintedAt: unknown.now });
    });

    it('takes over no session that has ended or expired', async () => {
      const ended = session(USER, { provedAt: 0 });
      await store.create(TAG, ended);
      await store.end(TAG, ended.sid, { reason: 'revoked', message: null });
      const expired = session(USER, { provedAt: 0, ttlMs: SHORT });
      await store.create(TAG, expired);
      await fixture.elapse(SHORT);
      for (const again of [ended, expired]) {
        await expect(store.create(TAG, again)).rejects.toMatchObject({ code: 'ERR_NO_SESSION' });
      }
      expect(await sidsOf(store, TAG)).toEqual([]);
      await store.ban(TAG, { userId: USER, durationMs: null, reason: null });
      await expect(store.create(TAG, ended)).rejects.toMatchObject({ code: 'ERR_USER_BANNED' });
    });

    it('takes none over whose holder has ended it, and tells its tokens no reason', async () => {
      const moved = session(USER, { provedAt: 0, attributes: { moved: true, device: 'web' } });
      const { session: created } = await store.create(TAG, moved);
      expect(await store.end(TAG, moved.sid, null)).toMatchObject({ userId: USER });
      await expect(store.create(TAG, moved)).rejects.toMatchObject({ code: 'ERR_NO_SESSION' });
      expect(await store.check(TAG, claimsOf(TAG, created), POLICY)).toBeNull();
      expect((await store.states(TAG, [moved.sid])).states).toEqual([
        { isLive: false, reason: 'unknown', message: null },
      ]);
      // Another has no such memory.
      const other = session(USER);
      await store.create(TAG, other);
      await store.end(TAG, other.sid, null);
      await store.create(TAG, { ...other, provedAt: 0 });
      expect(await sidsOf(store, TAG)).toEqual([other.sid]);
    });

    it('takes none over that expired before it was ended, whoever ended it', async () => {
      const ends: ((sid: string) => Promise<unknown>)[] = [
        (sid) => store.end(TAG, sid, null),
        (sid) => store.end(TAG, sid, { reason: 'revoked', message: null }),
        (sid) => store.endWithData(TAG, sid, null),
        () => store.endAll(TAG, { except: null, message: null, goneAtVersion: null }),
      ];
      for (const end of ends) {
        const moved = session(USER, { provedAt: 0, ttlMs: SHORT, attributes: { moved: true } });
        await store.create(TAG, moved);
        await fixture.elapse(SHORT);
        await end(moved.sid);
        // Its expiry alone would be remembered for another ttl; this end is, until an hour after the expiry.
        for (const ms of [0, 3 * SHORT, HOUR - 4 * SHORT]) {
          await fixture.elapse(ms);
          await expect(store.create(TAG, moved)).rejects.toMatchObject({ code: 'ERR_NO_SESSION' });
        }
        await fixture.elapse(SHORT);
        expect((await store.create(TAG, moved)).session).toMatchObject({ sid: moved.sid });
      }
    });

    it('leaves exactly the allowed number of sessions under parallel logins over two clients', async () => {
      const logins = Array.from({ length: 100 }, () => session(USER, { maxSessions: 3 }));
      await Promise.all(logins.map((login, i) => (i % 2 === 0 ? store : fixture.other).create(TAG, login)));
      expect(await sidsOf(store, TAG)).toHaveLength(3);
    });
  });

  describe('tags', () => {
    it('lists the tag of every user and visitor, and nothing else', async () => {
      const visitor = newSid();
      await store.create(visitor, session('', { sid: visitor }));
      const users = Array.from({ length: 600 }, (_, i) => `user-${i}`);
      await Promise.all(users.map((id) => store.create(tagOf(id), session(id))));
      const found: string[] = [];
      for await (const tags of store.tags?.() ?? []) found.push(...tags);
      expect([...new Set(found)].sort()).toEqual([visitor, ...users.map(tagOf)].sort());
    });
  });

  describe('check', () => {
    it('returns null for a session and a user that do not exist', async () => {
      expect(await store.check(TAG, unknownToken(TAG), POLICY)).toBeNull();
      await start();
      expect(await store.check(TAG, unknownToken(TAG), POLICY)).toBeNull();
    });

    it('does not slide', async () => {
      const token = await start({ ttlMs: SHORT });
      await fixture.elapse(SHORT / 2);
      expect(await check(token)).not.toBeNull();
      await fixture.elapse(SHORT / 2);
      expect(await check(token)).toBeNull();
    });

    it('returns records that can be changed without changing the store', async () => {
      const token = await start({ attributes: { device: 'web' } });
      const stored = await check(token);
      if (stored === null) throw new Error('no session');
      stored.session.attributes.device = 'changed';
      stored.session.ttlMs = 1;
      expect((await check(token))?.session).toMatchObject({ ttlMs: HOUR, attributes: { device: 'web' } });
    });
  });

  describe('touch', () => {
    it('extends the expiry, so that a session in use stays live', async () => {
      const token = await start({ ttlMs: SHORT });
      for (let i = 0; i < 10; i++) {
        await fixture.elapse(SHORT / 2);
        expect(await touch(token)).not.toBeNull();
      }
      await fixture.elapse(SHORT);
      expect(await touch(token)).toBeNull();
    });

    it('returns the times after the extension', async () => {
      const token = await start();
      await fixture.elapse(5);
      const touched = await touch(token);
      expect(touched?.session.seenAt).toBe(touched?.now);
      expect((await check(token))?.session).toEqual(touched?.session);
    });

    it('only reads when less than its interval has passed', async () => {
      const token = await start();
      const created = (await check(token))?.session;
      await fixture.elapse(20);
      expect((await touch(token, HOUR / 4))?.session).toEqual(created);
      expect((await touch(token, 10))?.session.seenAt).toBeGreaterThan(created?.seenAt ?? 0);
    });

    it('slides at half the ttl when its interval is longer than that', async () => {
      const token = await start({ ttlMs: SHORT });
      for (let i = 0; i < 2; i++) {
        await fixture.elapse(SHORT * 0.6);
        expect(await touch(token, HOUR)).not.toBeNull();
      }
    });

    it('never slides past the absolute expiry', async () => {
      const token = await start({ ttlMs: HOUR, absoluteTtlMs: SHORT });
      const created = (await check(token))?.session;
      expect(created?.capAt).toBe((created?.createdAt ?? 0) + SHORT);
      await fixture.elapse(SHORT / 2);
      expect(await touch(token)).not.toBeNull();
      await fixture.elapse(SHORT / 2);
      expect(await touch(token)).toBeNull();
    });

    it('returns the cached user info, and its version', async () => {
      const token = await start();
      const version = await keepUserInfo(store, TAG, '{"name":"Ada"}');
      for (const found of [await touch(token), await check(token), await refresh(token, null)]) {
        expect(found?.userInfo).toBe('{"name":"Ada"}');
        expect(found?.userInfoVersion).toBe(version);
      }
      await store.deleteUserInfo(TAG);
      expect((await check(token))?.userInfoVersion).toBeGreaterThan(version);
    });

    it('does not shorten other sessions of the user', async () => {
      const long = await start();
      const short = await start({ ttlMs: SHORT });
      await touch(short);
      await fixture.elapse(SHORT);
      expect(await sidsOf(store, TAG)).toEqual([long.sid]);
    });
  });

  describe('refresh', () => {
    it('sets a new ttl for a live session, longer or shorter', async () => {
      const token = await start({ ttlMs: SHORT });
      expect((await refresh(token, HOUR))?.session).toMatchObject({ ttlMs: HOUR });
      expect((await check(token))?.session.ttlMs).toBe(HOUR);
      expect((await refresh(token, SHORT))?.session).toMatchObject({ ttlMs: SHORT });
      await fixture.elapse(SHORT);
      expect(await check(token)).toBeNull();
    });

    it("keeps the session's ttl when called without one", async () => {
      const token = await start({ ttlMs: SHORT });
      await fixture.elapse(SHORT / 2);
      expect((await refresh(token, null))?.session).toMatchObject({ ttlMs: SHORT });
      await fixture.elapse(SHORT * 0.6);
      expect(await check(token)).not.toBeNull();
    });

    it('revives no session that never existed, ended or expired', async () => {
      await start();
      const ended = await start();
      const expired = await start({ ttlMs: SHORT });
      await store.end(TAG, ended.sid, null);
      await fixture.elapse(SHORT);
      for (const token of [unknownToken(TAG), ended, expired]) {
        expect(await refresh(token, HOUR)).toBeNull();
        expect(await refresh({ ...token, gen: 7 }, HOUR)).toBeNull();
        expect(await check(token)).toBeNull();
      }
    });
  });

  describe('end', () => {
    it('ends one session, once, and no other', async () => {
      const [one, two] = [await start({ attributes: { device: 'web' } }), await start()];
      expect(await store.end(TAG, one.sid, null)).toEqual({ userId: USER });
      expect(await store.end(TAG, one.sid, null)).toBeNull();
      expect(await sidsOf(store, TAG)).toEqual([two.sid]);
    });

    it('returns null for an expired session', async () => {
      await start();
      const { sid } = await start({ ttlMs: SHORT });
      await fixture.elapse(SHORT);
      expect(await store.end(TAG, sid, null)).toBeNull();
    });
  });

  describe('endWithData', () => {
    it('ends one session, once, and returns its data', async () => {
      const data = new Map([
        ['cart', '["book"]'],
        ['__proto__', '1'],
        ['é 💚', '"💚"'],
      ]);
      const [one, two] = [await start({ data }), await start()];
      const why = { reason: 'revoked', message: 'bye' } as const;
      expect(await store.endWithData(TAG, one.sid, why)).toEqual({ userId: USER, data });
      expect(await store.endWithData(TAG, one.sid, why)).toBeNull();
      expect(await store.check(TAG, one, POLICY)).toMatchObject(why);
      expect(await store.endWithData(TAG, two.sid, null)).toEqual({ userId: USER, data: new Map() });
      expect(await store.list(TAG)).toMatchObject({ sessions: [] });
    });

    it('returns null for an expired session, and deletes its data', async () => {
      const { sid } = await start({ ttlMs: SHORT, data: new Map([['cart', '1']]) });
      await fixture.elapse(SHORT);
      expect(await store.endWithData(TAG, sid, null)).toBeNull();
    });

    it('returns every acknowledged write, and no later write is acknowledged', async () => {
      for (let round = 0; round < 20; round++) {
        const token = await start();
        const write = (key: string) =>
          store.writeData(TAG, token, POLICY, { entries: new Map([[key, '1']]) }, LIMITS).then((found) => [key, found]);
        const writing = Array.from({ length: 8 }, (_, i) => write(`key-${i}`));
        const ending = store.endWithData(TAG, token.sid, null);
        const more = Array.from({ length: 8 }, (_, i) => write(`late-${i}`));
        const written = (await Promise.all([...writing, ...more])).filter(([, found]) => found !== null);
        expect([...((await ending)?.data.keys() ?? fail())].sort()).toEqual(written.map(([key]) => key).sort());
      }
    });
  });

  describe('endAll', () => {
    it('ends every session and returns the live ones', async () => {
      await start({ ttlMs: SHORT });
      await fixture.elapse(SHORT);
      const sids = [(await start()).sid, (await start()).sid];
      expect((await endAll()).sort()).toEqual(sids.sort());
      expect(await sidsOf(store, TAG)).toEqual([]);
      expect(await endAll()).toEqual([]);
    });

    it('keeps the excepted one', async () => {
      const [one, two] = [await start(), await start()];
      expect(await endAll(two)).toEqual([one.sid]);
      expect(await sidsOf(store, TAG)).toEqual([two.sid]);
    });

    it('keeps the user info, unless the user was deleted', async () => {
      const version = await keepUserInfo(store, TAG, '1');
      const token = await start();
      await endAll(token);
      expect(await check(token)).toMatchObject({ userInfo: '1' });
      await endAll(token, version);
      expect(await check(token)).toMatchObject({ userInfo: null });
    });

    it("keeps every other user's sessions", async () => {
      const other = session('grace');
      await store.create(tagOf('grace'), other);
      await start();
      await endAll();
      expect(await sidsOf(store, tagOf('grace'))).toEqual([other.sid]);
    });

    it('and a login at the same moment take effect in one of the two orders: never live and unlisted', async () => {
      for (let round = 0; round < 50; round++) {
        const user = `round ${round}`;
        const tag = tagOf(user);
        const before = await startSession(store, tag, session(user));
        const [during, ended] = await Promise.all([
          startSession(store, tag, session(user)),
          fixture.other.endAll(tag, { except: null, message: null, goneAtVersion: null }),
        ]);
        const listed = await sidsOf(store, tag);
        const isLive = (await liveIn(store.check(tag, during, POLICY))) !== null;
        expect({ ended, listed, isLive }).toEqual(
          ended.length === 2
            ? { ended, listed: [], isLive: false }
            : { ended: [before.sid], listed: [during.sid], isLive: true },
        );
        expect(await liveIn(store.check(tag, before, POLICY))).toBeNull();
      }
    });
  });

  describe('list', () => {
    it('returns null for a user without a record', async () => {
      expect(await store.list(TAG)).toBeNull();
    });

    it('leaves out expired sessions and returns attributes', async () => {
      await store.create(TAG, session(USER, { ttlMs: SHORT }));
      await store.create(TAG, session(USER, { attributes: { device: 'web' } }));
      await fixture.elapse(SHORT);
      const listed = await store.list(TAG);
      expect(listed?.userId).toBe(USER);
      expect(listed?.sessions.map(({ attributes }) => attributes)).toEqual([{ device: 'web' }]);
    });
  });

  describe('user info', () => {
    it('is kept for its ttl', async () => {
      const token = await start();
      await keepUserInfo(store, TAG, 'old');
      await keepUserInfo(store, TAG, 'new', SHORT);
      expect((await check(token))?.userInfo).toBe('new');
      // Two versions from the same millisecond are a millisecond apart.
      await fixture.elapse(SHORT + 2);
      expect((await check(token))?.userInfo).toBeNull();
      expect(await store.deleteUserInfo(TAG)).toBe(false);
    });

    it('is deleted once', async () => {
      await keepUserInfo(store, TAG, '1');
      expect(await store.deleteUserInfo(TAG)).toBe(true);
      expect(await store.deleteUserInfo(TAG)).toBe(false);
    });
  });

  describe('health', () => {
    it('is up, and down once the store is closed; it never rejects', async () => {
      expect(await store.health()).toEqual({ status: 'up', latencyMs: expect.any(Number), reasons: [] });
      await store.close();
      expect(await store.health()).toEqual({ status: 'down', latencyMs: null, reasons: ['the store is closed'] });
    });
  });

  describe('states', () => {
    const REVOKED = { reason: 'revoked', message: 'signed out on Firefox:\nat 14:02' } as const;
    const UNKNOWN = { isLive: false, reason: 'unknown', message: null };

    it('returns the expiry of each live session, or the reason why it ended, in the order of the ids', async () => {
      const [expired, live, kicked, out] = [
        await start({ ttlMs: SHORT, absoluteTtlMs: SHORT }),
        await start(),
        await start(),
        await start(),
      ];
      await fixture.elapse(SHORT);
      const { session: record, now } = (await touch(live)) ?? fail();
      await store.end(TAG, kicked.sid, REVOKED);
      await store.end(TAG, out.sid, null);
      const sids = [out, kicked, unknownToken(TAG), live, expired].map(({ sid }) => sid);
      expect(await fixture.other.states(TAG, sids)).toEqual({
        userId: USER,
        now: expect.any(Number),
        states: [
          UNKNOWN,
          { isLive: false, ...REVOKED },
          UNKNOWN,
          { isLive: true, expiresAt: record.seenAt + HOUR },
          { isLive: false, reason: 'expired', message: null },
        ],
      });
      expect((await store.states(TAG, [])).now).toBeGreaterThanOrEqual(now);
    });

    it('returns the reason of a ban, a replacement and a reuse', async () => {
      const [replaced, reused] = [await start(), await start()];
      const banned = await start({ replaces: [replaced.sid] });
      await store.touch(TAG, { ...reused, gen: 2 }, POLICY, 0);
      await fixture.elapse(20);
      await store.check(TAG, reused, { graceMs: 0, onReuse: 'end-session' });
      await store.ban(TAG, { userId: USER, durationMs: null, reason: 'spam' });
      const { states } = await store.states(
        TAG,
        [replaced, reused, banned].map(({ sid }) => sid),
      );
      expect(states).toEqual([
        { isLive: false, reason: 'replaced', message: null },
        { isLive: false, reason: 'reused', message: null },
        { isLive: false, reason: 'banned', message: 'spam' },
      ]);
    });

    it('checks no token and changes nothing: the session neither slides nor rotates', async () => {
      const token = await start();
      const before = await check(token);
      await fixture.elapse(10);
      const { states } = await store.states(TAG, [token.sid, token.sid]);
      expect(states).toEqual(states.map(() => ({ isLive: true, expiresAt: (before?.session.seenAt ?? 0) + HOUR })));
      expect((await check(token))?.session).toEqual(before?.session);
    });

    it('returns the empty user id of a visitor, which is not that of an unknown user', async () => {
      const visitor = session('');
      await store.create(visitor.sid, visitor);
      expect(await store.states(visitor.sid, [visitor.sid])).toMatchObject({ userId: '', states: [{ isLive: true }] });
    });

    it('returns nothing for an unknown user, for any number of sessions', async () => {
      const sids = Array.from({ length: 2500 }, newSid);
      const { userId, states } = await store.states(TAG, sids);
      expect([userId, states]).toEqual([null, sids.map(() => UNKNOWN)]);
    });
  });

  describe('data', () => {
    it('is read by key: all keys for null, no data for an empty list', async () => {
      const token = await startSession(store, TAG, session(USER));
      const entries = new Map([
        ['a', '1'],
        ['b', '2'],
      ]);
      await store.writeData(TAG, token, POLICY, { entries }, LIMITS);
      const read = async (keys: string[] | null) =>
        (await store.readData(TAG, token, POLICY, keys)) as { data: unknown };
      expect((await read(null)).data).toEqual(entries);
      expect((await read(['b', 'c'])).data).toEqual(new Map([['b', '2']]));
      expect((await read([])).data).toEqual(new Map());
    });
  });

  describe('close', () => {
    it('makes every later call reject, and may be called again', async () => {
      await store.close();
      await store.close();
      const token = unknownToken(TAG);
      const calls = [
        store.create(TAG, session(USER)),
        store.check(TAG, token, POLICY),
        store.touch(TAG, token, POLICY, 0),
        store.touchWithData(TAG, token, POLICY, 0),
        store.refresh(TAG, token, POLICY, null),
        store.readData(TAG, token, POLICY, null),
        store.writeData(TAG, token, POLICY, { entries: new Map([['key', '1']]) }, LIMITS),
        store.takeData(TAG, token, POLICY, 'key'),
        store.addToData(TAG, token, POLICY, { key: 'key', by: 1 }, LIMITS),
        store.clearData(TAG, token, POLICY),
        store.end(TAG, token.sid, null),
        store.endWithData(TAG, token.sid, null),
        endAll(),
        store.ban(TAG, { userId: USER, durationMs: null, reason: null }),
        store.unban(TAG, USER),
        store.getBan(TAG),
        store.list(TAG),
        store.states(TAG, [token.sid]),
        store.renewUserInfo(TAG),
        store.setUserInfo(TAG, '1', HOUR, Date.now()),
        store.deleteUserInfo(TAG),
      ];
      expect(calls).toHaveLength(Object.keys(VERBS).length);
      const refused = { status: 'rejected', reason: expect.objectContaining({ code: 'ERR_STORE_UNAVAILABLE' }) };
      expect(await Promise.allSettled(calls)).toEqual(calls.map(() => refused));
      const tags = store.tags?.()[Symbol.asyncIterator]();
      expect(await Promise.allSettled([tags?.next()])).toEqual([refused]);
    });
  });
});

function fail(): never {
  throw new Error('no session');
}
