import type { NewSession, ReusePolicy, Store, StoredSession, TokenClaims } from 'tokensession';
import { loadVersionOf } from '../../src/store/store';
import { tagOf } from '../../src/token/token';
import {
  describeStores,
  HOUR,
  keepUserInfo,
  liveIn,
  newSession,
  POLICY,
  type StoreFixture,
  sidsOf,
  startSession,
  unknownToken,
} from '../support/stores';

/** Milliseconds until a session, a grace or a ban ends. No machine takes as long for the steps before that. */
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

  async function start(given: Partial<NewSession> = {}): Promise<string> {
    const login = newSession(USER, given);
    await store.create(TAG, login);
    return login.sid;
  }
  /** Starts a session, and returns its first token. */
  const startToken = (given: Partial<NewSession> = {}) => startSession(store, TAG, newSession(USER, given));
  /** A token of a session whose other attributes do not matter. */
  const tokenOf = (sid: string): TokenClaims => ({ ...unknownToken(TAG), sid });

  const kickAll = (message: string | null = null) => store.endAll(TAG, { except: null, message, goneAtVersion: null });
  /** The absence that a check returns for a session that is not live. */
  const reasonFor = async (sid: string) => {
    const found = await store.check(TAG, tokenOf(sid), POLICY);
    if (found?.session) throw new Error('the session is live');
    return found === null ? null : [found.reason, found.message];
  };

  describe('a session that came from another store', () => {
    const DAY = 24 * HOUR;
    const moved = (given: Partial<NewSession>) =>
      newSession(USER, { provedAt: 0, attributes: { moved: true }, ttlMs: 7 * DAY, ...given });

    it('lives until absoluteTtl after its login there, where that is known', async () => {
      const { now } = await store.create(TAG, newSession(USER));
      const absoluteTtlMs = 30 * DAY;
      const provedAt = now - 29 * DAY;
      const { session } = await store.create(TAG, moved({ provedAt, absoluteTtlMs }));
      expect(session).toMatchObject({ provedAt, capAt: provedAt + absoluteTtlMs });
      const unknown = await store.create(TAG, moved({ absoluteTtlMs }));
      expect(unknown.session.capAt).toBe(unknown.now + absoluteTtlMs);
      const ahead = await store.create(TAG, moved({ provedAt: now + DAY, absoluteTtlMs }));
      expect(ahead.session.capAt).toBe(ahead.now + absoluteTtlMs);
    });

    it('is refused once absoluteTtl has passed since that login, and ends no other session', async () => {
      const sid = await start();
      const { now } = (await store.list(TAG)) as { now: number };
      const over = moved({ provedAt: now - 30 * DAY, absoluteTtlMs: 30 * DAY, maxSessions: 1 });
      await expect(store.create(TAG, over)).rejects.toMatchObject({ code: 'ERR_NO_SESSION' });
      expect(await sidsOf(store, TAG)).toEqual([sid]);
    });

    it.each<[string, (sid: string) => Promise<unknown>]>([
      ['a kick', (sid) => store.end(TAG, sid, { reason: 'revoked', message: null })],
      ['a kick of all', () => kickAll()],
      ['its holder', (sid) => store.end(TAG, sid, null)],
    ])('is not started again for as long as it would have lived, after its end by %s', async (_, end) => {
      const session = moved({});
      await store.create(TAG, session);
      await end(session.sid);
      await fixture.elapse(DAY + HOUR);
      await expect(store.create(TAG, session)).rejects.toMatchObject({ code: 'ERR_NO_SESSION' });
      await start();
      await fixture.elapse(5 * DAY);
      await expect(store.create(TAG, session)).rejects.toMatchObject({ code: 'ERR_NO_SESSION' });
    });
  });

  describe('why a session ended', () => {
    it('is known for a session that another login replaced', async () => {
      const [oldest, other] = [await start(), await start()];
      const login = newSession(USER, { maxSessions: 2 });
      expect((await store.create(TAG, login)).ended).toEqual([oldest]);
      expect(await reasonFor(oldest)).toEqual(['replaced', null]);
      const again = newSession(USER, { replaces: [other] });
      expect((await store.create(TAG, again)).ended).toEqual([other]);
      expect(await reasonFor(other)).toEqual(['replaced', null]);
    });

    it('is known for a session that was kicked, alone or with all others, with the message', async () => {
      const [one, two] = [await start(), await start()];
      await store.end(TAG, one, { reason: 'revoked', message: 'Signed out at the reception: desk 3' });
      await kickAll('Password\nchanged');
      expect(await reasonFor(one)).toEqual(['revoked', 'Signed out at the reception: desk 3']);
      expect(await reasonFor(two)).toEqual(['revoked', 'Password\nchanged']);
      await kickAll('later');
      await store.end(TAG, two, null);
      expect(await reasonFor(two)).toEqual(['revoked', 'Password\nchanged']);
    });

    it('is known for an expired session as long again as its ttl, even for the user’s only one', async () => {
      const short = await start({ ttlMs: SHORT });
      await fixture.elapse(SHORT);
      expect(await store.touch(TAG, tokenOf(short), POLICY, 0)).toEqual({
        session: null,
        userId: USER,
        sid: short,
        reason: 'expired',
        message: null,
        isDetected: true,
        isEndedNow: false,
      });
      const capped = await start({ absoluteTtlMs: SHORT });
      await fixture.elapse(SHORT);
      expect(await reasonFor(capped)).toEqual(['expired', null]);
      // A login deletes the reasons that it may.
      await start();
      expect(await reasonFor(short)).toBeNull();
      expect(await reasonFor(capped)).toEqual(['expired', null]);
    });

    it('is returned by each verb on the session, and none revives it', async () => {
      const sid = await start();
      await kickAll();
      const token = tokenOf(sid);
      for (const found of [
        await store.check(TAG, token, POLICY),
        await store.touch(TAG, token, POLICY, 0),
        await store.touch(TAG, { ...token, gen: 7 }, POLICY, 0),
        await store.refresh(TAG, token, POLICY, HOUR),
      ]) {
        expect(found).toMatchObject({ session: null, userId: USER, reason: 'revoked', isDetected: false });
      }
      expect(await sidsOf(store, TAG)).toEqual([]);
    });

    it('survives a login that replaces the expired session', async () => {
      const short = await start({ ttlMs: SHORT });
      await fixture.elapse(SHORT);
      await start({ replaces: [short] });
      expect(await reasonFor(short)).toEqual(['expired', null]);
    });

    it('is null for a session that its holder ended, and for one that never existed', async () => {
      const sid = await start();
      await start();
      await store.end(TAG, sid, null);
      expect(await reasonFor(sid)).toBeNull();
      expect(await store.check(TAG, unknownToken(TAG), POLICY)).toBeNull();
      expect(await store.check(tagOf('nobody'), unknownToken(tagOf('nobody')), POLICY)).toBeNull();
    });

    it('is forgotten when the session would have expired by itself', async () => {
      const sid = await start({ ttlMs: SHORT });
      await start();
      await store.end(TAG, sid, { reason: 'revoked', message: null });
      expect(await reasonFor(sid)).toEqual(['revoked', null]);
      await fixture.elapse(SHORT);
      expect(await reasonFor(sid)).toBeNull();
    });

    it('is forgotten after a day, however long the session would have lived', async () => {
      const day = 24 * HOUR;
      const [revoked, kicked] = [await start({ ttlMs: 7 * day }), await start({ ttlMs: 7 * day })];
      await store.end(TAG, revoked, { reason: 'revoked', message: null });
      await kickAll();
      await fixture.elapse(day - SHORT);
      expect([await reasonFor(revoked), await reasonFor(kicked)]).toEqual(Array(2).fill(['revoked', null]));
      await fixture.elapse(SHORT);
      expect([await reasonFor(revoked), await reasonFor(kicked)]).toEqual([null, null]);
    });

    it('is forgotten at the absolute expiry of the session, if that is sooner, whatever has ended it', async () => {
      const capped = { absoluteTtlMs: SHORT };
      const [revoked, replaced, kicked] = [await start(capped), await start(capped), await start(capped)];
      const reused = await startToken(capped);
      await store.end(TAG, revoked, { reason: 'revoked', message: null });
      await start({ replaces: [replaced] });
      await store.touch(TAG, { ...reused, gen: 1 }, POLICY, 0);
      await store.check(TAG, reused, { graceMs: 0, onReuse: 'end-session' });
      await kickAll();
      const all = [revoked, replaced, reused.sid, kicked];
      const reasons = await Promise.all(all.map(reasonFor));
      expect(reasons.map((why) => why?.[0])).toEqual(['revoked', 'replaced', 'reused', 'revoked']);
      await fixture.elapse(SHORT);
      expect(await Promise.all(all.map(reasonFor))).toEqual([null, null, null, null]);
    });

    it('is not that of an earlier session with the same id', async () => {
      const login = newSession(USER);
      await start();
      await store.create(TAG, login);
      await store.end(TAG, login.sid, { reason: 'revoked', message: null });
      await store.create(TAG, login);
      expect(await liveIn(store.check(TAG, tokenOf(login.sid), { graceMs: HOUR, onReuse: 'ignore' }))).not.toBeNull();
      await store.end(TAG, login.sid, null);
      expect(await reasonFor(login.sid)).toBeNull();
    });

    it('is kept for a hundred sessions of a user, longest expiry first, and a login forgets the others', async () => {
      const sids: string[] = [];
      for (let i = 0; i < 103; i++) sids.push(await start({ ttlMs: HOUR + 1000 * i, maxSessions: 200 }));
      for (const sid of sids) await store.end(TAG, sid, { reason: 'revoked', message: null });
      await start({ maxSessions: 200 });
      expect(await reasonFor(sids[2] as string)).toBeNull();
      expect(await reasonFor(sids[3] as string)).toEqual(['revoked', null]);
      expect(await reasonFor(sids[102] as string)).toEqual(['revoked', null]);
    });
  });

  describe('limits', () => {
    const on = (device: string | undefined, maxOnDevice: number, given: Partial<NewSession> = {}) =>
      start({ attributes: device === undefined ? {} : { device }, maxOnDevice, ...given });

    it('by device end the oldest session of that device and no other', async () => {
      const [web1, mobile, web2, bare] = [
        await on('web', 2),
        await on('mobile', 1),
        await on('web', 2),
        await on(undefined, 1),
      ];
      const web3 = await on('web', 2);
      expect(await sidsOf(store, TAG)).toEqual([mobile, web2, bare, web3]);
      expect(await reasonFor(web1)).toEqual(['replaced', null]);
      const [mobile2, bare2] = [await on('mobile', 1), await on(undefined, 1)];
      expect(await sidsOf(store, TAG)).toEqual([web2, web3, mobile2, bare2]);
    });

    it('by device and in total apply together', async () => {
      const [tv, web1, web2] = [await on('tv', 0), await on('web', 2), await on('web', 2)];
      const web3 = await on('web', 2, { maxSessions: 3 });
      expect(await sidsOf(store, TAG)).toEqual([tv, web2, web3]);
      const car = await on('car', 2, { maxSessions: 3 });
      expect(await sidsOf(store, TAG)).toEqual([web2, web3, car]);
      expect(await reasonFor(web1)).toEqual(['replaced', null]);
    });

    it('that reject a login end no session for it', async () => {
      const full = { code: 'ERR_TOO_MANY_SESSIONS', status: 409 };
      const [one, two] = [await on('web', 0), await on('tv', 0)];
      await expect(start({ maxSessions: 2, onLimit: 'reject' })).rejects.toMatchObject(full);
      await expect(on('web', 1, { onLimit: 'reject' })).rejects.toMatchObject(full);
      expect(await sidsOf(store, TAG)).toEqual([one, two]);
      const three = await on('car', 1, { onLimit: 'reject' });
      expect(await sidsOf(store, TAG)).toEqual([one, two, three]);
    });

    it('that reject do not count sessions that this login replaces, or expired ones', async () => {
      const short = await start({ ttlMs: SHORT });
      const one = await start();
      await fixture.elapse(SHORT);
      const two = await start({ maxSessions: 1, onLimit: 'reject', replaces: [one] });
      expect(await sidsOf(store, TAG)).toEqual([two]);
      expect(await reasonFor(one)).toEqual(['replaced', null]);
      expect(await reasonFor(short)).toEqual(['expired', null]);
    });

    it.each(['replace', 'reject'] as const)(
      'leave exactly the allowed sessions under a hundred parallel logins over two clients: %s',
      async (onLimit) => {
        const outcomes = await Promise.allSettled(
          Array.from({ length: 100 }, (_, i) => {
            const device = ['web', 'web', 'web', 'mobile'][i % 4] as string;
            const limits = { onLimit, maxSessions: 4, maxOnDevice: device === 'web' ? 3 : 1 };
            const login = newSession(USER, { attributes: { device }, ...limits });
            return (i % 2 === 0 ? store : fixture.other).create(TAG, login);
          }),
        );
        const devices = (await store.list(TAG))?.sessions.map(({ attributes }) => attributes.device).sort();
        expect(devices).toEqual(['mobile', 'web', 'web', 'web']);
        const refused = outcomes.filter(({ status }) => status === 'rejected');
        expect(refused).toHaveLength(onLimit === 'reject' ? 96 : 0);
      },
    );
  });

  describe('a token of its session', () => {
    const END: ReusePolicy = { graceMs: SHORT, onReuse: 'end-session' };
    const IGNORE: ReusePolicy = { graceMs: SHORT, onReuse: 'ignore' };
    const childOf = (token: TokenClaims, given: Partial<TokenClaims> = {}): TokenClaims => ({
      ...token,
      gen: token.gen + 1,
      mintedAt: token.mintedAt + 1,
      ...given,
    });
    const check = (token: TokenClaims, policy = END) => store.check(TAG, token, policy);
    const touch = (token: TokenClaims, policy = END) => store.touch(TAG, token, policy, 0);
    const recordOf = async (sid: string) => (await store.list(TAG))?.sessions.find((record) => record.sid === sid);

    it('of a later generation is valid; its use updates the record, a mere check does not', async () => {
      const first = await startToken({ attributes: { device: 'web' }, absoluteTtlMs: HOUR });
      const before = await recordOf(first.sid);
      const child = childOf(first, { provedAt: first.provedAt + 7 });
      expect((await liveIn(check(child)))?.session).toEqual(before);
      expect(await recordOf(first.sid)).toEqual(before);
      await fixture.elapse(5);
      const used = await liveIn(touch(child));
      const { gen, mintedAt, provedAt } = child;
      const moved = { ...before, seenAt: used?.now, gen, mintedAt, provedAt, confirmedAt: used?.now };
      expect(used?.session).toEqual(moved);
      expect(await recordOf(first.sid)).toEqual(moved);
      const grandchild = childOf(child);
      const refreshed = await liveIn(store.refresh(TAG, grandchild, END, HOUR));
      expect(refreshed?.session).toMatchObject({ sid: first.sid, gen: 2, confirmedAt: refreshed?.now, ttlMs: HOUR });
    });

    it('whose successor was lost stays valid', async () => {
      const first = await startToken();
      await check(childOf(first));
      await fixture.elapse(2 * SHORT);
      expect(await liveIn(touch(first))).not.toBeNull();
    });

    it('of a former generation is valid within the grace after the first use of the newest, and changes nothing', async () => {
      const first = await startToken();
      await fixture.elapse(2 * SHORT);
      const child = childOf(first);
      const used = await liveIn(touch(child));
      expect((await liveIn(touch(first)))?.session).toMatchObject({ gen: 1, confirmedAt: used?.now });
      expect((await liveIn(check(first)))?.session).toMatchObject({ gen: 1 });
    });

    it('of a former generation is a reuse after the grace: the session ends once, for all its tokens', async () => {
      const first = await startToken();
      const child = childOf(first);
      await touch(child);
      await fixture.elapse(SHORT);
      const uses = await Promise.all(
        Array.from({ length: 20 }, (_, i) => (i % 2 === 0 ? store : fixture.other).touch(TAG, first, END, 0)),
      );
      for (const found of uses) expect(found).toMatchObject({ session: null, sid: first.sid, reason: 'reused' });
      expect(uses.filter((found) => found?.session === null && found.isEndedNow)).toHaveLength(1);
      for (const token of [first, child, childOf(child)]) {
        expect(await check(token)).toMatchObject({ reason: 'reused', isDetected: false, isEndedNow: false });
      }
      expect(await sidsOf(store, TAG)).toEqual([]);
    });

    it("that is a reuse is refused alone with onReuse: 'ignore', by each verb", async () => {
      const first = await startToken();
      const child = childOf(first);
      await touch(child);
      await fixture.elapse(SHORT);
      const refused = { session: null, reason: 'reused', isDetected: true, isEndedNow: false };
      expect(await check(first, IGNORE)).toMatchObject(refused);
      expect(await touch(first, IGNORE)).toMatchObject(refused);
      expect(await store.refresh(TAG, first, IGNORE, HOUR)).toMatchObject(refused);
      expect(await liveIn(touch(child))).not.toBeNull();
    });

    it('of the same generation is valid when it was made within the grace of the used one, before or after it', async () => {
      const first = await startToken();
      const child = childOf(first, { mintedAt: first.mintedAt + 10_000 });
      await touch(child);
      await fixture.elapse(SHORT);
      for (const apart of [-SHORT, -1, 1, SHORT]) {
        const sibling = { ...child, mintedAt: child.mintedAt + apart };
        expect((await liveIn(touch(sibling)))?.session).toMatchObject({ gen: 1, mintedAt: child.mintedAt });
      }
      for (const apart of [-SHORT - 1, SHORT + 1]) {
        const stranger = { ...child, mintedAt: child.mintedAt + apart };
        expect(await check(stranger, IGNORE)).toMatchObject({ reason: 'reused' });
      }
    });

    it('rotated in advance is detected when its client and that of a later one both go on', async () => {
      const first = await startToken();
      const taken = childOf(first);
      await touch(childOf(first, { mintedAt: first.mintedAt + 2 * SHORT }));
      await fixture.elapse(SHORT);
      expect(await touch(taken)).toMatchObject({ reason: 'reused', isEndedNow: true });
    });

    it('without a grace is valid only if it is the one in the record, or a later one', async () => {
      const policy = { graceMs: 0, onReuse: 'ignore' } as const;
      const first = await startToken();
      const child = childOf(first);
      expect(await liveIn(touch(first, policy))).not.toBeNull();
      expect(await liveIn(touch(child, policy))).not.toBeNull();
      expect(await check(first, policy)).toMatchObject({ reason: 'reused' });
      expect(await check({ ...child, mintedAt: child.mintedAt + 1 }, policy)).toMatchObject({ reason: 'reused' });
    });

    it('repairs the record of a server that lost the latest uses', async () => {
      const first = await startToken();
      const fifth = { ...first, gen: 5, mintedAt: first.mintedAt + 50 };
      await touch(fifth);
      const healed = { ...fifth, gen: 9, mintedAt: first.mintedAt + 90 };
      expect((await liveIn(touch(healed)))?.session).toMatchObject({ gen: 9, mintedAt: healed.mintedAt });
    });

    it('keeps the session’s id through fifty rotations, and any of them ends it', async () => {
      const first = await startToken();
      let token = first;
      for (let i = 0; i < 50; i++) {
        token = childOf(token);
        expect((await liveIn(touch(token)))?.session).toMatchObject({ sid: first.sid, gen: i + 1 });
      }
      await start();
      expect(await store.endAll(TAG, { except: first.sid, message: null, goneAtVersion: null })).toHaveLength(1);
      expect(await store.end(TAG, first.sid, null)).toEqual({ userId: USER });
      expect(await check(token)).toBeNull();
    });

    it('never makes the session exceed its absolute expiry', async () => {
      const first = await startToken({ ttlMs: HOUR, absoluteTtlMs: SHORT });
      await touch(childOf(first));
      await fixture.elapse(SHORT);
      expect(await touch(childOf(childOf(first)))).toMatchObject({ reason: 'expired' });
    });
  });

  describe('user info', () => {
    const infoOf = async (token: TokenClaims) => (await liveIn(store.check(TAG, token, POLICY)))?.userInfo;
    const loadVersion = async (token: TokenClaims) =>
      loadVersionOf((await liveIn(store.check(TAG, token, POLICY))) as StoredSession);

    it('loaded before a change is not cached, whether the change is a refresh, a load or a deletion', async () => {
      const token = await startToken();
      const slow = await loadVersion(token);
      const renewed = await store.renewUserInfo(TAG);
      expect(await store.setUserInfo(TAG, '"old"', HOUR, slow)).toBe(false);
      expect(await store.setUserInfo(TAG, '"new"', HOUR, renewed)).toBe(true);
      expect(await store.setUserInfo(TAG, '"old"', HOUR, slow)).toBe(false);
      expect(await infoOf(token)).toBe('"new"');
      expect(await store.deleteUserInfo(TAG)).toBe(true);
      expect(await store.setUserInfo(TAG, '"new"', HOUR, renewed)).toBe(false);
      expect(await infoOf(token)).toBeNull();
      const again = await loadVersion(token);
      expect(await store.setUserInfo(TAG, '"again"', HOUR, again)).toBe(true);
      expect(await infoOf(token)).toBe('"again"');
    });

    it('is cached from the start of its load, and not at all after its ttl', async () => {
      const token = await startToken();
      const version = await store.renewUserInfo(TAG);
      await fixture.elapse(SHORT);
      expect(await store.setUserInfo(TAG, '1', SHORT / 2, version)).toBe(false);
      expect(await store.setUserInfo(TAG, '1', HOUR, version)).toBe(true);
      expect(await infoOf(token)).toBe('1');
    });

    it('is cached when its load began after a deletion whose marker has expired', async () => {
      const token = await startToken();
      await store.deleteUserInfo(TAG);
      await fixture.elapse(61_000);
      const version = await loadVersion(token);
      expect(await store.setUserInfo(TAG, '1', SHORT, version)).toBe(true);
      expect(await infoOf(token)).toBe('1');
    });

    it('whose load took more than a minute is not cached, and "no such user" then ends no session', async () => {
      const token = await startToken();
      const version = await loadVersion(token);
      const [minuteAgo, gone] = [version - 61_000, { except: null, message: null }];
      expect(await store.setUserInfo(TAG, '1', HOUR, minuteAgo)).toBe(false);
      expect(await store.endAll(TAG, { ...gone, goneAtVersion: minuteAgo })).toEqual([]);
      expect(await infoOf(token)).toBeNull();
    });

    it('that has expired still blocks a load that began before it', async () => {
      const token = await startToken();
      const slow = await loadVersion(token);
      await keepUserInfo(store, TAG, '"new"', SHORT);
      await fixture.elapse(SHORT + 10);
      expect(await infoOf(token)).toBeNull();
      expect(await store.setUserInfo(TAG, '"old"', HOUR, slow)).toBe(false);
      expect(await infoOf(token)).toBeNull();
    });

    it('keeps its value while a new load begins', async () => {
      const token = await startToken();
      await keepUserInfo(store, TAG, '1');
      await store.renewUserInfo(TAG);
      expect(await infoOf(token)).toBe('1');
    });

    it('of "no such user" ends the sessions, unless it changed after that load began', async () => {
      const token = await startToken();
      const version = await keepUserInfo(store, TAG, '1');
      const newer = await store.renewUserInfo(TAG);
      expect(newer).toBeGreaterThan(version);
      expect(await store.endAll(TAG, { except: null, message: null, goneAtVersion: version })).toEqual([]);
      expect(await infoOf(token)).toBe('1');
      expect(await store.endAll(TAG, { except: null, message: null, goneAtVersion: newer })).toEqual([token.sid]);
      const again = await startToken();
      expect(await infoOf(again)).toBeNull();
    });
  });

  describe('a ban', () => {
    const ban = (durationMs: number | null = null, reason: string | null = null) =>
      store.ban(TAG, { userId: USER, durationMs, reason });
    const refused = { code: 'ERR_USER_BANNED', status: 403 };

    it('ends every session at once with the reason, and refuses logins, until it is lifted', async () => {
      const [one, two] = [await start(), await start()];
      const { ban: banned, ended } = await ban(null, 'spam: twice\nwarned');
      expect(ended.sort()).toEqual([one, two].sort());
      expect(banned).toMatchObject({ userId: USER, until: 0, reason: 'spam: twice\nwarned' });
      expect(await store.getBan(TAG)).toEqual(banned);
      expect(await reasonFor(one)).toEqual(['banned', 'spam: twice\nwarned']);
      await expect(start()).rejects.toMatchObject(refused);
      await expect(fixture.other.create(TAG, newSession(USER))).rejects.toMatchObject(refused);

      expect(await store.unban(TAG, USER)).toBe(true);
      expect(await store.unban(TAG, USER)).toBe(false);
      expect(await store.getBan(TAG)).toBeNull();
      expect(await reasonFor(one)).toEqual(['banned', 'spam: twice\nwarned']);
      const three = await start();
      expect(await sidsOf(store, TAG)).toEqual([three]);
    });

    it('is not the reason of sessions that ended before, and holds for a user without sessions', async () => {
      const before = await start();
      await store.end(TAG, before, null);
      expect((await ban(null, 'spam')).ended).toEqual([]);
      expect(await reasonFor(before)).toBeNull();
      await expect(start()).rejects.toMatchObject(refused);
      expect(await store.check(TAG, unknownToken(TAG), POLICY)).toBeNull();
      expect(await store.unban(TAG, USER)).toBe(true);
    });

    it('is not lifted for another user than the one under the tag', async () => {
      await ban(null);
      await expect(store.unban(TAG, 'another')).rejects.toMatchObject({ code: 'ERR_STORE_CORRUPT' });
      expect(await store.getBan(TAG)).not.toBeNull();
    });

    it('ends at its time, by the store’s clock', async () => {
      const sid = await start();
      const { ban: banned } = await ban(SHORT, 'cool down');
      expect(banned.until).toBe(banned.since + SHORT);
      await expect(start()).rejects.toMatchObject(refused);
      await fixture.elapse(SHORT);
      expect(await store.getBan(TAG)).toBeNull();
      expect(await store.unban(TAG, USER)).toBe(false);
      expect(await liveIn(store.check(TAG, tokenOf(sid), POLICY))).toBeNull();
      const again = await start();
      expect(await sidsOf(store, TAG)).toEqual([again]);
    });

    it('replaces an earlier one, and outlives every session', async () => {
      await start({ ttlMs: SHORT });
      await ban(SHORT, 'short');
      await ban(null, 'long');
      await fixture.elapse(2 * SHORT);
      expect(await store.getBan(TAG)).toMatchObject({ until: 0, reason: 'long' });
      await expect(start()).rejects.toMatchObject(refused);
    });

    it('and logins at the same moment leave no session live', async () => {
      const logins = Array.from({ length: 50 }, (_, i) =>
        (i % 2 === 0 ? store : fixture.other).create(TAG, newSession(USER)).then(
          () => 'began',
          (error) => error.code,
        ),
      );
      const [outcomes] = await Promise.all([Promise.all(logins), ban()]);
      expect(new Set([...outcomes, 'began', 'ERR_USER_BANNED']).size).toBe(2);
      expect(await sidsOf(store, TAG)).toEqual([]);
    });

    it('of one user does not affect another', async () => {
      await ban();
      const tag = tagOf('grace');
      await store.create(tag, newSession('grace'));
      expect(await sidsOf(store, tag)).toHaveLength(1);
      expect(await store.getBan(tag)).toBeNull();
    });
  });
});
