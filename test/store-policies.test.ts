import type { NewSession, Store } from 'tokensession';
import { tagOf } from '../src/token/token';
import { describeStores, HOUR, liveIn, newSession, newSid, type StoreFixture, sidsOf } from './support/stores';

/** How long a session, a grace or a ban lasts that a test waits for the end of. */
const SHORT = 400;

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

  const kickAll = (message: string | null = null) =>
    store.endAll(TAG, { except: null, forgetUserInfo: false, message });
  const rotate = (sid: string, given: Partial<Parameters<Store['rotate']>[2]> = {}) =>
    store.rotate(TAG, sid, { newSid: newSid(), graceMs: SHORT, onReuse: 'end', ...given });
  /** What a check says of a session that is not live. */
  const reasonFor = async (sid: string) => {
    const found = await store.check(TAG, sid);
    if (found?.session) throw new Error('the session is live');
    return found === null ? null : [found.reason, found.message];
  };

  describe('why a session ended', () => {
    it('is told of one that another login replaced', async () => {
      const [oldest, other] = [await start(), await start()];
      const login = newSession(USER, { maxSessions: 2 });
      expect((await store.create(TAG, login)).ended).toEqual([oldest]);
      expect(await reasonFor(oldest)).toEqual(['replaced', null]);
      const again = newSession(USER, { replaces: [other] });
      expect((await store.create(TAG, again)).ended).toEqual([other]);
      expect(await reasonFor(other)).toEqual(['replaced', null]);
    });

    it('is told of one that was kicked, alone or with all others, with the message', async () => {
      const [one, two] = [await start(), await start()];
      await store.end(TAG, one, { reason: 'revoked', message: 'Signed out at the reception: desk 3' });
      await kickAll('Password\nchanged');
      expect(await reasonFor(one)).toEqual(['revoked', 'Signed out at the reception: desk 3']);
      expect(await reasonFor(two)).toEqual(['revoked', 'Password\nchanged']);
      await kickAll('later');
      await store.end(TAG, two, null);
      expect(await reasonFor(two)).toEqual(['revoked', 'Password\nchanged']);
    });

    it('is told of one whose time is up, for as long again, and also when it was the user’s only one', async () => {
      const short = await start({ ttlMs: SHORT });
      await fixture.elapse(SHORT);
      expect(await store.touch(TAG, short, 0)).toEqual({
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
      // A login forgets what it may.
      await start();
      expect(await reasonFor(short)).toBeNull();
      expect(await reasonFor(capped)).toEqual(['expired', null]);
    });

    it('is told by each verb on the session, and none brings it back', async () => {
      const sid = await start();
      await kickAll();
      const rotation = { newSid: newSid(), graceMs: SHORT, onReuse: 'end' } as const;
      for (const found of [
        await store.check(TAG, sid),
        await store.touch(TAG, sid, 0),
        await store.refresh(TAG, sid, HOUR),
        await store.reauthenticate(TAG, sid),
        await store.rotate(TAG, sid, rotation),
      ]) {
        expect(found).toMatchObject({ session: null, userId: USER, reason: 'revoked', isDetected: false });
      }
      expect(await sidsOf(store, TAG)).toEqual([]);
      expect(await store.check(TAG, rotation.newSid)).toBeNull();
    });

    it('is nobody else’s to know: what its holder ended, and what never was, is null', async () => {
      const sid = await start();
      await start();
      await store.end(TAG, sid, null);
      expect(await store.check(TAG, sid)).toBeNull();
      expect(await store.check(TAG, newSid())).toBeNull();
      expect(await store.check(tagOf('nobody'), newSid())).toBeNull();
    });

    it('is forgotten when the session would have ended by itself', async () => {
      const sid = await start({ ttlMs: SHORT });
      await start();
      await store.end(TAG, sid, { reason: 'revoked', message: null });
      expect(await reasonFor(sid)).toEqual(['revoked', null]);
      await fixture.elapse(SHORT);
      expect(await reasonFor(sid)).toBeNull();
    });

    it('is kept for the last hundred of a user, and no more', async () => {
      const sids: string[] = [];
      for (let i = 0; i < 103; i++) sids.push(await start({ ttlMs: HOUR + 1000 * i }));
      for (const sid of sids) await store.end(TAG, sid, { reason: 'revoked', message: null });
      expect(await reasonFor(sids[2] as string)).toBeNull();
      expect(await reasonFor(sids[3] as string)).toEqual(['revoked', null]);
      expect(await reasonFor(sids[102] as string)).toEqual(['revoked', null]);
    });
  });

  describe('limits', () => {
    const on = (device: string | undefined, maxOnDevice: number, given: Partial<NewSession> = {}) =>
      start({ attributes: device === undefined ? {} : { device }, maxOnDevice, ...given });

    it('by device end the oldest of that device and no other', async () => {
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

    it('by device and in all hold together', async () => {
      const [tv, web1, web2] = [await on('tv', 0), await on('web', 2), await on('web', 2)];
      const web3 = await on('web', 2, { maxSessions: 3 });
      expect(await sidsOf(store, TAG)).toEqual([tv, web2, web3]);
      const car = await on('car', 2, { maxSessions: 3 });
      expect(await sidsOf(store, TAG)).toEqual([web2, web3, car]);
      expect(await reasonFor(web1)).toEqual(['replaced', null]);
    });

    it('that reject a login end nobody for it', async () => {
      const full = { code: 'ERR_TOO_MANY_SESSIONS', status: 409 };
      const [one, two] = [await on('web', 0), await on('tv', 0)];
      await expect(start({ maxSessions: 2, onLimit: 'reject' })).rejects.toMatchObject(full);
      await expect(on('web', 1, { onLimit: 'reject' })).rejects.toMatchObject(full);
      expect(await sidsOf(store, TAG)).toEqual([one, two]);
      const three = await on('car', 1, { onLimit: 'reject' });
      expect(await sidsOf(store, TAG)).toEqual([one, two, three]);
    });

    it('that reject count no session that ends anyway: replaced by this login, or expired', async () => {
      const short = await start({ ttlMs: SHORT });
      const one = await start();
      await fixture.elapse(SHORT);
      const two = await start({ maxSessions: 1, onLimit: 'reject', replaces: [one] });
      expect(await sidsOf(store, TAG)).toEqual([two]);
      expect(await reasonFor(one)).toEqual(['replaced', null]);
      expect(await reasonFor(short)).toEqual(['expired', null]);
    });

    it.each(['replace', 'reject'] as const)(
      'leave exactly as many sessions as are allowed when a hundred log in at once over two clients: %s',
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

  describe('a rotation', () => {
    it('gives the session another id, with its times and attributes, and lists it under that alone', async () => {
      const attributes = { device: 'web', ip: '::1' };
      const sid = await start({ attributes, absoluteTtlMs: HOUR });
      const before = (await liveIn(store.check(TAG, sid)))?.session;
      await fixture.elapse(5);
      const next = newSid();
      const rotated = await liveIn(rotate(sid, { newSid: next }));
      expect(rotated?.session).toEqual({ ...before, sid: next });
      expect(rotated?.userId).toBe(USER);
      expect((await store.list(TAG))?.sessions).toEqual([{ ...before, sid: next }]);
      expect((await liveIn(store.check(TAG, next)))?.session).toEqual({ ...before, sid: next });
    });

    it('lets the old id stand for the session in every verb until its grace is over', async () => {
      const sid = await start({ ttlMs: HOUR, attributes: { device: 'tv' } });
      const next = (await liveIn(rotate(sid, { graceMs: HOUR })))?.session.sid as string;
      expect((await liveIn(store.check(TAG, sid)))?.session).toMatchObject({ sid: next, attributes: { device: 'tv' } });
      await fixture.elapse(5);
      const touched = await liveIn(store.touch(TAG, sid, 0));
      expect(touched?.session).toMatchObject({ sid: next, seenAt: touched?.now });
      expect((await liveIn(store.refresh(TAG, sid, HOUR / 2)))?.session).toMatchObject({ sid: next, ttlMs: HOUR / 2 });
      expect((await liveIn(store.reauthenticate(TAG, sid)))?.session.sid).toBe(next);
      await start();
      expect(await store.endAll(TAG, { except: sid, forgetUserInfo: false, message: null })).toHaveLength(1);
      expect(await sidsOf(store, TAG)).toEqual([next]);
      expect(await store.end(TAG, sid, null)).toEqual({ userId: USER, sid: next });
      expect(await sidsOf(store, TAG)).toEqual([]);
    });

    it('of one id by many at once over two clients has one outcome', async () => {
      const sid = await start();
      const ids = await Promise.all(
        Array.from({ length: 20 }, async (_, i) => {
          const rotation = { newSid: newSid(), graceMs: HOUR, onReuse: 'end' } as const;
          return (await liveIn((i % 2 === 0 ? store : fixture.other).rotate(TAG, sid, rotation)))?.session.sid;
        }),
      );
      expect(new Set(ids).size).toBe(1);
      expect(await sidsOf(store, TAG)).toEqual([ids[0]]);
    });

    it('takes the use of the old id after its grace for a theft: the session ends, and every token of it is told', async () => {
      const first = await start();
      const second = (await liveIn(rotate(first)))?.session.sid as string;
      const third = (await liveIn(rotate(second, { graceMs: HOUR })))?.session.sid as string;
      await fixture.elapse(SHORT);
      expect(await liveIn(store.check(TAG, second))).not.toBeNull();
      expect(await store.touch(TAG, first, 0)).toEqual({
        session: null,
        userId: USER,
        sid: third,
        reason: 'reused',
        message: null,
        isDetected: true,
        isEndedNow: true,
      });
      for (const sid of [first, second, third]) {
        expect(await store.check(TAG, sid)).toMatchObject({ reason: 'reused', isDetected: false, isEndedNow: false });
      }
      expect(await sidsOf(store, TAG)).toEqual([]);
    });

    it('whose reuse is to be ignored keeps the session, and refuses the old id alone', async () => {
      const first = await start();
      const second = (await liveIn(rotate(first, { onReuse: 'keep' })))?.session.sid as string;
      await fixture.elapse(SHORT);
      const reused = { reason: 'reused', isDetected: true, isEndedNow: false, sid: second };
      expect(await store.check(TAG, first)).toMatchObject(reused);
      expect(await store.check(TAG, first)).toMatchObject(reused);
      expect(await liveIn(rotate(first))).toBeNull();
      expect(await sidsOf(store, TAG)).toEqual([second]);
    });

    it('ends by its old id at any time: a logout that missed the new token is a logout', async () => {
      const first = await start();
      await rotate(first);
      await fixture.elapse(SHORT);
      expect(await store.end(TAG, first, null)).not.toBeNull();
      expect(await sidsOf(store, TAG)).toEqual([]);
      expect(await store.check(TAG, first)).toBeNull();
    });

    it('is followed by a login that replaces the old id, and by a kick', async () => {
      const first = await start();
      const second = (await liveIn(rotate(first, { graceMs: HOUR })))?.session.sid as string;
      const login = newSession(USER, { replaces: [first] });
      expect((await store.create(TAG, login)).ended).toEqual([second]);
      expect(await reasonFor(first)).toEqual(['replaced', null]);
      const third = (await liveIn(rotate(login.sid, { graceMs: HOUR })))?.session.sid as string;
      expect(await kickAll('bye')).toEqual([third]);
      expect(await reasonFor(login.sid)).toEqual(['revoked', 'bye']);
    });

    it('can be taken back: the old id is the session’s again, and the new one is nobody’s', async () => {
      const first = await start({ attributes: { device: 'web' } });
      const second = (await liveIn(rotate(first, { graceMs: 0 })))?.session.sid as string;
      const third = (await liveIn(rotate(second, { graceMs: 0 })))?.session.sid as string;
      expect(await store.unrotate(TAG, first, third)).toBe(true);
      expect(await store.unrotate(TAG, first, third)).toBe(false);
      expect(await store.unrotate(TAG, newSid(), third)).toBe(false);
      expect((await liveIn(store.check(TAG, first)))?.session).toMatchObject({
        sid: first,
        attributes: { device: 'web' },
      });
      expect(await store.check(TAG, third)).toBeNull();
      expect(await sidsOf(store, TAG)).toEqual([first]);
      expect(await store.check(TAG, second)).toMatchObject({ reason: 'reused', sid: first, isEndedNow: true });
    });

    it('whose old id may have come by accident is reported, and the session left alone', async () => {
      const first = await start();
      const second = (await liveIn(rotate(first, { graceMs: 0 })))?.session.sid as string;
      const reused = { reason: 'reused', isDetected: true, isEndedNow: false };
      expect(await store.check(TAG, first, { forgiving: true })).toMatchObject(reused);
      expect(await store.touch(TAG, first, 0, { forgiving: true })).toMatchObject(reused);
      expect(await sidsOf(store, TAG)).toEqual([second]);
      expect(await store.check(TAG, first, { forgiving: false })).toMatchObject({ isEndedNow: true });
    });

    it('is known of the last hundred old ids of a user, and of more in their grace', async () => {
      const olds: string[] = [];
      for (let i = 0; i < 120; i++) olds.push(await start({ maxSessions: 1000 }));
      for (const [i, sid] of olds.entries()) await rotate(sid, { graceMs: HOUR + i, newSid: newSid() });
      for (const sid of olds) expect(await liveIn(store.check(TAG, sid))).not.toBeNull();
      const one = await start({ maxSessions: 1000 });
      let current = one;
      const former: string[] = [];
      for (let i = 0; i < 3; i++) {
        former.push(current);
        current = (await liveIn(rotate(current, { graceMs: 0 })))?.session.sid as string;
      }
      for (const sid of former) expect(await store.check(TAG, sid)).toBeNull();
      expect(await liveIn(store.check(TAG, current))).not.toBeNull();
    });

    it('never makes the session live longer than it may', async () => {
      const first = await start({ ttlMs: HOUR, absoluteTtlMs: SHORT });
      const second = (await liveIn(rotate(first)))?.session.sid as string;
      await fixture.elapse(SHORT);
      expect(await liveIn(store.touch(TAG, second, 0))).toBeNull();
      expect(await liveIn(rotate(second))).toBeNull();
    });
  });

  describe('a proof of identity', () => {
    it('is noted apart from the login and from use, and survives sliding and rotation', async () => {
      const sid = await start();
      const login = await liveIn(store.check(TAG, sid));
      expect(login?.session.authenticatedAt).toBe(login?.session.createdAt);
      await fixture.elapse(20);
      const proved = await liveIn(store.reauthenticate(TAG, sid));
      expect(proved?.session).toEqual({ ...login?.session, authenticatedAt: proved?.now });
      await fixture.elapse(5);
      expect((await liveIn(store.touch(TAG, sid, 0)))?.session.authenticatedAt).toBe(proved?.now);
      const rotated = await liveIn(rotate(sid));
      expect(rotated?.session.authenticatedAt).toBe(proved?.now);
      const refreshed = await liveIn(store.refresh(TAG, rotated?.session.sid as string, HOUR));
      expect(refreshed?.session.authenticatedAt).toBe(proved?.now);
      expect((await store.list(TAG))?.sessions[0]?.authenticatedAt).toBe(proved?.now);
    });
  });

  describe('a ban', () => {
    const ban = (durationMs: number | null = null, reason: string | null = null) =>
      store.ban(TAG, { userId: USER, durationMs, reason });
    const refused = { code: 'ERR_USER_BANNED', status: 403 };

    it('ends every session at once, tells why, and refuses logins, until it is lifted', async () => {
      const [one, two] = [await start(), await start()];
      const { ban: banned, ended } = await ban(null, 'spam: twice\nwarned');
      expect(ended.sort()).toEqual([one, two].sort());
      expect(banned).toMatchObject({ userId: USER, until: 0, reason: 'spam: twice\nwarned' });
      expect(await store.getBan(TAG)).toEqual(banned);
      expect(await reasonFor(one)).toEqual(['banned', 'spam: twice\nwarned']);
      await expect(start()).rejects.toMatchObject(refused);
      await expect(fixture.other.create(TAG, newSession(USER))).rejects.toMatchObject(refused);

      expect(await store.unban(TAG)).toBe(true);
      expect(await store.unban(TAG)).toBe(false);
      expect(await store.getBan(TAG)).toBeNull();
      expect(await reasonFor(one)).toEqual(['banned', 'spam: twice\nwarned']);
      const three = await start();
      expect(await sidsOf(store, TAG)).toEqual([three]);
    });

    it('of a user without sessions holds as well', async () => {
      expect((await ban()).ended).toEqual([]);
      await expect(start()).rejects.toMatchObject(refused);
      expect(await store.check(TAG, newSid())).toMatchObject({ session: null, userId: USER, reason: 'banned' });
      expect(await store.unban(TAG)).toBe(true);
      expect(await store.check(TAG, newSid())).toBeNull();
    });

    it('is over when its time is up, by the store’s clock', async () => {
      const sid = await start();
      const { ban: banned } = await ban(SHORT, 'cool down');
      expect(banned.until).toBe(banned.since + SHORT);
      await expect(start()).rejects.toMatchObject(refused);
      await fixture.elapse(SHORT);
      expect(await store.getBan(TAG)).toBeNull();
      expect(await store.unban(TAG)).toBe(false);
      expect(await liveIn(store.check(TAG, sid))).toBeNull();
      const again = await start();
      expect(await sidsOf(store, TAG)).toEqual([again]);
    });

    it('takes the place of an earlier one, and outlives every session', async () => {
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

    it('of one user is nothing to another', async () => {
      await ban();
      const tag = tagOf('grace');
      await store.create(tag, newSession('grace'));
      expect(await sidsOf(store, tag)).toHaveLength(1);
      expect(await store.getBan(tag)).toBeNull();
    });
  });
});
