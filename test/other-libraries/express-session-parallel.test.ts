import { setTimeout as sleep } from 'node:timers/promises';
import { RedisStore, SessionError, TokenManager } from 'tokensession';
import { ExpressSessionStore } from 'tokensession/express-session';
import { closeAfterEach } from '../support/closing';
import { startClusterTopology } from '../support/cluster-topology';
import { type BridgeOptions, called, type Route, startBridge } from '../support/express-session-app';
import { gate } from '../support/gate';
import { type RedisServer, startRedis } from '../support/redis-server';
import { idOf } from '../support/session-id';
import { PATIENT, SECRET } from '../support/stores';
import { until } from '../support/until';

const onClose = closeAfterEach();

let server: RedisServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

describe.each(['MemoryStore', 'RedisStore'])('on %s, express-session', (kind) => {
  const start = (options: BridgeOptions = {}) =>
    startBridge(onClose, { redis: kind === 'RedisStore' ? server.url : undefined, ...options });

  it('loses no key that parallel requests of one session write', async () => {
    const { browse, store } = await start({
      routes: {
        '/slow': async (req) => {
          await sleep(Math.random() * 50);
          req.session[`key-${req.query.n}`] = req.query.n;
          if (req.query.n === '0') delete req.session.first;
        },
      },
    });
    const browser = browse();
    const { body } = await browser.visit('/set?first=1&stays=1');
    await Promise.all(Array.from({ length: 50 }, (_, n) => browser.tab().visit(`/slow?n=${n}`)));
    const keys = Object.fromEntries(Array.from({ length: 50 }, (_, n) => [`key-${n}`, String(n)]));
    expect(await store.get(body.id)).toEqual({ ...keys, stays: '1', cookie: expect.anything() });
  });

  it('does not revive a session that was logged out during a slow request', async () => {
    const slow = gate();
    const { browse, store, manager, events, errors, url } = await start({
      routes: {
        '/slow': async (req) => {
          await slow.wait();
          req.session.late = 1;
          return 'done';
        },
      },
    });
    const browser = browse();
    const { body } = await browser.visit('/login');
    const late = browser.tab().visit('/slow');
    await slow.arrival;
    await browser.visit('/logout');
    slow.open();
    expect((await late).status).toBe(200);
    expect(await store.get(body.id)).toBeNull();
    expect(await manager.listUserSessions('ada')).toEqual([]);
    const sessionId = idOf(body.id);
    expect(events.map(([name]) => name)).toEqual(['login', 'logout', 'save-dropped']);
    expect(events.at(-1)).toEqual(['save-dropped', { userId: 'ada', sessionId }]);
    expect(errors).toEqual([]);
    // The keep-alive connections were not broken.
    for (let i = 0; i < 20; i++) expect((await fetch(`${url}/session`)).status).toBe(200);
  });

  it('ends a session also where its request signs in meanwhile, and that fails', async () => {
    const app = await start({
      routes: {
        '/': async (req) => {
          req.session.cart = 'hat';
          const saved = called((done) => req.session.save(done));
          const ended = app.store.destroy(req.sessionID);
          jest.spyOn(app.inner, 'create').mockRejectedValueOnce(new SessionError('ERR_STORE_UNAVAILABLE', 'test'));
          req.session.passport = { user: 'ada' };
          const failed = called((done) => req.session.save(done)).catch((error) => error.code);
          await saved;
          await ended;
          return failed;
        },
      },
    });
    const browser = app.browse();
    const { body } = await browser.visit('/set?cart=book');
    expect((await browser.visit('/')).body).toBe('ERR_STORE_UNAVAILABLE');
    expect(await app.store.get(body.id)).toBeNull();
    expect(await app.store.length()).toBe(0);
  });

  it('passes no data of a logged-out user to a visitor, even through a late second logout', async () => {
    const slow = gate();
    const { browse, store } = await start({
      routes: {
        '/slow-logout': async (req) => {
          await slow.wait();
          delete req.session.passport;
          return { id: req.sessionID };
        },
      },
    });
    const browser = browse();
    await browser.visit('/login');
    await browser.visit('/set?secret=1');
    const late = browser.tab().visit('/slow-logout');
    await slow.arrival;
    await browser.visit('/destroy');
    slow.open();
    expect((await late).status).toBe(200);
    expect(await store.length()).toBe(0);
  });

  it('starts no session of another user for a slow request whose own was kicked in the meantime', async () => {
    const slow = gate();
    const { browse, manager, events } = await start({
      routes: {
        '/rename': async (req) => {
          await slow.wait();
          req.session.passport = { user: 'eve' };
        },
      },
    });
    const browser = browse();
    await browser.visit('/login');
    const late = browser.visit('/rename');
    await slow.arrival;
    await manager.deleteUserToken('ada');
    slow.open();
    expect((await late).status).toBe(200);
    expect((await browser.visit('/session')).body.data).not.toHaveProperty('passport');
    expect(await manager.listUserSessions('eve')).toEqual([]);
    expect(events.map(([name]) => name)).toEqual(['login', 'revoked', 'save-dropped']);
  });

  it.each([
    ['another user', { user: 'eve' }],
    ['a visitor', undefined],
  ])(
    'keeps what parallel requests wrote where a session becomes that of %s at the second try only',
    async (_, next) => {
      const slow = gate();
      const { browse, manager, inner, events } = await start({
        routes: {
          '/change': async (req) => {
            await slow.wait();
            req.session.passport = next;
            const broken = jest
              .spyOn(inner, 'create')
              .mockRejectedValueOnce(new SessionError('ERR_STORE_TIMEOUT', 'test'));
            const code = await called((done) => req.session.save(done)).catch((error) => error.code);
            broken.mockRestore();
            req.session.own = 2;
            await called((done) => req.session.save(done));
            return code;
          },
        },
      });
      const browser = browse();
      await browser.visit('/login');
      await browser.visit('/set?own=0');
      const change = browser.visit('/change');
      await slow.arrival;
      await browser.tab().visit('/set?theirs=1&own=1');
      slow.open();
      expect((await change).body).toBe('ERR_STORE_TIMEOUT');
      const { data } = (await browser.visit('/session')).body;
      expect(data).toEqual({ own: 2, theirs: '1', cookie: expect.anything(), ...(next && { passport: next }) });
      expect(await manager.listUserSessions('ada')).toEqual([]);
      expect(await manager.listUserSessions('eve')).toHaveLength(next === undefined ? 0 : 1);
      expect(events.map(([name]) => name)).not.toContain('save-dropped');
    },
  );

  it('has sessions that are listed, limited, kicked, banned and reported like any others', async () => {
    const { browse, manager, events, errors } = await start({ policy: { maxSessions: 2 } });
    const browsers = [browse(), browse(), browse()];
    for (const browser of browsers) await browser.visit('/login', { headers: { 'User-Agent': 'a phone' } });
    const sessions = await manager.listUserSessions('ada');
    expect(sessions).toHaveLength(2);
    expect(sessions[0]?.attributes).toEqual({ ip: '127.0.0.1', userAgent: 'a phone' });
    const isIn = async (n: number) => (await browsers[n]?.tab().visit('/session'))?.body.data.passport?.user === 'ada';
    expect([await isIn(0), await isIn(1), await isIn(2)]).toEqual([false, true, true]);
    await manager.deleteSession('ada', sessions[0]?.id as string);
    expect([await isIn(1), await isIn(2)]).toEqual([false, true]);
    await manager.banUser('ada', { reason: 'fraud' });
    expect(await isIn(2)).toBe(false);
    const stranger = browse();
    expect((await stranger.visit('/login')).status).toBe(403);
    expect((await stranger.visit('/session')).body.data).not.toHaveProperty('passport');
    expect(errors).toEqual([expect.objectContaining({ code: 'ERR_USER_BANNED' })]);
    expect(events.map(([name]) => name)).toEqual([...['login', 'login', 'replaced', 'login', 'revoked', 'banned']]);
  });

  it('keeps the old id on a request whose login is refused, with no trace of the user', async () => {
    const { browse, manager, store } = await start({
      routes: {
        '/sign-in': async (req) => {
          const before = req.sessionID;
          req.session.passport = { user: 'eve' };
          const error = await called((done) => req.session.save(done)).catch((reason) => reason.code);
          delete req.session.passport;
          return { isSame: before === req.sessionID && req.session.id === before, error };
        },
        '/sign-in-and-forget-errors': async (req) => {
          req.session.passport = { user: 'eve' };
          req.session.save();
          await called((done) => req.session.save(done)).catch(() => undefined);
          return { id: req.sessionID };
        },
      },
    });
    await manager.banUser('eve');
    const browser = browse();
    const { body } = await browser.visit('/set?cart=book');
    expect((await browser.visit('/sign-in')).body).toEqual({ isSame: true, error: 'ERR_USER_BANNED' });
    expect((await browser.tab().visit('/session')).body.data).toMatchObject({ cart: 'book' });
    await browser.tab().visit('/sign-in-and-forget-errors');
    expect(await store.get(body.id)).toEqual({ cart: 'book', cookie: expect.anything() });
    expect(await store.length()).toBe(1);
  });

  it.each(['before', 'after'])(
    'passes no data of a user kicked during the login of another, %s it is stored',
    async (when) => {
      const app = await start({
        routes: {
          '/sign-in': async (req) => {
            req.session.passport = { user: 'eve' };
            const { create } = app.inner;
            const spy = jest.spyOn(app.inner, 'create').mockImplementationOnce(async (...args) => {
              if (when === 'before') await app.manager.deleteUserToken('ada');
              const made = await create.apply(app.inner, args);
              if (when === 'after') await app.manager.deleteUserToken('ada');
              return made;
            });
            await called((done) => req.session.save(done));
            spy.mockRestore();
            return 'done';
          },
        },
      });
      const browser = app.browse();
      await browser.visit('/login');
      await browser.visit('/set?secret=1');
      await browser.visit('/sign-in');
      expect(await app.manager.listUserSessions('eve')).toEqual([]);
      expect((await browser.visit('/session')).body.data).not.toHaveProperty('secret');
    },
  );

  it.each(['is refused', 'fails'])('keeps a user signed in while the login of another user %s', async (outcome) => {
    const { browse, manager, inner, events } = await start({
      routes: {
        '/sign-in': async (req) => {
          req.session.passport = { user: 'eve' };
          const error = new SessionError('ERR_STORE_TIMEOUT', 'test');
          const create = jest.spyOn(inner, 'create');
          if (outcome === 'fails') create.mockRejectedValueOnce(error);
          const code = await called((done) => req.session.save(done)).catch((reason) => reason.code);
          create.mockRestore();
          req.session.passport = { user: 'ada' };
          return code;
        },
      },
    });
    if (outcome === 'is refused') await manager.banUser('eve');
    const browser = browse();
    await browser.visit('/login');
    const code = outcome === 'fails' ? 'ERR_STORE_TIMEOUT' : 'ERR_USER_BANNED';
    expect((await browser.visit('/sign-in')).body).toBe(code);
    expect((await browser.visit('/session')).body.data).toMatchObject({ passport: { user: 'ada' } });
    expect(await manager.listUserSessions('ada')).toHaveLength(1);
    expect(events.map(([name]) => name)).not.toContain('logout');
  });

  it('tries a refused login again only after regenerate(), since a response saves its session once more', async () => {
    const { browse, manager } = await start({
      policy: { maxSessions: 1, onLimit: 'reject' },
      routes: {
        '/sign-in': async (req) => {
          const codes: string[] = [];
          const signIn = async () => {
            req.session.passport = { user: 'ada' };
            codes.push(
              await called((done) => req.session.save(done)).then(
                () => 'saved',
                (error) => error.code,
              ),
            );
            codes.push(`${(await manager.listUserSessions('ada')).length} live`);
          };
          await signIn();
          await manager.deleteUserToken('ada');
          await signIn();
          await called((done) => req.session.regenerate(done));
          await signIn();
          return codes;
        },
      },
    });
    await manager.setToken('ada');
    const { body } = await browse().visit('/sign-in');
    expect(body).toEqual(['ERR_TOO_MANY_SESSIONS', '1 live', 'saved', '0 live', 'saved', '1 live']);
  });

  it('changes the id and keeps the data when an application signs in without regenerate()', async () => {
    const { browse, store, calls } = await start({
      store: { userIdOf: (session) => session.userId },
      routes: {
        '/sign-in': async (req) => {
          req.session.userId = Number(req.query.user);
          return { id: req.sessionID };
        },
        '/sign-out': async (req) => {
          req.session.userId = null;
        },
      },
    });
    const browser = browse();
    const { body: visitor } = await browser.visit('/set?cart=book');
    const planted = browser.tab();
    calls.length = 0;
    expect((await browser.visit('/sign-in?user=7')).setCookie).toHaveLength(1);
    expect(calls).toEqual(['touchWithData', 'create', 'endWithData']);
    const { body } = await browser.visit('/session');
    expect(body).toMatchObject({ id: expect.stringMatching(/^.{22}\..{22}$/), data: { userId: 7, cart: 'book' } });
    expect((await planted.visit('/session')).body.data).not.toHaveProperty('userId');
    expect(await store.get(visitor.id)).toBeNull();
    // Changes the user, then logs out.
    await browser.visit('/sign-in?user=8');
    expect(await store.get(body.id)).toBeNull();
    await browser.visit('/sign-out');
    const { body: after } = await browser.visit('/session');
    expect(after.data).toMatchObject({ userId: null, cart: 'book' });
    expect(after.id).not.toContain('.');
    expect(await store.length()).toBe(1);
  });

  it('keeps what parallel requests wrote into the visitor’s session during a login', async () => {
    const slow = gate();
    const { browse } = await start({
      routes: {
        '/sign-in': async (req) => {
          await slow.wait();
          req.session.mine = 1;
          req.session.passport = { user: 'ada' };
        },
      },
    });
    const browser = browse();
    await browser.visit('/set?cart=book&gone=1');
    const login = browser.visit('/sign-in');
    await slow.arrival;
    await browser.tab().visit('/set?cart=two%20books&theirs=1');
    slow.open();
    await login;
    expect((await browser.visit('/session')).body.data).toEqual({
      ...{ cart: 'two books', theirs: '1', gone: '1', mine: 1 },
      ...{ passport: { user: 'ada' }, cookie: expect.anything() },
    });
  });

  it('starts no session where the visitor’s data could not be taken over', async () => {
    const { browse, manager, inner, errors } = await start({
      routes: {
        '/sign-in': async (req) => {
          req.session.passport = { user: 'ada' };
          const error = await called((done) => req.session.save(done)).catch((reason) => reason);
          delete req.session.passport;
          throw error;
        },
      },
    });
    const browser = browse();
    await browser.visit('/set?cart=book');
    const error = new SessionError('ERR_STORE_TIMEOUT', 'test');
    const broken = jest.spyOn(inner, 'endWithData').mockRejectedValueOnce(error);
    expect((await browser.visit('/sign-in')).status).toBe(503);
    broken.mockRestore();
    expect(errors).toEqual([error]);
    expect((await browser.visit('/session')).body.data).toEqual({ cart: 'book', cookie: expect.anything() });
    await until('it has ended', async () => (await manager.listUserSessions('ada')).length === 0);
  });

  it.each(['/set?cart=book', '/login'])(
    'keeps the client’s cookie when a login fails in an outage, after %s',
    async (path) => {
      const { browse, inner } = await start();
      const browser = browse();
      const { body } = await browser.visit(path);
      const cookie = browser.header;
      const broken = jest.spyOn(inner, 'end').mockRejectedValueOnce(new SessionError('ERR_STORE_UNAVAILABLE', 'test'));
      const { status, setCookie } = await browser.visit('/login?user=bob');
      expect([status, setCookie]).toEqual([503, []]);
      broken.mockRestore();
      expect(browser.header).toBe(cookie);
      expect((await browser.visit('/session')).body.id).toBe(body.id);
    },
  );

  it('lets both logins of a double click succeed', async () => {
    const slow = gate();
    let waiting = 0;
    const { browse, manager } = await start({
      routes: {
        '/sign-in': async (req) => {
          if (++waiting === 2) slow.open();
          await slow.wait();
          req.session.passport = { user: 'ada' };
        },
      },
    });
    const browser = browse();
    await browser.visit('/set?cart=book');
    const tabs = [browser.tab(), browser.tab()];
    const answers = await Promise.all(tabs.map((tab) => tab.visit('/sign-in')));
    expect(answers.map(({ status }) => status)).toEqual([200, 200]);
    for (const tab of tabs) expect((await tab.visit('/session')).body.data.passport).toEqual({ user: 'ada' });
    expect(await manager.listUserSessions('ada')).toHaveLength(2);
  });

  it.each([
    ['an object', { id: 1 }, 'what userIdOf gives must be a string, got a value of type object'],
    ['NaN', Number.NaN, 'what userIdOf gives must be a string, got NaN'],
    ['true', true, 'what userIdOf gives must be a string, got a value of type boolean'],
  ])('rejects %s as a user', async (_, user, message) => {
    const { browse, store, errors } = await start({
      store: { userIdOf: (session) => (session.user === undefined ? undefined : user) },
      routes: {
        '/sign-in': async (req) => {
          req.session.user = 1;
          await called((done) => req.session.save(done)).finally(() => {
            delete req.session.user;
          });
        },
      },
    });
    await browse().visit('/sign-in');
    expect(errors).toEqual([new TypeError(message)]);
    expect(await store.all()).toEqual([{ id: expect.any(String), cookie: expect.anything() }]);
  });

  it.each([
    ['0', 0, '0'],
    ['a bigint', 12345678901234567890n, '12345678901234567890'],
    ['false', false, null],
    ["''", '', null],
  ])('accepts %s as a user', async (_, user, userId) => {
    const { browse, manager, store } = await start({
      store: { userIdOf: (session) => (session.a ? user : undefined) },
    });
    await browse().visit('/set?a=1');
    expect(await store.length()).toBe(1);
    if (userId !== null) expect(await manager.listUserSessions(userId)).toHaveLength(1);
  });

  it('names the key of a value that cannot be stored, and keeps the former data', async () => {
    const bad: Route = async (req) => {
      const { big } = req.query;
      req.session.bad = big ? 'x'.repeat(70_000) : 1n;
      const error = await called((done) => req.session.save(done)).catch((reason) => reason);
      delete req.session.bad;
      const { code, name } = error as { code?: string; name?: string };
      return { code: code ?? name };
    };
    const { browse } = await start({ routes: { '/bad': bad } });
    const browser = browse();
    await browser.visit('/set?a=1');
    expect((await browser.visit('/bad')).body).toEqual({ code: 'TypeError' });
    expect((await browser.visit('/bad?big=1')).body).toEqual({ code: 'ERR_DATA_TOO_LARGE' });
    expect((await browser.visit('/session')).body.data).toEqual({ a: '1', cookie: expect.anything() });
  });

  it('stores the saves of one session in order, each as it was when it began', async () => {
    const { browse, store } = await start({
      routes: {
        '/saves': async (req) => {
          const saves: Promise<unknown>[] = [];
          for (let n = 0; n < 20; n++) {
            req.session.n = n;
            req.session[`n${n}`] = n;
            if (n > 0) delete req.session[`n${n - 1}`];
            saves.push(called((done) => req.session.save(done)));
          }
          await Promise.all(saves);
          return { id: req.sessionID };
        },
      },
    });
    const { body } = await browse().visit('/saves');
    expect(await store.get(body.id)).toEqual({ n: 19, n19: 19, cookie: expect.anything() });
  });

  it('accepts no id that a client made up for a user’s session', async () => {
    const { browse, manager, store } = await start();
    await browse().visit('/login');
    const [session] = await manager.listUserSessions('ada');
    const thief = browse();
    thief.cookies.set('connect.sid', `x.${session?.id}`);
    expect((await thief.visit('/session')).body.data).not.toHaveProperty('passport');
    // Session data cannot make a request continue with another session.
    await store.set('mine', { movedTo: `x.${session?.id}`, cookie: {} });
    expect(await store.get('mine')).toMatchObject({ movedTo: expect.any(String) });
  });

  it('goes on after a response that lasts longer than maxAge, where other requests have slid it', async () => {
    const slow = gate();
    const maxAge = 3000;
    const { browse, manager } = await start({
      session: { rolling: true, cookie: { maxAge } },
      routes: {
        '/stream': async (_req, res) => {
          res.write('begun');
          await slow.wait();
          res.end();
        },
      },
    });
    const browser = browse();
    await browser.visit('/login');
    const stream = browser.tab().visit('/stream');
    await slow.arrival;
    const begunAt = performance.now();
    while (performance.now() < begunAt + maxAge) {
      await sleep(300);
      await browser.visit('/session');
    }
    slow.open();
    expect((await stream).status).toBe(200);
    expect(await manager.listUserSessions('ada')).toHaveLength(1);
    expect((await browser.visit('/session')).body.data).toHaveProperty('passport');
  });

  it('is slid by every request', async () => {
    const { browse } = await start({ session: { cookie: { maxAge: 2500 } } });
    const browser = browse();
    await browser.visit('/login');
    for (let i = 0; i < 6; i++) {
      await sleep(500);
      expect((await browser.visit('/session')).body.data).toHaveProperty('passport');
    }
  });
});

it('answers 503 in an outage, keeps its cookie, and works again afterwards', async () => {
  const redis = await startRedis({ save: '3600 1', appendonly: 'yes', appendfsync: 'always' });
  onClose(() => redis.stop());
  const { browse } = await startBridge(onClose, {
    policy: { store: new RedisStore(redis.url, { timeoutMs: 2000 }) },
  });
  const browser = browse();
  await browser.visit('/login');
  const cookie = browser.header;
  await redis.kill();
  const { status, setCookie } = await browser.visit('/session');
  expect([status, setCookie]).toEqual([503, []]);
  await redis.restart();
  const answer = await until('it answers with no 503', async () => {
    const visit = await browser.visit('/session');
    return visit.status === 503 ? null : visit;
  });
  expect(answer.status).toBe(200);
  expect(answer.body.data).toHaveProperty('passport');
  expect(browser.header).toBe(cookie);
});

it('lists, counts and ends the sessions on all masters of a Cluster', async () => {
  const cluster = await startClusterTopology({ masters: 3, replicas: 0, nodeTimeoutMs: 10_000 });
  onClose(() => cluster.stop());
  const store = new RedisStore({ cluster: cluster.startupNodes }, PATIENT);
  const manager = new TokenManager({ store, secret: SECRET });
  onClose(() => manager.close());
  const sessions = new ExpressSessionStore(manager, { userIdOf: () => null });
  await Promise.all(Array.from({ length: 200 }, (_, i) => sessions.set(`id-${i}`, { i, cookie: {} })));
  expect(await sessions.length()).toBe(200);
  const all = (await sessions.all()) as { i: number }[];
  expect(all.map(({ i }) => i).sort((a, b) => a - b)).toEqual(Array.from({ length: 200 }, (_, i) => i));
  await sessions.clear();
  expect(await sessions.length()).toBe(0);
});
