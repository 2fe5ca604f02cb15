import type { Store } from 'tokensession';
import { tagOf } from '../src/token/token';
import {
  describeStores,
  HOUR,
  liveIn,
  newSid,
  type StoreFixture,
  newSession as session,
  sidsOf,
} from './support/stores';

/** How long a session lives that a test waits for the end of. */
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

  describe('create', () => {
    it('gives the record that a check then gives', async () => {
      const given = session(USER, { attributes: { device: 'web', ip: '::1', userAgent: 'curl "8"' } });
      const { session: created, now } = await store.create(TAG, given);
      expect(created).toEqual({
        sid: given.sid,
        createdAt: now,
        seenAt: now,
        ttlMs: HOUR,
        capAt: 0,
        authenticatedAt: now,
        attributes: { device: 'web', ip: '::1', userAgent: 'curl "8"' },
      });
      const stored = await liveIn(store.check(TAG, given.sid));
      expect(stored).toEqual({ userId: USER, session: created, now: expect.any(Number), userInfo: null });
    });

    it('puts logins of one user in order, however fast they come', async () => {
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

    it('counts no expired session against the limit', async () => {
      const stays = session(USER, { maxSessions: 2 });
      await store.create(TAG, stays);
      await store.create(TAG, session(USER, { ttlMs: SHORT }));
      await fixture.elapse(SHORT);
      const comes = session(USER, { maxSessions: 2 });
      await store.create(TAG, comes);
      expect(await sidsOf(store, TAG)).toEqual([stays.sid, comes.sid]);
    });

    it('ends the sessions it replaces, and is not troubled by one that is gone', async () => {
      const [kept, replaced] = [session(USER), session(USER)];
      await store.create(TAG, kept);
      await store.create(TAG, replaced);
      const comes = session(USER, { replaces: [replaced.sid, newSid()] });
      await store.create(TAG, comes);
      expect(await sidsOf(store, TAG)).toEqual([kept.sid, comes.sid]);
    });

    it('leaves exactly as many sessions as are allowed when many log in at once over two clients', async () => {
      const logins = Array.from({ length: 100 }, () => session(USER, { maxSessions: 3 }));
      await Promise.all(logins.map((login, i) => (i % 2 === 0 ? store : fixture.other).create(TAG, login)));
      expect(await sidsOf(store, TAG)).toHaveLength(3);
    });
  });

  describe('check', () => {
    it('gives null for a session and a user that are not there', async () => {
      expect(await liveIn(store.check(TAG, newSid()))).toBeNull();
      await store.create(TAG, session(USER));
      expect(await liveIn(store.check(TAG, newSid()))).toBeNull();
    });

    it('does not slide', async () => {
      const { sid } = session(USER);
      await store.create(TAG, session(USER, { sid, ttlMs: SHORT }));
      await fixture.elapse(SHORT / 2);
      expect(await liveIn(store.check(TAG, sid))).not.toBeNull();
      await fixture.elapse(SHORT / 2);
      expect(await liveIn(store.check(TAG, sid))).toBeNull();
    });

    it('gives records that can be changed without changing the store', async () => {
      const { sid } = session(USER);
      await store.create(TAG, session(USER, { sid, attributes: { device: 'web' } }));
      const stored = await liveIn(store.check(TAG, sid));
      if (stored === null) throw new Error('no session');
      stored.session.attributes.device = 'changed';
      stored.session.ttlMs = 1;
      expect((await liveIn(store.check(TAG, sid)))?.session).toMatchObject({
        ttlMs: HOUR,
        attributes: { device: 'web' },
      });
    });
  });

  describe('touch', () => {
    it('restarts the clock, so that a session in use goes on', async () => {
      const { sid } = session(USER);
      await store.create(TAG, session(USER, { sid, ttlMs: SHORT }));
      for (let i = 0; i < 4; i++) {
        await fixture.elapse(SHORT / 2);
        expect(await liveIn(store.touch(TAG, sid, 0))).not.toBeNull();
      }
      await fixture.elapse(SHORT);
      expect(await liveIn(store.touch(TAG, sid, 0))).toBeNull();
    });

    it('gives the times as they are after it', async () => {
      const { sid } = session(USER);
      await store.create(TAG, session(USER, { sid }));
      await fixture.elapse(5);
      const touched = await liveIn(store.touch(TAG, sid, 0));
      expect(touched?.session.seenAt).toBe(touched?.now);
      expect((await liveIn(store.check(TAG, sid)))?.session).toEqual(touched?.session);
    });

    it('only reads when less has passed than it is told to wait', async () => {
      const { sid } = session(USER);
      const { session: created } = await store.create(TAG, session(USER, { sid }));
      await fixture.elapse(20);
      expect((await liveIn(store.touch(TAG, sid, HOUR / 4)))?.session.seenAt).toBe(created.seenAt);
      expect((await liveIn(store.touch(TAG, sid, 10)))?.session.seenAt).toBeGreaterThan(created.seenAt);
    });

    it('slides at half the ttl when told to wait for longer than that', async () => {
      const { sid } = session(USER);
      await store.create(TAG, session(USER, { sid, ttlMs: SHORT }));
      for (let i = 0; i < 3; i++) {
        await fixture.elapse(SHORT * 0.6);
        expect(await liveIn(store.touch(TAG, sid, HOUR))).not.toBeNull();
      }
    });

    it('never slides past the end of the whole life', async () => {
      const { sid } = session(USER);
      const { session: created } = await store.create(TAG, session(USER, { sid, ttlMs: HOUR, absoluteTtlMs: SHORT }));
      expect(created.capAt).toBe(created.createdAt + SHORT);
      await fixture.elapse(SHORT / 2);
      expect(await liveIn(store.touch(TAG, sid, 0))).not.toBeNull();
      await fixture.elapse(SHORT / 2);
      expect(await liveIn(store.touch(TAG, sid, 0))).toBeNull();
    });

    it('gives the cached user info along', async () => {
      const { sid } = session(USER);
      await store.create(TAG, session(USER, { sid }));
      await store.setUserInfo(TAG, '{"name":"Ada"}', HOUR);
      expect((await liveIn(store.touch(TAG, sid, 0)))?.userInfo).toBe('{"name":"Ada"}');
      expect((await liveIn(store.check(TAG, sid)))?.userInfo).toBe('{"name":"Ada"}');
    });

    it('keeps the other sessions of the user as long as they live', async () => {
      const [long, short] = [session(USER), session(USER, { ttlMs: SHORT })];
      await store.create(TAG, long);
      await store.create(TAG, short);
      await liveIn(store.touch(TAG, short.sid, 0));
      await fixture.elapse(SHORT + 20);
      expect(await sidsOf(store, TAG)).toEqual([long.sid]);
    });
  });

  describe('refresh', () => {
    it('gives a live session a new ttl, longer or shorter', async () => {
      const { sid } = session(USER);
      await store.create(TAG, session(USER, { sid, ttlMs: SHORT }));
      expect((await liveIn(store.refresh(TAG, sid, HOUR)))?.session).toMatchObject({ ttlMs: HOUR });
      expect((await liveIn(store.check(TAG, sid)))?.session?.ttlMs).toBe(HOUR);
      expect((await liveIn(store.refresh(TAG, sid, SHORT)))?.session).toMatchObject({ ttlMs: SHORT });
      await fixture.elapse(SHORT);
      expect(await liveIn(store.check(TAG, sid))).toBeNull();
    });

    it('keeps the ttl that the session has when given none', async () => {
      const { sid } = session(USER);
      await store.create(TAG, session(USER, { sid, ttlMs: SHORT }));
      await fixture.elapse(SHORT / 2);
      expect((await liveIn(store.refresh(TAG, sid, null)))?.session).toMatchObject({ ttlMs: SHORT });
      await fixture.elapse(SHORT * 0.7);
      expect(await liveIn(store.check(TAG, sid))).not.toBeNull();
    });

    it('revives nothing: not a session that never was, nor one that ended, nor one that expired', async () => {
      const [ended, expired] = [session(USER), session(USER, { ttlMs: SHORT })];
      await store.create(TAG, session(USER));
      await store.create(TAG, ended);
      await store.create(TAG, expired);
      await store.end(TAG, ended.sid, null);
      await fixture.elapse(SHORT);
      for (const sid of [newSid(), ended.sid, expired.sid]) {
        expect(await liveIn(store.refresh(TAG, sid, HOUR))).toBeNull();
        expect(await liveIn(store.check(TAG, sid))).toBeNull();
      }
    });
  });

  describe('end', () => {
    it('ends one session, once, and leaves the others', async () => {
      const [one, two] = [session(USER, { attributes: { device: 'web' } }), session(USER)];
      await store.create(TAG, one);
      await store.create(TAG, two);
      expect(await store.end(TAG, one.sid, null)).toEqual({ userId: USER, sid: one.sid });
      expect(await store.end(TAG, one.sid, null)).toBeNull();
      expect(await sidsOf(store, TAG)).toEqual([two.sid]);
    });

    it('says null of an expired session', async () => {
      const { sid } = session(USER);
      await store.create(TAG, session(USER));
      await store.create(TAG, session(USER, { sid, ttlMs: SHORT }));
      await fixture.elapse(SHORT);
      expect(await store.end(TAG, sid, null)).toBeNull();
    });
  });

  describe('endAll', () => {
    it('ends every session and names the live ones', async () => {
      await store.create(TAG, session(USER, { ttlMs: SHORT }));
      await fixture.elapse(SHORT);
      await store.create(TAG, session(USER));
      await store.create(TAG, session(USER));
      expect(await store.endAll(TAG, { except: null, forgetUserInfo: false, message: null })).toHaveLength(2);
      expect(await sidsOf(store, TAG)).toEqual([]);
      expect(await store.endAll(TAG, { except: null, forgetUserInfo: false, message: null })).toEqual([]);
    });

    it('keeps the one it is told to', async () => {
      const [one, two] = [session(USER), session(USER)];
      await store.create(TAG, one);
      await store.create(TAG, two);
      expect(await store.endAll(TAG, { except: two.sid, forgetUserInfo: false, message: null })).toEqual([one.sid]);
      expect(await sidsOf(store, TAG)).toEqual([two.sid]);
    });

    it('forgets the user info when told to, and only then', async () => {
      await store.setUserInfo(TAG, '1', HOUR);
      const { sid } = session(USER);
      await store.create(TAG, session(USER, { sid }));
      await store.endAll(TAG, { except: sid, forgetUserInfo: false, message: null });
      expect((await liveIn(store.check(TAG, sid)))?.userInfo).toBe('1');
      await store.endAll(TAG, { except: sid, forgetUserInfo: true, message: null });
      expect((await liveIn(store.check(TAG, sid)))?.userInfo).toBeNull();
    });

    it("leaves every other user's sessions alone", async () => {
      const other = session('grace');
      await store.create(tagOf('grace'), other);
      await store.create(TAG, session(USER));
      await store.endAll(TAG, { except: null, forgetUserInfo: true, message: null });
      expect(await sidsOf(store, tagOf('grace'))).toEqual([other.sid]);
    });

    it('and a login at the same moment end in one of the two orders: never live and not listed', async () => {
      for (let round = 0; round < 50; round++) {
        const user = `round ${round}`;
        const tag = tagOf(user);
        const [before, during] = [session(user), session(user)];
        await store.create(tag, before);
        const [, ended] = await Promise.all([
          store.create(tag, during),
          fixture.other.endAll(tag, { except: null, forgetUserInfo: false, message: null }),
        ]);
        const listed = await sidsOf(store, tag);
        const isLive = (await liveIn(store.check(tag, during.sid))) !== null;
        expect({ ended, listed, isLive }).toEqual(
          ended.length === 2
            ? { ended, listed: [], isLive: false }
            : { ended: [before.sid], listed: [during.sid], isLive: true },
        );
        expect(await liveIn(store.check(tag, before.sid))).toBeNull();
      }
    });
  });

  describe('list', () => {
    it('gives null for a user without a record', async () => {
      expect(await store.list(TAG)).toBeNull();
    });

    it('leaves expired sessions out and gives attributes along', async () => {
      await store.create(TAG, session(USER, { ttlMs: SHORT }));
      await store.create(TAG, session(USER, { attributes: { device: 'web' } }));
      await fixture.elapse(SHORT);
      const listed = await store.list(TAG);
      expect(listed?.userId).toBe(USER);
      expect(listed?.sessions.map(({ attributes }) => attributes)).toEqual([{ device: 'web' }]);
    });
  });

  describe('user info', () => {
    it('is kept for as long as it was given', async () => {
      const { sid } = session(USER);
      await store.create(TAG, session(USER, { sid }));
      await store.setUserInfo(TAG, 'old', HOUR);
      await store.setUserInfo(TAG, 'new', SHORT);
      expect((await liveIn(store.check(TAG, sid)))?.userInfo).toBe('new');
      await fixture.elapse(SHORT);
      expect((await liveIn(store.check(TAG, sid)))?.userInfo).toBeNull();
      expect(await store.deleteUserInfo(TAG)).toBe(false);
    });

    it('is deleted once', async () => {
      await store.setUserInfo(TAG, '1', HOUR);
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

  describe('close', () => {
    it('makes every later call reject, and may be called again', async () => {
      await store.close();
      await store.close();
      const closed = expect.objectContaining({ code: 'ERR_STORE_UNAVAILABLE' });
      await expect(store.create(TAG, session(USER))).rejects.toEqual(closed);
      await expect(store.check(TAG, newSid())).rejects.toEqual(closed);
      await expect(store.touch(TAG, newSid(), 0)).rejects.toEqual(closed);
      await expect(store.refresh(TAG, newSid(), null)).rejects.toEqual(closed);
      await expect(store.end(TAG, newSid(), null)).rejects.toEqual(closed);
      await expect(store.endAll(TAG, { except: null, forgetUserInfo: false, message: null })).rejects.toEqual(closed);
      await expect(store.list(TAG)).rejects.toEqual(closed);
      await expect(store.setUserInfo(TAG, '1', 1)).rejects.toEqual(closed);
      await expect(store.deleteUserInfo(TAG)).rejects.toEqual(closed);
    });
  });
});
