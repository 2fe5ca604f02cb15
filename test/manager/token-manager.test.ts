import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import {
  type GetUserInfo,
  MemoryStore,
  SessionError,
  type Store,
  type TokenClaims,
  TokenManager,
  type TokenManagerOptions,
} from 'tokensession';
import { readClaims } from '../../src/token/token';
import { ROOT } from '../support/doc-pages';
import { usedHeap } from '../support/heap';
import { secondsLeft } from '../support/seconds-left';
import { idOf } from '../support/session-id';
import { describeStores, POLICY, SECRET, type StoreFixture } from '../support/stores';

interface Detail {
  name: string;
}

describeStores((open) => {
  let fixture: StoreFixture;
  let store: Store;

  const manager = (options: Partial<TokenManagerOptions<Detail>> = {}) =>
    new TokenManager<Detail>({ store, secret: SECRET, ...options });

  beforeEach(async () => {
    fixture = await open();
    store = fixture.store;
  });
  afterEach(() => fixture.close());

  describe('setToken', () => {
    it('returns a token whose check gives the user id, the times and the attributes', async () => {
      const sessions = manager({ ttl: 60 });
      const token = await sessions.setToken('ada', undefined, { device: 'web', ip: '192.0.2.1' });
      const session = await sessions.checkToken(token);
      expect(session).toEqual({
        token,
        id: idOf(token),
        user: { id: 'ada' },
        createdAt: expect.any(Date),
        authenticatedAt: session?.createdAt,
        lastSeenAt: session?.createdAt,
        checkedAt: expect.any(Date),
        expiresAt: new Date((session?.createdAt.getTime() ?? 0) + 60_000),
        ttl: secondsLeft(60),
        attributes: { device: 'web', ip: '192.0.2.1' },
        actor: null,
      });
      const age = Number(session?.checkedAt) - Number(session?.createdAt);
      expect(age).toBeGreaterThanOrEqual(0);
      expect(age).toBeLessThan(60_000);
    });

    it('accepts its own ttl', async () => {
      const sessions = manager();
      expect(await sessions.checkToken(await sessions.setToken('ada', 50))).toMatchObject({ ttl: secondsLeft(50) });
      expect(await sessions.checkToken(await sessions.setToken('ada'))).toMatchObject({
        ttl: secondsLeft(7 * 24 * 3600),
      });
    });

    it('does not check that the user exists', async () => {
      const getUserInfo = jest.fn<null, [string]>(() => null);
      const sessions = manager({ getUserInfo });
      await sessions.setToken('nobody');
      expect(getUserInfo).not.toHaveBeenCalled();
    });
  });

  describe('user ids', () => {
    const IDS = [
      'a:b', 'a', 'a_b', '{a}', 'a}{b', ' ', '  ', 'line\nbreak', '\r\n', 'nul\0', '\0', '👩‍🚀', 'é', 'e\u0301', '__proto__',
      'constructor', 'toString', '0', '-1', '*', '?', '[a-z]', '"', "'", '\\', '%00', 'x'.repeat(1024), '€'.repeat(341),
      '<script>', 'id', 'v', 'null', 'undefined', 'true',
    ]; // biome-ignore format: a list of oddities reads best as one

    it('of any well-formed text up to 1 KiB are returned exactly and never collide', async () => {
      const sessions = manager();
      const tokens = new Map<string, string>();
      for (const id of IDS) tokens.set(id, await sessions.setToken(id));
      for (const id of IDS) {
        const token = tokens.get(id) as string;
        expect((await sessions.touchToken(token))?.user.id).toBe(id);
        expect(await sessions.listUserToken(id)).toEqual([token]);
      }
      for (const id of IDS) expect(await sessions.deleteUserToken(id)).toBe(1);
    });
  });

  describe('refreshToken', () => {
    it("extends the expiry by a new ttl, or by the session's own", async () => {
      const sessions = manager({ ttl: 60 });
      const token = await sessions.setToken('ada', 50);
      await fixture.elapse(30_000);
      expect(await sessions.refreshToken(token)).toBe(true);
      expect(await sessions.checkToken(token)).toMatchObject({ ttl: secondsLeft(50) });
      expect(await sessions.refreshToken(token, 500)).toBe(true);
      expect(await sessions.checkToken(token)).toMatchObject({ ttl: secondsLeft(500) });
    });
  });

  describe('touchToken', () => {
    it('slides the session and returns its new expiry', async () => {
      const sessions = manager({ ttl: 60 });
      const token = await sessions.setToken('ada');
      await fixture.elapse(20);
      const touched = await sessions.touchToken(token);
      expect(touched?.lastSeenAt.getTime()).toBeGreaterThan(touched?.createdAt.getTime() ?? 0);
      expect(touched?.expiresAt.getTime()).toBe((touched?.lastSeenAt.getTime() ?? 0) + 60_000);
    });

    it('does not write more often than slideEvery says', async () => {
      const sessions = manager({ ttl: 60, slideEvery: 20 });
      const token = await sessions.setToken('ada');
      await fixture.elapse(10_000);
      const touched = await sessions.touchToken(token);
      expect(touched?.lastSeenAt).toEqual(touched?.createdAt);
    });

    it('never exceeds absoluteTtl, however often the session is used', async () => {
      const sessions = manager({ ttl: 3600, absoluteTtl: 60 });
      const token = await sessions.setToken('ada');
      await fixture.elapse(30_000);
      expect(await sessions.touchToken(token)).toMatchObject({ ttl: secondsLeft(30) });
      await fixture.elapse(30_000);
      expect(await sessions.touchToken(token)).toBeNull();
    });
  });

  describe('refreshing one session', () => {
    it('does not shorten other sessions of the user', async () => {
      const sessions = manager();
      const [short, long] = [await sessions.setToken('ada', 60), await sessions.setToken('ada', 60)];
      await sessions.refreshToken(short, 1);
      await fixture.elapse(1000);
      expect(await sessions.listUserToken('ada')).toEqual([long]);
    });
  });

  describe('limits', () => {
    it('singleMode: a login ends the sessions before it', async () => {
      const sessions = manager({ singleMode: true });
      const [first, second] = [await sessions.setToken('ada'), await sessions.setToken('ada')];
      expect(await sessions.checkToken(first)).toBeNull();
      expect(await sessions.listUserToken('ada')).toEqual([second]);
    });

    it('maxSessions: a login ends the oldest session', async () => {
      const sessions = manager({ maxSessions: 2 });
      const tokens = [await sessions.setToken('ada'), await sessions.setToken('ada'), await sessions.setToken('ada')];
      expect(await sessions.listUserToken('ada')).toEqual(tokens.slice(1));
    });
  });

  describe('listing and ending', () => {
    it('lists tokens and sessions, oldest login first', async () => {
      const sessions = manager();
      const tokens = [await sessions.setToken('ada', 50, { device: 'a' }), await sessions.setToken('ada', 100)];
      expect(await sessions.listUserToken('ada')).toEqual(tokens);
      const listed = await sessions.listUserSessions('ada');
      expect(listed).toMatchObject([
        { id: tokens[0]?.split('.')[1], ttl: secondsLeft(50), attributes: { device: 'a' } },
        { id: tokens[1]?.split('.')[1], ttl: secondsLeft(100), attributes: {} },
      ]);
      expect(await sessions.listUserToken('grace')).toEqual([]);
      expect(await sessions.listUserSessions('grace')).toEqual([]);
    });

    it('listUserSessions returns nothing that can be used to sign in', async () => {
      const sessions = manager();
      const token = await sessions.setToken('ada');
      const text = JSON.stringify(await sessions.listUserSessions('ada'));
      expect(text).not.toContain(token.split('.').at(-1));
      for (const { id } of await sessions.listUserSessions('ada')) expect(await sessions.checkToken(id)).toBeNull();
    });

    it('deleteToken ends this session alone', async () => {
      const sessions = manager();
      const [one, two] = [await sessions.setToken('ada'), await sessions.setToken('ada')];
      expect(await sessions.deleteToken(one)).toBe(true);
      expect(await sessions.deleteToken(one)).toBe(false);
      expect(await sessions.listUserToken('ada')).toEqual([two]);
    });

    it('deleteUserToken ends all, or all but one by its token or its id', async () => {
      const sessions = manager();
      const tokens = await Promise.all([sessions.setToken('ada'), sessions.setToken('ada'), sessions.setToken('ada')]);
      const [kept] = tokens;
      expect(await sessions.deleteUserToken('ada', { except: kept })).toBe(2);
      await sessions.setToken('ada');
      expect(await sessions.deleteUserToken('ada', { except: idOf(kept) })).toBe(1);
      expect(await sessions.listUserToken('ada')).toEqual([kept]);
      expect(await sessions.deleteUserToken('ada')).toBe(1);
      expect(await sessions.deleteUserToken('ada')).toBe(0);
    });

    it("an exception that is not one of this user's sessions keeps nothing", async () => {
      const sessions = manager();
      const foreign = await sessions.setToken('grace');
      for (const except of ['nonsense', foreign, '']) {
        await sessions.setToken('ada');
        expect(await sessions.deleteUserToken('ada', { except })).toBe(1);
      }
      expect(await sessions.listUserToken('grace')).toEqual([foreign]);
    });

    it("deleteSession ends one of this user's, never another's", async () => {
      const sessions = manager();
      const token = await sessions.setToken('ada');
      const id = idOf(token);
      expect(await sessions.deleteSession('grace', id)).toBe(false);
      expect(await sessions.deleteSession('ada', 'id')).toBe(false);
      expect(await sessions.deleteSession('ada', `${id}.a`)).toBe(false);
      expect(await sessions.deleteSession('ada', id)).toBe(true);
      expect(await sessions.deleteSession('ada', id)).toBe(false);
    });
  });

  describe('createSession', () => {
    it('returns the whole session, with the user', async () => {
      const sessions = manager({ getUserInfo: (id) => ({ name: id.toUpperCase() }) });
      const session = await sessions.createSession('ada', { ttl: 90 });
      expect(session).toEqual({
        ...(await sessions.checkTokenOrUpdateUser(session.token)),
        checkedAt: expect.any(Date),
        ttl: 90,
      });
      expect(session).toMatchObject({ user: { id: 'ada', detail: { name: 'ADA' } } });
    });

    it('ends the sessions it replaces, of any user', async () => {
      const sessions = manager();
      const [own, other, bystander] = [
        await sessions.setToken('ada'),
        await sessions.setToken('grace'),
        await sessions.setToken('ada'),
      ];
      const { token } = await sessions.createSession('ada', { replaces: [own, other, 'nonsense'] });
      expect(await sessions.listUserToken('ada')).toEqual([bystander, token]);
      expect(await sessions.listUserToken('grace')).toEqual([]);
    });

    it('starts no session for a user whom getUserInfo does not know', async () => {
      const sessions = manager({ getUserInfo: () => null });
      await expect(sessions.createSession('nobody')).rejects.toMatchObject({ code: 'ERR_USER_NOT_FOUND', status: 401 });
      expect(await sessions.listUserToken('nobody')).toEqual([]);
    });

    it('leaves no session behind when it could not end one that it replaces', async () => {
      const sessions = manager();
      const old = await sessions.setToken('grace');
      const end = store.end.bind(store);
      const broken = Object.assign(Object.create(store) as Store, {
        create: store.create.bind(store),
        end: (tag: string, sid: string) =>
          old.startsWith(tag)
            ? Promise.reject(new SessionError('ERR_STORE_TIMEOUT', 'no answer'))
            : end(tag, sid, null),
      });
      const login = manager({ store: broken }).createSession('ada', { replaces: [old] });
      await expect(login).rejects.toMatchObject({ code: 'ERR_STORE_TIMEOUT' });
      expect(await sessions.listUserToken('ada')).toEqual([]);
    });
  });

  describe('user info', () => {
    /** A loader that gives its first answer on `arrive()`, and "new" to every later call. */
    const slowAtFirst = () => {
      let arrive: (detail: Detail | null) => void = () => undefined;
      const first = new Promise<Detail | null>((resolve) => {
        arrive = resolve;
      });
      const getUserInfo = jest
        .fn<Promise<Detail | null>, [string]>()
        .mockReturnValueOnce(first)
        .mockResolvedValue({ name: 'new' });
      return { getUserInfo, arrive };
    };
    const userNamed = (name: string) => jest.fn<Promise<Detail | null>, [string]>(async () => ({ name }));

    it('is loaded at the first check that needs it, and is cached from then on', async () => {
      const getUserInfo = userNamed('Ada');
      const sessions = manager({ getUserInfo });
      const token = await sessions.setToken('ada');
      expect((await sessions.checkToken(token))?.user).toEqual({ id: 'ada' });
      expect(getUserInfo).not.toHaveBeenCalled();
      for (const check of ['touchToken', 'checkTokenOrUpdateUser', 'touchToken'] as const) {
        expect((await sessions[check](token))?.user).toEqual({ id: 'ada', detail: { name: 'Ada' } });
      }
      expect(getUserInfo.mock.calls).toEqual([['ada']]);
    });

    it('is loaded again after its ttl', async () => {
      const getUserInfo = userNamed('Ada');
      const sessions = manager({ getUserInfo });
      const token = await sessions.setToken('ada');
      await sessions.touchToken(token, 1);
      await fixture.elapse(1000);
      await sessions.touchToken(token, 1);
      expect(getUserInfo).toHaveBeenCalledTimes(2);
    });

    it('is the same from cache and loader: a JSON round trip', async () => {
      const sessions = new TokenManager({
        store,
        secret: SECRET,
        getUserInfo: () => ({ since: new Date(0), no: undefined }),
      });
      const token = await sessions.setToken('ada');
      const loaded = await sessions.touchToken(token);
      expect(loaded?.user.detail).toEqual({ since: '1970-01-01T00:00:00.000Z' });
      expect((await sessions.touchToken(token))?.user.detail).toEqual(loaded?.user.detail);
    });

    it('may be any JSON value but null', async () => {
      for (const value of [0, '', false, [], {}]) {
        const sessions = new TokenManager<unknown>({ store, secret: SECRET, getUserInfo: () => value });
        const token = await sessions.setToken(`user of ${JSON.stringify(value)}`);
        expect((await sessions.touchToken(token))?.user.detail).toEqual(value);
        expect((await sessions.touchToken(token))?.user.detail).toEqual(value);
      }
    });

    it.each([
      ['a function', () => 1],
      ['what becomes null', { toJSON: () => null }],
    ])('that is %s fails the check with a TypeError, and ends nothing', async (_, value) => {
      const sessions = new TokenManager<unknown>({ store, secret: SECRET, getUserInfo: () => value });
      const token = await sessions.setToken('ada');
      await expect(sessions.touchToken(token)).rejects.toThrow(TypeError);
      expect(await sessions.checkToken(token)).not.toBeNull();
    });

    it('in a service without a loader comes from the cache that another service fills', async () => {
      const token = await manager().setToken('ada');
      expect((await manager().touchToken(token))?.user).toEqual({ id: 'ada' });
      await manager({ getUserInfo: userNamed('Ada') }).addUser('ada');
      expect((await manager().touchToken(token))?.user).toEqual({ id: 'ada', detail: { name: 'Ada' } });
    });

    it('addUser loads and caches, or returns null for an unknown user', async () => {
      const getUserInfo = jest.fn<Detail | undefined, [string]>((id) => (id === 'ada' ? { name: 'Ada' } : undefined));
      const sessions = manager({ getUserInfo });
      expect(await sessions.addUser('ada')).toEqual({ id: 'ada', detail: { name: 'Ada' } });
      expect(await sessions.addUser('nobody')).toBeNull();
      await sessions.touchToken(await sessions.setToken('ada'));
      expect(getUserInfo).toHaveBeenCalledTimes(2);
    });

    it('deleteUser deletes the info and keeps the sessions', async () => {
      const getUserInfo = userNamed('Ada');
      const sessions = manager({ getUserInfo });
      const token = await sessions.setToken('ada');
      await sessions.touchToken(token);
      expect(await sessions.deleteUser('ada')).toBe(true);
      expect(await sessions.deleteUser('ada')).toBe(false);
      expect(await sessions.touchToken(token)).not.toBeNull();
      expect(getUserInfo).toHaveBeenCalledTimes(2);
    });

    it('deleteUser also discards the result of a load in flight', async () => {
      const { getUserInfo, arrive } = slowAtFirst();
      const sessions = manager({ getUserInfo });
      const token = await sessions.setToken('ada');
      const old = sessions.addUser('ada');
      await sessions.deleteUser('ada');
      arrive({ name: 'old' });
      expect((await old)?.detail).toEqual({ name: 'old' });
      expect((await sessions.touchToken(token))?.user.detail).toEqual({ name: 'new' });
    });

    it('refreshUser always loads: it never uses the result of a load that began before', async () => {
      const { getUserInfo, arrive } = slowAtFirst();
      const sessions = manager({ getUserInfo });
      const token = await sessions.setToken('ada');
      const old = sessions.touchToken(token);
      while (getUserInfo.mock.calls.length === 0) await nextTurn();
      const refreshed = sessions.refreshUser(['ada']);
      arrive({ name: 'old' });
      expect((await old)?.user.detail).toEqual({ name: 'old' });
      expect(await refreshed).toBe(1);
      expect((await sessions.touchToken(token))?.user.detail).toEqual({ name: 'new' });
    });

    it('addUser and createSession ignore a load that began before them, whatever its result', async () => {
      for (const call of ['addUser', 'createSession'] as const) {
        const { getUserInfo, arrive } = slowAtFirst();
        const sessions = manager({ getUserInfo });
        const token = await sessions.setToken(call);
        const old = sessions.touchToken(token);
        while (getUserInfo.mock.calls.length === 0) await nextTurn();
        const later = sessions[call](call);
        arrive(null);
        expect(await old).toBeNull();
        expect(await later).toMatchObject(
          call === 'addUser' ? { detail: { name: 'new' } } : { user: { detail: { name: 'new' } } },
        );
        expect(await sessions.listUserToken(call)).toHaveLength(call === 'addUser' ? 0 : 1);
      }
    });

    it('a session that starts during a load survives its result "no such user"', async () => {
      let arrive: (detail: null) => void = () => undefined;
      const getUserInfo = jest.fn<Promise<null>, [string]>(() => new Promise((resolve) => (arrive = resolve)));
      const sessions = manager({ getUserInfo });
      const old = sessions.touchToken(await sessions.setToken('ada'));
      while (getUserInfo.mock.calls.length === 0) await nextTurn();
      const token = await sessions.setToken('ada');
      arrive(null);
      expect(await old).toBeNull();
      expect(await sessions.checkToken(token)).not.toBeNull();
    });

    it('is read-only at every level, from any source', async () => {
      const ada = { roles: ['reader'], address: { city: 'London' } };
      const sessions = new TokenManager({ store, secret: SECRET, getUserInfo: () => ada });
      const { user, token } = await sessions.createSession('ada');
      await sessions.deleteUser('ada');
      const touched = async () => (await sessions.touchToken(token))?.user;
      for (const one of [
        user,
        ...(await Promise.all([touched(), touched()])),
        await touched(),
        await sessions.addUser('ada'),
      ]) {
        expect(one).toEqual({ id: 'ada', detail: ada });
        const detail = one?.detail as typeof ada;
        expect(() => Object.assign(one as object, { id: 'eve' })).toThrow(TypeError);
        expect(() => Object.assign(detail, { isAdmin: true })).toThrow(TypeError);
        expect(() => detail.roles.push('admin')).toThrow(TypeError);
        expect(() => Object.assign(detail.address, { city: 'Paris' })).toThrow(TypeError);
      }
      const checked = (await sessions.checkToken(token))?.user;
      expect(() => Object.assign(checked as object, { id: 'eve' })).toThrow(TypeError);
    });

    it('leaves the object of getUserInfo unfrozen for the application', async () => {
      const ada = { name: 'Ada', tags: ['x'] };
      const sessions = new TokenManager({ store, secret: SECRET, getUserInfo: () => ada });
      await sessions.addUser('ada');
      ada.tags.push('y');
      expect((await sessions.addUser('ada'))?.detail).toEqual({ name: 'Ada', tags: ['x', 'y'] });
    });

    it('of a deleted user is removed', async () => {
      const users = new Map([['ada', { name: 'Ada' }]]);
      const sessions = manager({ getUserInfo: (id) => users.get(id) });
      await sessions.addUser('ada');
      users.clear();
      expect(await sessions.addUser('ada')).toBeNull();
      expect((await manager().touchToken(await sessions.setToken('ada')))?.user).toEqual({ id: 'ada' });
    });

    it('whose loader hangs is loaded again ten seconds later', async () => {
      jest.useFakeTimers({ doNotFake: ['nextTick', 'setImmediate', 'performance'] });
      try {
        const { getUserInfo } = slowAtFirst();
        const sessions = manager({ getUserInfo });
        const token = await sessions.setToken('ada');
        void sessions.touchToken(token);
        while (getUserInfo.mock.calls.length === 0) await nextTurn();
        const refreshed = sessions.refreshUser(['ada']);
        await jest.advanceTimersByTimeAsync(10_000);
        expect((await sessions.touchToken(token))?.user.detail).toEqual({ name: 'new' });
        expect(await refreshed).toBe(1);
      } finally {
        jest.useRealTimers();
      }
    });

    it.each(['addUser', 'refreshUser', 'touchToken'] as const)(
      'is cached by %s also when its load takes longer than others share it',
      async (call) => {
        jest.useFakeTimers({ doNotFake: ['nextTick', 'setImmediate', 'performance'] });
        try {
          const ends: ((detail: Detail | null) => void)[] = [];
          const sessions = manager({ getUserInfo: () => new Promise((resolve) => ends.push(resolve)) });
          const token = await sessions.setToken('ada');
          const begin = () => {
            if (call === 'refreshUser') return sessions.refreshUser(['ada']);
            return call === 'addUser' ? sessions.addUser('ada') : sessions.touchToken(token);
          };
          const found = begin();
          while (ends.length === 0) await nextTurn();
          await jest.advanceTimersByTimeAsync(11_000);
          // Another call starts a load of its own, which ends later.
          const other = sessions.touchToken(token);
          while (ends.length === 1) await nextTurn();
          ends[0]?.({ name: 'Ada' });
          await found;
          const cached = async () => (await manager().touchToken(token))?.user.detail;
          for (let tries = 0; tries < 50 && (await cached()) === undefined; tries++) await nextTurn();
          expect(await cached()).toEqual({ name: 'Ada' });
          ends[1]?.({ name: 'later' });
          expect((await other)?.user.detail).toEqual({ name: 'later' });

          await sessions.deleteUser('ada');
          const gone = begin();
          while (ends.length === 2) await nextTurn();
          await jest.advanceTimersByTimeAsync(11_000);
          ends[2]?.(null);
          await gone;
          expect(await sessions.listUserToken('ada')).toEqual([]);
        } finally {
          jest.useRealTimers();
        }
      },
    );

    it('whose loader hangs is ignored after a login, although others no longer share that load', async () => {
      jest.useFakeTimers({ doNotFake: ['nextTick', 'setImmediate', 'performance'] });
      try {
        const { getUserInfo, arrive } = slowAtFirst();
        const sessions = manager({ getUserInfo });
        const old = sessions.touchToken(await sessions.setToken('ada'));
        while (getUserInfo.mock.calls.length === 0) await nextTurn();
        await jest.advanceTimersByTimeAsync(11_000);
        const token = await sessions.setToken('ada');
        arrive(null);
        expect(await old).toBeNull();
        expect(await sessions.checkToken(token)).not.toBeNull();
      } finally {
        jest.useRealTimers();
      }
    });

    it.each(['addUser', 'refreshUser'] as const)('%s caches what it loaded although a session starts', async (call) => {
      const { getUserInfo, arrive } = slowAtFirst();
      await manager({ getUserInfo: userNamed('outdated') }).addUser('ada');
      const sessions = manager({ getUserInfo });
      const loading = call === 'addUser' ? sessions.addUser('ada') : sessions.refreshUser(['ada']);
      while (getUserInfo.mock.calls.length === 0) await nextTurn();
      const token = await sessions.setToken('ada');
      arrive({ name: 'changed' });
      expect(await loading).toEqual(call === 'addUser' ? { id: 'ada', detail: { name: 'changed' } } : 1);
      expect((await sessions.touchToken(token))?.user.detail).toEqual({ name: 'changed' });
      expect(getUserInfo).toHaveBeenCalledTimes(1);
    });

    it('refreshUser counts no user whose info the store refuses, for a later change', async () => {
      for (const later of [manager({ getUserInfo: userNamed('later') }), null]) {
        const { getUserInfo, arrive } = slowAtFirst();
        const sessions = manager({ getUserInfo });
        const refreshed = sessions.refreshUser(['ada']);
        while (getUserInfo.mock.calls.length === 0) await nextTurn();
        await (later ?? sessions).deleteUser('ada');
        await later?.addUser('ada');
        arrive({ name: 'old' });
        expect(await refreshed).toBe(0);
        expect((await (later ?? sessions).addUser('ada'))?.detail).not.toEqual({ name: 'old' });
      }
    });

    it('refreshUser loads a user named twice once, and counts only existing users', async () => {
      const getUserInfo = jest.fn<Detail | null, [string]>((id) => (id === 'nobody' ? null : { name: id }));
      const sessions = manager({ getUserInfo });
      expect(await sessions.refreshUser(['ada', 'grace', 'ada', 'nobody'])).toBe(2);
      expect(getUserInfo).toHaveBeenCalledTimes(3);
      expect(await sessions.refreshUser([])).toBe(0);
    });

    it('refreshUser loads many at a time, with a limit', async () => {
      let running = 0;
      let most = 0;
      const getUserInfo: GetUserInfo<Detail> = async (name) => {
        most = Math.max(most, ++running);
        await sleep(2);
        running--;
        return { name };
      };
      const ids = Array.from({ length: 100 }, (_, i) => `user ${i}`);
      expect(await manager({ getUserInfo }).refreshUser(ids)).toBe(100);
      expect(most).toBe(16);
    });

    it('addUser and refreshUser without a getUserInfo are a TypeError', async () => {
      await expect(manager().addUser('ada')).rejects.toThrow('needs the option getUserInfo');
      await expect(manager().refreshUser(['ada'])).rejects.toThrow('needs the option getUserInfo');
    });
  });

  describe('a store that returns the record of another user', () => {
    it('causes an error, not a login', async () => {
      const sessions = manager();
      const [ada, grace] = [await sessions.setToken('ada'), await sessions.setToken('grace')];
      const tagOf = (id: string) => createHash('sha256').update(id).digest('base64url').slice(0, 22);
      const crossed = Object.assign(Object.create(store) as Store, {
        check: () => store.check(tagOf('grace'), readClaims(grace) as TokenClaims, POLICY),
        touch: () => store.check(tagOf('grace'), readClaims(grace) as TokenClaims, POLICY),
        list: () => store.list(tagOf('grace')),
        getBan: () => store.getBan(tagOf('grace')),
      });
      const corrupt = expect.objectContaining({ code: 'ERR_STORE_CORRUPT', status: 500 });
      await expect(manager({ store: crossed }).checkToken(ada)).rejects.toEqual(corrupt);
      await expect(manager({ store: crossed }).touchToken(ada)).rejects.toEqual(corrupt);
      await expect(manager({ store: crossed }).listUserToken('ada')).rejects.toEqual(corrupt);
      await sessions.banUser('grace');
      await expect(manager({ store: crossed }).getBan('ada')).rejects.toEqual(corrupt);
    });
  });

  describe('secrets', () => {
    it('can be replaced without signing users out', async () => {
      const NEXT = 'the secret that comes next, long enough too';
      const old = await manager().setToken('ada');
      const rotated = manager({ secret: [NEXT, SECRET] });
      const young = await rotated.setToken('ada');
      expect(await rotated.checkToken(old)).not.toBeNull();
      expect(await manager({ secret: NEXT }).checkToken(young)).not.toBeNull();
      expect(await manager({ secret: NEXT }).checkToken(old)).toBeNull();
      // Listed tokens are signed with the first secret, and as valid as the issued ones.
      for (const token of await rotated.listUserToken('ada')) {
        expect(await manager({ secret: NEXT }).checkToken(token)).not.toBeNull();
      }
    });
  });
});

it('keeps nothing of a user whose info was loaded', async () => {
  // Keeps no info itself.
  const store = Object.assign(new MemoryStore(), { renewUserInfo: async () => 1, setUserInfo: async () => true });
  const sessions = new TokenManager({ store, secret: SECRET, getUserInfo: () => ({ name: 'x' }) });
  const load = async (from: number) => {
    for (let i = 0; i < 30_000; i++) await sessions.addUser(`user ${from + i}`);
  };
  await load(0);
  const before = usedHeap();
  await load(1_000_000);
  // A hundred bytes a user would be 3 MB.
  expect(usedHeap() - before).toBeLessThan(1_000_000);
  await sessions.close();
});

it('has the members of its reference page, and no others at run time', () => {
  const page = readFileSync(join(ROOT, 'docs/api/index.md'), 'utf8');
  const section = page.split('\n### ').find((part) => part.startsWith('TokenManager\n')) ?? '';
  const documented = [...section.matchAll(/^##### (\w+)/gm)].map(([, name]) =>
    name?.replace('Constructor', 'constructor'),
  );
  expect(new Set(Object.getOwnPropertyNames(TokenManager.prototype))).toEqual(new Set(documented));
});
