/* A request with the sessions of several managers. */
import express from 'express';
import { MemoryStore, TokenManager } from 'tokensession';
import { type SessionMiddlewareOptions, sessionMiddleware } from 'tokensession/express';
import { authenticate, oauthStateStore } from 'tokensession/passport';
import { listen } from '../support/apps';
import { closeAfterEach } from '../support/closing';
import { ALL_HOSTS } from '../support/hosts';
import type { GuardName, Mount, Plan } from '../support/hosts/host';
import { managerMaker } from '../support/managers';
import { SECRET } from '../support/stores';

const { Passport } = require('passport');
const { Strategy } = require('passport-local');

const WITH_MIDDLEWARE = ALL_HOSTS.filter(([, { hasMiddleware }]) => hasMiddleware);

describe.each(WITH_MIDDLEWARE)('%s', (_, host) => {
  const onClose = closeAfterEach();

  const newManager = managerMaker(onClose);

  async function start(mounts: readonly Mount[], guard?: GuardName) {
    const app = await listen(host.build({ mounts, guardOf: () => guard, handle: () => 'in' }));
    onClose(app.close);
    return (cookies: Record<string, string>) => {
      const cookie = Object.entries(cookies).map(([name, token]) => `${name}=${token}`);
      return fetch(app.url, { headers: { cookie: cookie.join('; ') } });
    };
  }

  /** Administrators at `auth`, users at `session`. */
  async function twoManagers() {
    const [admins, users] = [newManager(), newManager({ secret: SECRET.toUpperCase() })];
    const mounts = [
      { manager: admins, options: { property: 'auth', cookie: { name: 'admin' } } },
      { manager: users, options: {} },
    ];
    const tokens = { admin: await admins.setToken('root'), session: await users.setToken('mallory') };
    return { mounts, tokens };
  }

  it.each(['user of auth', 'recent of auth'] as const)(
    'a guard judges the session that it names: %s',
    async (guard) => {
      const { mounts, tokens } = await twoManagers();
      for (const order of [mounts, mounts.toReversed()]) {
        const ask = await start(order, guard);
        expect((await ask({ session: tokens.session })).status).toBe(401);
        expect((await ask({ admin: tokens.admin })).status).toBe(200);
        expect((await ask(tokens)).status).toBe(200);
      }
    },
  );

  it.each(['user', 'page', 'recent'] as const)('a guard that names none lets no one in: %s', async (guard) => {
    const { mounts, tokens } = await twoManagers();
    const ask = await start(mounts, guard);
    expect((await ask(tokens)).status).toBe(500);
  });

  it('a guard that names a property without a session lets no one in', async () => {
    const manager = newManager();
    const ask = await start([{ manager }], 'user of auth');
    expect((await ask({ session: await manager.setToken('ada') })).status).toBe(500);
  });

  it('a guard judges the latest of several managers at one property', async () => {
    const { mounts, tokens } = await twoManagers();
    const [admins, users] = mounts.map(({ manager, options }) => ({
      manager,
      options: { ...options, property: 'session' },
    })) as [Mount, Mount];
    expect((await (await start([admins, users], 'user'))({ admin: tokens.admin })).status).toBe(401);
    expect((await (await start([admins, users], 'user'))({ session: tokens.session })).status).toBe(200);
  });

  it('one manager at two properties is refused: a logout of one would leave the other signed in', async () => {
    const manager = newManager();
    const token = await manager.setToken('ada');
    const options = { property: 'auth' };
    for (const mounts of [
      [{ manager, options }, { manager }],
      [{ manager }, { manager, options }],
    ]) {
      const ask = await start(mounts);
      expect((await ask({ session: token })).status).toBe(500);
    }
  });

  it('a guard takes only the options that it has', () => {
    for (const options of [{ property: '' }, { property: 1 }, { propetry: 'auth' }]) {
      expect(() => host.requireUser(options)).toThrow(TypeError);
      expect(() => host.requireRecentLogin(60, options)).toThrow(TypeError);
    }
  });
});

describe.each(ALL_HOSTS)('a logout with clearSiteData on %s', (_, host) => {
  const onClose = closeAfterEach();

  /** The header `Clear-Site-Data` of an answer to a user of both managers; the second has its session at `auth`. */
  async function kindsOf(handle: Plan['handle'], clearSiteData: SessionMiddlewareOptions['clearSiteData'] = false) {
    const store = new MemoryStore();
    const former = SECRET.toUpperCase();
    const users = new TokenManager({ store, secret: SECRET });
    const formerAdmins = new TokenManager({ store, secret: former });
    // Renews the cookie of each request, which nobody has asked for: it counts for nothing here.
    const admins = new TokenManager({ store, secret: [`${former}.`, former], rotateEvery: 60 });
    onClose(() => users.close());
    const mounts = [
      { manager: users, options: { clearSiteData: true } },
      { manager: admins, options: { property: 'auth', cookie: { name: 'admin' }, clearSiteData } },
    ];
    const app = await listen(host.build({ mounts, guardOf: () => undefined, handle }));
    onClose(app.close);
    const cookie = `session=${await users.setToken('ada')}; admin=${await formerAdmins.setToken('root')}`;
    const { status, headers } = await fetch(app.url, { method: 'POST', headers: { cookie } });
    expect([status, headers.getSetCookie().length]).toEqual([200, 2]);
    return headers.get('clear-site-data');
  }

  it.each([
    ['before', '"cache", "storage"'],
    ['after', '"cache", "storage"'],
    ['without', '"cache", "cookies", "storage"'],
  ])("%s another manager's login keeps the cookie of that login", async (order, kinds) => {
    const handle: Plan['handle'] = async ({ holder: { session, auth } }) => {
      if (order === 'after') await auth.login('root');
      await session.logout();
      if (order === 'before') await auth.login('root');
    };
    expect(await kindsOf(handle)).toBe(kinds);
  });

  it("and another manager's logout asks for the kinds of both", async () => {
    const handle: Plan['handle'] = async ({ holder: { session, auth } }) => {
      await session.logout();
      await auth.logout();
    };
    expect(await kindsOf(handle, ['clientHints'])).toBe('"cache", "cookies", "storage", "clientHints"');
  });

  it("is not taken back by another manager's login with that option", async () => {
    const handle: Plan['handle'] = async ({ holder: { session, auth } }) => {
      await session.logout();
      await auth.login('root');
    };
    expect(await kindsOf(handle, true)).toBe('"cache", "storage"');
  });
});

describe('passport', () => {
  const onClose = closeAfterEach();

  async function start(property?: string) {
    const [admins, users] = [SECRET, SECRET.toUpperCase()].map(
      (secret) => new TokenManager({ store: new MemoryStore(), secret }),
    ) as [TokenManager, TokenManager];
    const passport = new Passport();
    passport.use(
      new Strategy((id: string, _: string, done: (error: null, user: object) => void) => done(null, { id })),
    );
    const flows = oauthStateStore({ property }) as unknown as {
      store(req: object, verifier: string, state: null, meta: null, done: (error: Error | null) => void): void;
    };
    const app = express();
    app.set('env', 'test');
    app.use(express.json());
    app.use(sessionMiddleware(admins, { property: 'auth', cookie: { name: 'admin' } }), sessionMiddleware(users));
    app.post('/login', authenticate(passport, 'local', { property }), (_req, res) => void res.json('in'));
    app.post('/flow', (req, res, next) => {
      flows.store(req, 'verifier', null, null, (error) => (error ? next(error) : res.json('begun')));
    });
    const { url, close } = await listen(app);
    onClose(() => Promise.all([close(), admins.close(), users.close()]));
    const headers = { 'content-type': 'application/json' };
    const body = JSON.stringify({ username: 'root', password: 'any' });
    return (path: string) => fetch(url + path, { method: 'POST', headers, body });
  }

  it.each([
    ['auth', 'admin'],
    ['session', 'session'],
  ])('signs in, and keeps flows, in the session that it names: %s', async (property, cookie) => {
    const post = await start(property);
    expect((await post('/login')).headers.getSetCookie()).toEqual([expect.stringMatching(`^${cookie}=`)]);
    expect((await post('/flow')).headers.getSetCookie()).toEqual([expect.stringMatching(`^${cookie}-visitor=`)]);
  });

  it('signs no one in where it names none', async () => {
    const post = await start();
    for (const path of ['/login', '/flow']) {
      const response = await post(path);
      expect([response.status, response.headers.getSetCookie()]).toEqual([500, []]);
    }
  });
});
