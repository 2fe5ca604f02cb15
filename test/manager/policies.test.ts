import { inspect } from 'node:util';
import {
  MemoryStore,
  SessionError,
  type SessionEvents,
  type Store,
  TokenManager,
  type TokenManagerOptions,
} from 'tokensession';
import { EVENT_NAMES } from '../../src/manager/session-events';
import { secondsLeft } from '../support/seconds-left';
import { idOf } from '../support/session-id';
import { describeStores, SECRET, type StoreFixture } from '../support/stores';
import { until } from '../support/until';

/** All events of a manager, in order. */
function recordEvents(manager: TokenManager<unknown>): [keyof SessionEvents, object][] {
  const seen: [keyof SessionEvents, object][] = [];
  for (const name of EVENT_NAMES) manager.on(name, (event) => void seen.push([name, event]));
  return seen;
}

describeStores((open) => {
  let fixture: StoreFixture;
  let store: Store;

  beforeEach(async () => {
    fixture = await open();
    store = fixture.store;
  });
  afterEach(() => fixture.close());

  const manage = (options: Partial<TokenManagerOptions<unknown>> = {}) =>
    new TokenManager<unknown>({ store, secret: SECRET, ...options });

  describe('inspectToken', () => {
    it('returns the session of a live token, as checkToken does, or with touch as touchToken does', async () => {
      const sessions = manage({ getUserInfo: (id) => ({ name: id }) });
      const token = await sessions.setToken('ada');
      const now = { checkedAt: expect.any(Date) };
      expect(await sessions.inspectToken(token)).toEqual({
        session: { ...(await sessions.checkToken(token)), ...now },
      });
      await fixture.elapse(5);
      const touched = await sessions.inspectToken(token, { touch: true });
      expect(touched.session?.user).toEqual({ id: 'ada', detail: { name: 'ada' } });
      expect(touched.session?.lastSeenAt).toEqual(touched.session?.checkedAt);
      expect((await sessions.checkToken(token))?.lastSeenAt).toEqual(touched.session?.lastSeenAt);
    });

    it('gives the reason why a token is not live, where checkToken returns null', async () => {
      const sessions = manage({ maxSessions: 2 });
      const [first, second, third] = [
        await sessions.setToken('ada'),
        await sessions.setToken('ada'),
        await sessions.setToken('ada'),
      ];
      const forged = `${first.slice(0, -2)}${first.endsWith('AA') ? 'BB' : 'AA'}`;
      await sessions.deleteToken(second);
      await sessions.deleteUserToken('ada', { message: 'Your password was changed' });
      const reasons = { [first]: 'replaced', [second]: 'unknown', [forged]: 'unknown', 'no token': 'unknown' };
      for (const [token, reason] of Object.entries(reasons)) {
        expect(await sessions.inspectToken(token)).toEqual({ session: null, reason });
        expect(await sessions.checkToken(token)).toBeNull();
        expect(await sessions.touchToken(token)).toBeNull();
      }
      const revoked = { session: null, reason: 'revoked', message: 'Your password was changed' };
      expect(await sessions.inspectToken(third)).toEqual(revoked);
      expect(await sessions.inspectToken(third, { touch: true })).toEqual(revoked);
    });

    it('gives the reason revoked for a user whom getUserInfo no longer knows', async () => {
      const sessions = manage({ getUserInfo: () => null });
      const token = await sessions.setToken('ada');
      expect(await sessions.inspectToken(token, { touch: true })).toEqual({ session: null, reason: 'revoked' });
      expect(await sessions.inspectToken(token)).toEqual({ session: null, reason: 'revoked' });
    });
  });

  describe('limits', () => {
    it('by device are one number for every device, or one for each named device', async () => {
      const devicesOf = async (sessions: TokenManager<unknown>) =>
        (await sessions.listUserSessions('ada')).map(({ attributes }) => attributes.device ?? 'none');
      const every = manage({ maxSessionsPerDevice: 1 });
      for (const device of ['web', 'tv', 'web', undefined, undefined]) {
        await every.setToken('ada', undefined, { device });
      }
      expect(await devicesOf(every)).toEqual(['tv', 'web', 'none']);
      await every.deleteUserToken('ada');
      const some = manage({ maxSessionsPerDevice: { web: 2, mobile: 1 } });
      for (const device of ['web', 'mobile', 'tv', 'tv', 'web', 'web', 'mobile', undefined, undefined]) {
        await some.setToken('ada', undefined, { device });
      }
      expect(await devicesOf(some)).toEqual(['tv', 'tv', 'web', 'web', 'mobile', 'none', 'none']);
    });

    it("reject a login with onLimit: 'reject', with nothing stored and no session ended", async () => {
      const sessions = manage({ singleMode: true, onLimit: 'reject' });
      const token = await sessions.setToken('ada');
      await expect(sessions.setToken('ada')).rejects.toMatchObject({ code: 'ERR_TOO_MANY_SESSIONS', status: 409 });
      expect(await sessions.listUserToken('ada')).toEqual([token]);
      const again = await sessions.createSession('ada', { replaces: [token] });
      expect(await sessions.listUserToken('ada')).toEqual([again.token]);
    });
  });

  describe('absoluteTtl', () => {
    it('may be set for one login; the sooner end counts', async () => {
      const sessions = manage({ ttl: 1000, absoluteTtl: 300 });
      expect(await sessions.createSession('ada')).toMatchObject({ ttl: 300 });
      expect(await sessions.createSession('ada', { absoluteTtl: 60 })).toMatchObject({ ttl: 60 });
      expect(await sessions.createSession('ada', { absoluteTtl: 900 })).toMatchObject({ ttl: 300 });
      const { token } = await manage({ ttl: 1000 }).createSession('ada', { absoluteTtl: 60 });
      expect(await sessions.touchToken(token)).toMatchObject({ ttl: secondsLeft(60) });
      expect(await sessions.refreshToken(token, 5000)).toBe(true);
      expect(await sessions.checkToken(token)).toMatchObject({ ttl: secondsLeft(60) });
    });
  });

  describe('rotateToken', () => {
    it('makes a new token for the same session; the old one is valid until the grace after the first use of the new one', async () => {
      const sessions = manage({ rotationGrace: 60 });
      const old = await sessions.setToken('ada', undefined, { device: 'web' });
      const before = await sessions.checkToken(old);
      const next = (await sessions.rotateToken(old)) as string;
      expect(next).not.toBe(old);
      expect(await sessions.checkToken(next)).toMatchObject({
        id: idOf(next),
        user: { id: 'ada' },
        createdAt: before?.createdAt,
        expiresAt: before?.expiresAt,
        attributes: { device: 'web' },
      });
      expect(idOf(next)).toBe(idOf(old));
      expect(await sessions.listUserToken('ada')).toEqual([old]);
      await fixture.elapse(60_000);
      expect(await sessions.touchToken(old)).toMatchObject({ token: old });
      expect(await sessions.touchToken(next)).toMatchObject({ token: next });
      expect(await sessions.listUserToken('ada')).toEqual([next]);
      expect(await sessions.checkToken(old)).toMatchObject({ token: old, id: idOf(next) });

      await fixture.elapse(60_000);
      expect(await sessions.checkToken(next)).not.toBeNull();
      expect(await sessions.inspectToken(old)).toEqual({ session: null, reason: 'reused' });
      expect(await sessions.inspectToken(next)).toEqual({ session: null, reason: 'reused' });
      expect(await sessions.rotateToken(next)).toBeNull();
    });

    it("without a grace refuses the old token after the first use of the new one; onReuse: 'ignore' keeps the session", async () => {
      const sessions = manage({ rotationGrace: 0, onReuse: 'ignore' });
      const old = await sessions.setToken('ada');
      const next = (await sessions.rotateToken(old)) as string;
      await sessions.touchToken(next);
      for (let i = 0; i < 2; i++) {
        expect(await sessions.inspectToken(old)).toEqual({ session: null, reason: 'reused' });
        expect(await sessions.checkToken(next)).not.toBeNull();
      }
      expect(await sessions.deleteSession('ada', idOf(old))).toBe(true);
      expect(await sessions.checkToken(next)).toBeNull();
    });

    it('of a former token in its grace makes a valid one, newer than the newest used token', async () => {
      const sessions = manage({ rotationGrace: 60 });
      const old = await sessions.setToken('ada');
      await sessions.touchToken((await sessions.rotateToken(old)) as string);
      const late = (await sessions.rotateToken(old)) as string;
      expect(await sessions.touchToken(late)).not.toBeNull();
      await fixture.elapse(60_000);
      expect(await sessions.touchToken(late)).not.toBeNull();
    });

    it('of a token that is not live returns null', async () => {
      const sessions = manage();
      const token = await sessions.setToken('ada');
      await sessions.deleteToken(token);
      expect(await sessions.rotateToken(token)).toBeNull();
      expect(await sessions.rotateToken('x')).toBeNull();
    });
  });

  describe('reauthenticateToken', () => {
    it('returns a new token with the new proof; the old one, and what is rotated from it, keeps the older proof', async () => {
      const sessions = manage();
      const token = await sessions.setToken('ada');
      const before = await sessions.checkToken(token);
      expect(before?.authenticatedAt).toEqual(before?.createdAt);
      await fixture.elapse(20);
      const proved = await sessions.reauthenticateToken(token);
      expect(proved?.authenticatedAt).toEqual(proved?.checkedAt);
      expect(proved).toMatchObject({ id: before?.id, createdAt: before?.createdAt, expiresAt: before?.expiresAt });
      expect(proved?.token).not.toBe(token);
      const stolen = [token, (await sessions.rotateToken(token)) as string];
      await sessions.touchToken(proved?.token as string);
      stolen.push((await sessions.rotateToken(token)) as string);
      for (const other of stolen) {
        expect((await sessions.checkToken(other))?.authenticatedAt).toEqual(before?.createdAt);
      }
      const next = (await sessions.rotateToken(proved?.token as string)) as string;
      expect((await sessions.checkToken(next))?.authenticatedAt).toEqual(proved?.checkedAt);
      expect((await sessions.listUserSessions('ada'))[0]?.authenticatedAt).toEqual(proved?.checkedAt);
      await sessions.deleteToken(token);
      expect(await sessions.reauthenticateToken(token)).toBeNull();
    });
  });

  describe('banUser', () => {
    it('ends every session at the next request, refuses logins, and gives the reason for both', async () => {
      const sessions = manage();
      const tokens = [await sessions.setToken('ada'), await sessions.setToken('ada')] as const;
      expect(await sessions.banUser('ada', { seconds: 60, reason: 'spam' })).toBe(2);
      const ban = await sessions.getBan('ada');
      expect(ban).toEqual({ since: expect.any(Date), until: expect.any(Date), reason: 'spam' });
      expect((ban?.until?.getTime() ?? 0) - (ban?.since.getTime() ?? 0)).toBe(60_000);
      expect(await sessions.touchToken(tokens[0])).toBeNull();
      expect(await sessions.inspectToken(tokens[1])).toEqual({ session: null, reason: 'banned', message: 'spam' });
      await expect(sessions.setToken('ada')).rejects.toMatchObject({ code: 'ERR_USER_BANNED', status: 403 });
      await expect(sessions.createSession('ada')).rejects.toMatchObject({ code: 'ERR_USER_BANNED' });
      expect(await sessions.listUserToken('ada')).toEqual([]);

      expect(await sessions.unbanUser('ada')).toBe(true);
      expect(await sessions.unbanUser('ada')).toBe(false);
      expect(await sessions.getBan('ada')).toBeNull();
      expect(await sessions.checkToken(tokens[0])).toBeNull();
      expect(await sessions.checkToken(await sessions.setToken('ada'))).not.toBeNull();
    });

    it('does not change the reason of a session that was logged out before', async () => {
      const sessions = manage();
      const [out, kicked] = [await sessions.setToken('ada'), await sessions.setToken('ada')];
      await sessions.deleteToken(out);
      await sessions.deleteSession('ada', idOf(kicked), { message: 'desk 3' });
      await sessions.banUser('ada', { reason: 'spam' });
      expect(await sessions.inspectToken(out)).toEqual({ session: null, reason: 'unknown' });
      expect(await sessions.inspectToken(kicked)).toEqual({ session: null, reason: 'revoked', message: 'desk 3' });
    });

    it('without an end lasts until it is lifted', async () => {
      const sessions = manage();
      expect(await sessions.banUser('ada')).toBe(0);
      expect(await sessions.getBan('ada')).toEqual({ since: expect.any(Date), until: null });
    });
  });

  describe('events', () => {
    it('report every login and every end, with public ids and never a token', async () => {
      const sessions = manage({ maxSessions: 2, rotationGrace: 60 });
      const seen = recordEvents(sessions);
      const newEvents = () => seen.splice(0);
      const tokens: string[] = [];
      const login = async (user: string, ttl?: number) => {
        const token = await sessions.setToken(user, ttl, { device: 'web' });
        tokens.push(token);
        return token;
      };
      const first = await login('ada');
      expect(newEvents()).toEqual([
        ['login', { userId: 'ada', sessionId: idOf(first), attributes: { device: 'web' } }],
      ]);
      await sessions.touchToken(first);
      await sessions.listUserSessions('ada');
      expect(newEvents()).toEqual([]);

      const [second, third] = [await login('ada'), await login('ada')];
      expect(newEvents().slice(1)).toEqual([
        ['replaced', { userId: 'ada', sessionId: idOf(first), by: idOf(third) }],
        ['login', expect.objectContaining({ sessionId: idOf(third) })],
      ]);
      await sessions.deleteToken(second);
      await sessions.deleteToken(second);
      expect(newEvents()).toEqual([['logout', { userId: 'ada', sessionId: idOf(second) }]]);

      const rotated = (await sessions.rotateToken(third)) as string;
      tokens.push(rotated);
      expect(newEvents()).toEqual([['rotated', { userId: 'ada', sessionId: idOf(third) }]]);
      await sessions.touchToken(rotated);
      const expiring = await login('ada', 60);
      newEvents();
      await fixture.elapse(60_000);
      await sessions.checkToken(expiring);
      await sessions.checkToken(third);
      await sessions.checkToken(third);
      await sessions.checkToken(rotated);
      expect(newEvents()).toEqual([
        ['expired-on-use', { userId: 'ada', sessionId: idOf(expiring) }],
        ['reused', { userId: 'ada', sessionId: idOf(rotated), ended: true }],
      ]);

      const fourth = await login('ada');
      await sessions.deleteSession('ada', idOf(fourth), { message: 'bye' });
      const fifth = await login('ada');
      await sessions.deleteUserToken('ada');
      const sixth = await login('ada');
      await sessions.banUser('ada', { reason: 'spam' });
      await sessions.unbanUser('ada');
      expect(newEvents().filter(([name]) => name !== 'login')).toEqual([
        ['revoked', { userId: 'ada', sessionId: idOf(fourth), message: 'bye' }],
        ['revoked', { userId: 'ada', sessionId: idOf(fifth) }],
        ['banned', { userId: 'ada', sessionIds: [idOf(sixth)], until: null, reason: 'spam' }],
      ]);
      const others = await login('grace');
      const { token } = await sessions.createSession('ada', { replaces: [others] });
      expect(newEvents().map(([name, event]) => [name, event])).toEqual([
        ['login', expect.objectContaining({ userId: 'grace' })],
        ['replaced', { userId: 'grace', sessionId: idOf(others), by: idOf(token) }],
        ['login', expect.objectContaining({ userId: 'ada', sessionId: idOf(token) })],
      ]);
      expect(await sessions.inspectToken(others)).toEqual({ session: null, reason: 'replaced' });
    });

    it('report a user who was deleted, and nothing that did not happen', async () => {
      const sessions = manage({ getUserInfo: () => null });
      const token = await sessions.setToken('ada');
      const seen = recordEvents(sessions);
      await sessions.touchToken(token);
      await sessions.deleteUserToken('ada');
      await sessions.deleteSession('ada', idOf(token));
      await sessions.deleteToken(token);
      expect(seen).toEqual([['revoked', { userId: 'ada', sessionId: idOf(token) }]]);
    });
  });
});

describe('listeners', () => {
  let warn: jest.SpyInstance;
  beforeEach(() => {
    warn = jest.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
  });
  afterEach(() => warn.mockRestore());

  const manage = () => new TokenManager({ store: new MemoryStore(), secret: SECRET });

  it('that throw or reject do not affect the call or each other, and cause a process warning', async () => {
    const sessions = manage();
    const called: string[] = [];
    sessions
      .on('login', () => {
        throw new Error('thrown by a listener');
      })
      .on('login', async () => {
        throw new Error('rejected by a listener');
      })
      .on('login', () => void called.push('last'));
    expect(await sessions.setToken('ada')).toEqual(expect.any(String));
    expect(called).toEqual(['last']);
    await until('both have been warned of', () => warn.mock.calls.length === 2);
    for (const [index, thrown] of ['thrown by a listener', 'rejected by a listener'].entries()) {
      expect(warn.mock.calls[index]).toEqual([
        "tokensession: a listener of the event 'login' failed",
        { code: 'TOKENSESSION_LISTENER', detail: expect.stringContaining(thrown) },
      ]);
    }
    await sessions.close();
  });

  it('that throw an unprintable value affect nothing either', async () => {
    const sessions = manage();
    const hostile = {
      [inspect.custom]() {
        throw new Error('again');
      },
    };
    sessions.on('login', () => {
      throw hostile;
    });
    expect(await sessions.setToken('ada')).toEqual(expect.any(String));
    expect(warn.mock.calls[0]?.[1]).toMatchObject({ detail: 'an error that can not be printed' });
    await sessions.close();
  });

  it('can listen for one event only, and be removed', async () => {
    const sessions = manage();
    const called: string[] = [];
    const every = () => void called.push('every');
    sessions.on('login', every).once('login', () => void called.push('once'));
    await sessions.setToken('ada');
    await sessions.setToken('ada');
    sessions.off('login', every);
    await sessions.setToken('ada');
    expect(called).toEqual(['every', 'once', 'every']);
    await sessions.close();
  });

  it('get store-down once, and store-up after a second without an unanswered call', async () => {
    const store: Store = new MemoryStore();
    let isDown = false;
    const flaky = Object.assign(Object.create(store) as Store, {
      check: async () => {
        if (isDown) throw new SessionError('ERR_STORE_TIMEOUT', 'no answer');
        return null;
      },
    });
    const sessions = new TokenManager({ store: flaky, secret: SECRET });
    const token = await manage().setToken('ada');
    const seen = recordEvents(sessions);
    await sessions.checkToken(token);
    isDown = true;
    for (let i = 0; i < 3; i++) await expect(sessions.checkToken(token)).rejects.toThrow('no answer');
    expect(seen).toEqual([['store-down', { error: expect.objectContaining({ code: 'ERR_STORE_TIMEOUT' }) }]]);
    isDown = false;
    await sessions.checkToken(token);
    expect(seen).toHaveLength(1);
    await until('the store is said to be up', async () => {
      await sessions.checkToken(token);
      return seen.length === 2;
    });
    expect(seen[1]).toEqual(['store-up', {}]);
    await store.close();
  });

  it('get no store-down for a call after close(): a deployment is no outage', async () => {
    const sessions = manage();
    const token = await sessions.setToken('ada');
    const seen = recordEvents(sessions);
    await sessions.close();
    await expect(sessions.checkToken(token)).rejects.toMatchObject({ code: 'ERR_STORE_UNAVAILABLE' });
    expect(seen).toEqual([]);
  });
});
