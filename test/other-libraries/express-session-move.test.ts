import type { RequestListener } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import express, { type ErrorRequestHandler, type Express, type RequestHandler } from 'express';
import { MemoryStore, RedisStore, type Store, TokenManager } from 'tokensession';
import { requireRecentLogin, requireUser, sessionMiddleware } from 'tokensession/express';
import { continueSession, ExpressSessionStore, type LegacySessionsOptions } from 'tokensession/express-session';
import { listen } from '../support/apps';
import { Browser } from '../support/browser';
import { closeAfterEach } from '../support/closing';
import { countedStore } from '../support/counted-store';
import {
  type AnySession,
  called,
  expressSession,
  handlerOf,
  type Request,
  startBridge,
} from '../support/express-session-app';
import { gate } from '../support/gate';
import { type RedisServer, startRedis } from '../support/redis-server';
import { PATIENT, randomPrefixes, SECRET } from '../support/stores';
import { until } from '../support/until';
import { wrapStore } from '../support/wrapped-store';

const { RedisStore: ConnectRedisStore } = require('connect-redis');
const { createClient } = require('redis');

const onClose = closeAfterEach();

let server: RedisServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

/** The routes of every stage of the application. */
function routes(app: Express): void {
  app.all(
    '/login',
    handlerOf(async (req: Request) => {
      await called((done) => req.session.regenerate(done));
      req.session.passport = { user: req.query.user };
      req.session.loginAt = Date.now();
      await called((done) => req.session.save(done));
    }),
  );
  app.all(
    '/set',
    handlerOf((req: Request) => {
      Object.assign(req.session, req.query);
    }),
  );
  app.all(
    '/logout',
    handlerOf((req: Request) => called((done) => req.session.destroy(done))),
  );
  app.all(
    '/who',
    handlerOf((req: Request) => {
      const { passport, cart = null } = req.session;
      if (req.query.count !== undefined) req.session.count = (req.session.count ?? 0) + 1;
      return { user: passport?.user ?? null, cart };
    }),
  );
}

/** An application that moves from connect-redis to ours, stage by stage, at one address. */
async function startMoving({
  session = {},
  legacy = {},
  cookie,
  wrap = (store) => store,
  beforeCreate = async () => {},
}: {
  /** Options of express-session. */
  session?: Record<string, unknown>;
  legacy?: Partial<LegacySessionsOptions<AnySession>>;
  /** The option of `sessionMiddleware`. */
  cookie?: false | undefined;
  /** Wraps the store that sessions are moved from. */
  wrap?: (store: AnySession) => AnySession;
  /** Runs before each session that our store starts. */
  beforeCreate?: () => Promise<void>;
} = {}) {
  const prefix = `sess-${Math.random().toString(36).slice(2)}:`;
  const client = createClient({ url: server.url });
  await client.connect();
  const former = new ConnectRedisStore({ client, prefix });
  const prefixes = randomPrefixes();
  const newManager = () =>
    new TokenManager({
      store: withHook(new RedisStore(server.url, { ...prefixes, ...PATIENT }), 'create', beforeCreate),
      secret: SECRET,
    });
  // Separate, like two processes.
  const managers = [newManager(), newManager()] as const;
  const events: string[] = [];
  for (const manager of managers) {
    for (const name of ['login', 'logout', 'replaced', 'revoked'] as const) {
      manager.on(name, ({ userId }) => events.push(`${name} ${userId}`));
    }
  }
  const options = { secret: SECRET, resave: false, saveUninitialized: false, ...session };
  const bridge = (manager: TokenManager) =>
    new ExpressSessionStore<AnySession>(manager, {
      userIdOf: (session) => session.passport?.user,
      legacy: { store: wrap(former), ...legacy },
    });
  const build = (...middlewares: RequestHandler[]) => {
    const app = express();
    app.set('env', 'test');
    for (const middleware of middlewares) app.use(middleware);
    return app;
  };
  const withRoutes = (app: Express) => {
    routes(app);
    return app;
  };
  const stages: Record<string, (manager: TokenManager) => RequestListener> = {
    'connect-redis': () => withRoutes(build(expressSession({ ...options, store: former }))),
    bridge: (manager) => withRoutes(build(expressSession({ ...options, store: bridge(manager) }))),
    both: (manager) => {
      const store = bridge(manager);
      const ours = sessionMiddleware(manager, { property: 'auth', cookie });
      const app = build(expressSession({ ...options, store }), ours, continueSession(store));
      ownRoutes(app);
      return withRoutes(app);
    },
    ours: (manager) => {
      const app = build(sessionMiddleware(manager, { property: 'auth' }));
      ownRoutes(app);
      app.all(
        '/who',
        handlerOf(async ({ auth }) => ({ user: auth.user?.id ?? null, cart: (await auth.data.get('cart')) ?? null })),
      );
      return app;
    },
  };
  const made = Object.fromEntries(
    Object.entries(stages).map(([name, stage]) => [name, managers.map((manager) => stage(manager as TokenManager))]),
  ) as Record<string, RequestListener[]>;
  let stage = 'connect-redis';
  let turn = 0;
  const running = await listen((req, res) => {
    const apps = made[stage] as RequestListener[];
    apps[turn++ % apps.length]?.(req, res);
  });
  onClose(async () => {
    await running.close();
    for (const manager of managers) await manager.close();
    client.destroy();
  });
  return {
    browse: () => new Browser(running.url),
    goTo: (next: keyof typeof stages) => {
      stage = next;
    },
    manager: managers[0],
    former,
    events,
    formerKeys: async () => (await server.admin.keys(`${prefix}*`)).length,
  };
}

/** A store with something to wait for before each call of a method. */
function withHook(store: Store, hooked: keyof Store, before: () => Promise<void>): Store {
  return wrapStore(store, (method, call) => (method === hooked ? before().then(call) : call()));
}

function ownRoutes(app: Express): void {
  app.all(
    '/me',
    requireUser(),
    handlerOf(({ auth }) => ({ id: auth.user.id, at: auth.authenticatedAt })),
  );
  app.all(
    '/vault',
    requireRecentLogin(60),
    handlerOf(() => 'open'),
  );
  app.all(
    '/auth-logout',
    handlerOf(({ auth }) => auth.logout()),
  );
  app.all(
    '/auth-login',
    handlerOf(({ auth, query }) => auth.login(query.user, { keep: ['cart'] })),
  );
  app.all(
    '/login-in-both',
    handlerOf(async (req: Request) => {
      await req.auth.login(req.query.user);
      req.session.passport = { user: req.query.user };
      await called((done) => req.session.save(done));
    }),
  );
  app.all(
    '/login-in-both-later',
    handlerOf(async (req: Request) => {
      req.session.passport = { user: req.query.user };
      await called((done) => req.session.save(done));
      await req.auth.login(req.query.user);
    }),
  );
  app.all(
    '/auth-proof',
    handlerOf(({ auth }) => auth.reauthenticated()),
  );
  app.all(
    '/auth-rotate',
    handlerOf(({ auth }) => auth.rotate()),
  );
  app.all(
    '/auth-set',
    handlerOf(({ auth, query }) => auth.data.set({ ...query })),
  );
  app.all(
    '/auth-data',
    handlerOf(({ auth }) => auth.data.getAll()),
  );
}

it('moves a session at its first use, once, under any number of parallel requests', async () => {
  const { browse, goTo, manager, former, events, formerKeys } = await startMoving();
  const browser = browse();
  await browser.visit('/login?user=ada');
  await browser.visit('/set?cart=book');
  expect(await formerKeys()).toBe(1);
  goTo('bridge');
  const tabs = Array.from({ length: 30 }, () => browser.tab());
  const answers = await Promise.all(tabs.map((tab) => tab.visit('/who')));
  for (const { status, body } of answers) expect([status, body]).toEqual([200, { user: 'ada', cart: 'book' }]);
  expect(await manager.listUserSessions('ada')).toEqual([expect.objectContaining({ attributes: {}, actor: null })]);
  expect(await formerKeys()).toBe(0);
  expect(events).toEqual([]);
  // Each response set the new cookie of the same session; the former one stays valid if that is lost.
  const ids = answers.map(({ setCookie }) => setCookie[0]);
  expect(new Set(ids).size).toBe(1);
  expect(ids[0]).toMatch(/^connect\.sid=s%3A[\w-]{22}\.[\w-]{22}\./);
  for (const tab of [browser, tabs[0] as Browser]) {
    expect((await tab.visit('/who')).body).toEqual({ user: 'ada', cart: 'book' });
  }
  await tabs[1]?.visit('/set?cart=two');
  expect((await browser.visit('/who')).body).toEqual({ user: 'ada', cart: 'two' });
  expect(await former.length()).toBe(0);
});

it('moves a session that requests have kept alive beyond the expiry in its record', async () => {
  const maxAge = 3000;
  const { browse, goTo } = await startMoving({ session: { rolling: true, cookie: { maxAge } } });
  const browser = browse();
  await browser.visit('/login?user=ada');
  const loginAt = performance.now();
  // connect-redis extends the time to live of its key, and leaves `expires` in the record.
  while (performance.now() < loginAt + maxAge) {
    await sleep(300);
    expect((await browser.visit('/who')).body.user).toBe('ada');
  }
  goTo('bridge');
  for (let i = 0; i < 2; i++) expect((await browser.visit('/who')).body.user).toBe('ada');
});

it('moves a visitor, who keeps the id, and signs in later', async () => {
  const { browse, goTo, manager, formerKeys } = await startMoving();
  const browser = browse();
  await browser.visit('/set?cart=book');
  const cookie = browser.header;
  goTo('bridge');
  const answers = await Promise.all(Array.from({ length: 20 }, () => browser.tab().visit('/who')));
  for (const { body, setCookie } of answers) expect([body, setCookie]).toEqual([{ user: null, cart: 'book' }, []]);
  expect(browser.header).toBe(cookie);
  expect(await formerKeys()).toBe(0);
  await browser.visit('/login?user=ada');
  expect(await manager.listUserSessions('ada')).toHaveLength(1);
});

it('never revives a session that has ended after its move', async () => {
  const { browse, goTo, manager, former, formerKeys } = await startMoving();
  const browser = browse();
  await browser.visit('/login?user=ada');
  const former1 = browser.tab();
  const id = decodeURIComponent(browser.header).split('s:')[1]?.split('.')[0] as string;
  const record = await former.get(id);
  goTo('bridge');
  await browser.visit('/who');
  // A slow request of the former application writes its record again.
  await former.set(id, record);
  await browser.visit('/logout');
  for (let i = 0; i < 3; i++) {
    await former.set(id, record);
    expect((await former1.tab().visit('/who')).body).toEqual({ user: null, cart: null });
  }
  expect(await manager.listUserSessions('ada')).toEqual([]);

  // A kick, or a ban, also applies to a user whose session was not moved yet.
  goTo('connect-redis');
  const [kicked, banned] = [browse(), browse()];
  await kicked.visit('/login?user=eve');
  await banned.visit('/login?user=mallory');
  goTo('bridge');
  await kicked.tab().visit('/who');
  await manager.deleteUserToken('eve');
  await manager.banUser('mallory');
  expect((await kicked.visit('/who')).body.user).toBeNull();
  expect((await banned.visit('/who')).body.user).toBeNull();
  expect(await formerKeys()).toBeLessThanOrEqual(1);
});

describe.each([
  ['a user', '/login?user=ada', '/logout', true],
  ['a user', '/login?user=ada', '/auth-logout', true],
  ['a user', '/login?user=ada', '/auth-login?user=ada', false],
  ['a visitor', '/set?cart=book', '/logout', true],
  ['a visitor', '/set?cart=book', '/auth-login?user=ada', false],
  ['a visitor', '/set?cart=book', '/auth-rotate', false],
])('a session of %s (%s) that has ended (%s) while a slow request was moving it', (whose, path, end, isOver) => {
  // A visitor's move has one write only.
  const points = [
    'the answer of the former store',
    'the first write',
    ...(whose === 'a user' ? ['the second write'] : []),
  ];

  it.each(points)('stays ended: held at %s', async (at) => {
    const held: (() => void)[] = [];
    let isHolding = false;
    let writes = 0;
    const slow = (store: AnySession) => ({
      get: (id: string, done: (...outcome: unknown[]) => void) =>
        store.get(id, (...outcome: unknown[]) => {
          if (isHolding && at.startsWith('the answer')) held.push(() => done(...outcome));
          else done(...outcome);
        }),
      destroy: (id: string, done: () => void) => store.destroy(id, done),
    });
    const beforeCreate = async () => {
      if (!isHolding || at.startsWith('the answer') || ++writes < (at === 'the first write' ? 1 : 2)) return;
      await new Promise<void>((go) => held.push(go));
    };
    const { browse, goTo, manager } = await startMoving({ wrap: slow, beforeCreate });
    const browser = browse();
    await browser.visit(path);
    goTo('both');
    isHolding = true;
    const late = browser.tab().visit('/who');
    await until('the move is held', () => held.length === 1);
    isHolding = false;
    await browser.visit('/who');
    const former = browser.tab();
    expect((await browser.visit(end)).status).toBe(200);
    const before = (await manager.listUserSessions('ada')).map(({ id }) => id);
    expect(before).toHaveLength(end.startsWith('/auth-login') ? 1 : 0);
    for (const goOn of held) goOn();
    expect((await late).body).toEqual({ user: null, cart: null });
    expect((await former.visit('/who')).body).toEqual({ user: null, cart: null });
    expect((await manager.listUserSessions('ada')).map(({ id }) => id)).toEqual(before);
    if (isOver) expect((await browser.visit('/who')).body).toEqual({ user: null, cart: null });
  });
});

it('ends a session that was not moved yet, also where a slow request is moving it', async () => {
  const former = new expressSession.MemoryStore();
  const held: (() => void)[] = [];
  let isHolding = true;
  const slow = {
    get: (id: string, done: (error: unknown, session?: object) => void) =>
      former.get(id, (error: unknown, session: object) => {
        if (isHolding) held.push(() => done(error, session));
        else done(error, session);
      }),
    destroy: (id: string, done: () => void) => former.destroy(id, done),
  };
  const { store, manager } = await startBridge(onClose, { store: { legacy: { store: slow } } });
  await called((done) => former.set('a', { passport: { user: 'ada' }, cookie: {} }, done));
  const late = store.get('a');
  await until('the move is held', () => held.length === 1);
  isHolding = false;
  await store.destroy('a');
  for (const goOn of held) goOn();
  expect(await late).toBeNull();
  expect(await manager.listUserSessions('ada')).toEqual([]);
});

it.each(['MemoryStore', 'RedisStore'])('revives no session on %s that clear() has ended', async (kind) => {
  const former = new expressSession.MemoryStore();
  const redis = kind === 'RedisStore' ? server.url : undefined;
  const { store } = await startBridge(onClose, { redis, store: { legacy: { store: former } } });
  const save = (id: string, user?: string) =>
    called((done) => former.set(id, { ...(user !== undefined && { passport: { user } }), cookie: {} }, done));
  for (let i = 0; i < 2; i++) {
    await save('a', 'ada');
    await save('b');
    const found = [await store.get('a'), await store.get('b')];
    expect(found).toEqual(i === 0 ? [expect.anything(), expect.anything()] : [null, null]);
    await store.clear();
  }
});

it('deletes the former record of a user also where the process that moved it died before', async () => {
  let isDown = true;
  const dying = (store: AnySession) => ({
    get: (id: string, done: () => void) => store.get(id, done),
    destroy: (id: string, done: (error?: Error) => void) =>
      isDown ? done(new Error('down')) : store.destroy(id, done),
  });
  const { browse, goTo, formerKeys } = await startMoving({ wrap: dying });
  const browser = browse();
  await browser.visit('/login?user=ada');
  goTo('bridge');
  expect((await browser.visit('/who')).status).toBe(503);
  expect(await formerKeys()).toBe(1);
  isDown = false;
  expect((await browser.visit('/who')).body.user).toBe('ada');
  await until('the record is forgotten', async () => (await formerKeys()) === 0);
});

it.each(['/login?user=ada', '/set?cart=book'])(
  'starts a session again (%s) that a promoted master lacks when the former record is deleted',
  async (path) => {
    const losing = (store: AnySession) => ({
      get: (id: string, done: () => void) => store.get(id, done),
      destroy: async (id: string, done: (error?: unknown) => void) => {
        const keys = await server.admin.keys('token-*');
        if (keys.length > 0) await server.admin.del(...keys);
        store.destroy(id, done);
      },
    });
    const { browse, goTo, formerKeys } = await startMoving({ wrap: losing });
    const browser = browse();
    await browser.visit(path);
    const before = (await browser.visit('/who')).body;
    goTo('bridge');
    for (let i = 0; i < 2; i++) expect((await browser.visit('/who')).body).toEqual(before);
    expect(await formerKeys()).toBe(0);
  },
);

it('takes the login time of a moved user from the session; without one, no login counts as recent', async () => {
  for (const [legacy, status] of [
    [{ authenticatedAt: (session: AnySession) => session.loginAt }, 200],
    [{ authenticatedAt: (session: AnySession) => new Date(session.loginAt - 120_000) }, 403],
    [{ authenticatedAt: (session: AnySession) => new Date(session.loginAt).toISOString() }, 200],
    [{ authenticatedAt: () => 'yesterday' }, 403],
    [{ authenticatedAt: () => Number.NaN }, 403],
    [{ authenticatedAt: (session: AnySession) => 1000 * session.loginAt }, 403],
    [{ authenticatedAt: () => 3.9e15 }, 403],
    [{}, 403],
  ] as const) {
    const { browse, goTo } = await startMoving({ legacy });
    const browser = browse();
    await browser.visit('/login?user=ada');
    goTo('bridge');
    await browser.visit('/who');
    goTo('both');
    expect((await browser.visit('/me')).body.id).toBe('ada');
    expect((await browser.visit('/vault')).status).toBe(status);
    goTo('ours');
    expect((await browser.visit('/vault')).status).toBe(status);
  }
});

it('continues in sessionMiddleware with the same session and data, and ends in both', async () => {
  const { browse, goTo, manager } = await startMoving();
  const [browser, visitor] = [browse(), browse()];
  await browser.visit('/login?user=ada');
  await browser.visit('/set?cart=book');
  await visitor.visit('/set?cart=pen');
  goTo('both');
  expect((await browser.visit('/who')).body).toEqual({ user: 'ada', cart: 'book' });
  expect([...browser.cookies.keys()].sort()).toEqual(['connect.sid', 'session']);
  expect((await browser.visit('/auth-data')).body).toMatchObject({ cart: 'book' });
  expect(await manager.listUserSessions('ada')).toHaveLength(1);
  await visitor.visit('/who');
  // The same session: both libraries make only their own calls.
  const { setCookie } = await visitor.visit('/who');
  expect(setCookie).toEqual([]);
  expect([...visitor.cookies.keys()].sort()).toEqual(['connect.sid', 'session-visitor']);

  // A visitor signs in through sessionMiddleware and keeps the cart.
  await visitor.visit('/auth-login?user=grace');
  goTo('ours');
  expect((await visitor.visit('/who')).body).toEqual({ user: 'grace', cart: 'pen' });
  expect((await browser.visit('/who')).body).toEqual({ user: 'ada', cart: 'book' });

  goTo('both');
  await browser.visit('/logout');
  expect((await browser.visit('/me')).status).toBe(401);
  await browser.visit('/login?user=bob');
  expect((await browser.visit('/me')).body.id).toBe('bob');
  await browser.visit('/auth-logout');
  expect((await browser.visit('/who')).body.user).toBeNull();
  expect(await manager.listUserSessions('bob')).toEqual([]);
});

it.each(['bob', 'ada'])('a later login through express-session counts in both, of %s after ada', async (user) => {
  const { browse, goTo, manager, events } = await startMoving();
  const browser = browse();
  goTo('both');
  await browser.visit('/login?user=ada');
  expect((await browser.visit('/me')).body.id).toBe('ada');
  // Its maxAge is over, but the session goes on.
  browser.cookies.delete('connect.sid');
  expect((await browser.visit('/who')).body.user).toBeNull();
  expect((await browser.visit('/me')).body.id).toBe('ada');
  await browser.visit('/set?cart=book');
  expect((await browser.visit('/me')).body.id).toBe('ada');
  await browser.visit(`/login?user=${user}`);
  expect((await browser.visit('/me')).body.id).toBe(user);
  expect((await browser.visit('/me')).setCookie).toEqual([]);
  await browser.visit('/logout');
  expect((await browser.visit('/me')).status).toBe(401);
  expect([await manager.listUserSessions('ada'), await manager.listUserSessions('bob')]).toEqual([[], []]);
  expect(events).toEqual(['login ada', 'replaced ada', `login ${user}`, `logout ${user}`]);
});

it.each(['bob', 'ada'])('so does a login of %s in a process without continueSession', async (user) => {
  const { browse, goTo, manager, events } = await startMoving();
  const browser = browse();
  goTo('both');
  await browser.visit('/auth-set?cart=book');
  const visitor = browser.cookies.get('session-visitor') as string;
  await browser.visit('/login?user=ada');
  expect((await browser.visit('/me')).body.id).toBe('ada');
  browser.cookies.delete('connect.sid');
  browser.cookies.set('session-visitor', visitor);
  goTo('bridge');
  await browser.visit(`/login?user=${user}`);
  goTo('both');
  expect((await browser.visit('/me')).body.id).toBe(user);
  expect(events).toEqual(['login ada', 'replaced ada', `login ${user}`]);
  expect(await manager.listUserSessions(user)).toHaveLength(1);
  expect(await manager.sessionData(visitor.replace('~', '')).get('cart')).toBe('book');
});

it('so does that login where another cookie, perhaps a planted one, has a token of another user', async () => {
  const { browse, goTo, manager, events } = await startMoving();
  const [attacker, browser] = [browse(), browse()];
  goTo('both');
  await attacker.visit('/auth-login?user=eve');
  await browser.visit('/auth-login?user=ada');
  browser.cookies.set('planted', attacker.cookies.get('session') as string);
  goTo('bridge');
  await browser.visit('/login?user=bob');
  goTo('both');
  expect((await browser.visit('/me')).body.id).toBe('bob');
  expect(await manager.listUserSessions('ada')).toEqual([]);
  expect(events).toContain('replaced ada');
});

it('so does that login where the request has logged in through sessionMiddleware before', async () => {
  const { browse, goTo, manager, events } = await startMoving();
  const browser = browse();
  goTo('both');
  await browser.visit('/login-in-both?user=ada');
  expect(events).toEqual(['login ada', 'replaced ada', 'login ada']);
  expect(await manager.listUserSessions('ada')).toHaveLength(1);
  expect((await browser.visit('/me')).body.id).toBe('ada');
  await browser.visit('/auth-logout');
  expect((await browser.visit('/me')).status).toBe(401);
});

it('a planted cookie of express-session moves no user of sessionMiddleware to the attacker’s session', async () => {
  const { browse, goTo } = await startMoving();
  const [attacker, browser] = [browse(), browse()];
  goTo('both');
  await browser.visit('/auth-login?user=ada');
  await attacker.visit('/login?user=eve');
  browser.cookies.set('connect.sid', attacker.cookies.get('connect.sid') as string);
  expect((await browser.visit('/who')).body.user).toBe('eve');
  const { body, setCookie } = await browser.visit('/me');
  expect([body.id, setCookie]).toEqual(['ada', []]);
});

it('an earlier login through express-session does not take the place of a later one in sessionMiddleware', async () => {
  const { browse, goTo, manager } = await startMoving();
  const browser = browse();
  const authorization = `Bearer ${await manager.setToken('api')}`;
  goTo('bridge');
  await browser.visit('/login?user=bob');
  goTo('ours');
  await browser.visit('/auth-login?user=grace');
  goTo('both');
  const { body, setCookie } = await browser.visit('/me');
  expect([body.id, setCookie]).toEqual(['grace', []]);
  // Nor that of a token in the header, which acts alone.
  const api = await browser.visit('/me', { headers: { authorization } });
  expect([api.body.id, api.setCookie]).toEqual(['api', []]);
  expect(await manager.listUserSessions('bob')).toHaveLength(1);
  // A logout ends the earlier one, too, or the next request would sign bob in.
  await browser.visit('/auth-logout');
  expect((await browser.visit('/me')).status).toBe(401);
  expect((await browser.visit('/who')).body.user).toBeNull();
  expect(await manager.listUserSessions('bob')).toEqual([]);
});

it('a login through sessionMiddleware ends the one that the request made through express-session before', async () => {
  const { browse, goTo, manager, events } = await startMoving();
  const browser = browse();
  goTo('both');
  await browser.visit('/auth-login?user=ada');
  await browser.visit('/login-in-both-later?user=ada');
  expect(events).toEqual(['login ada', 'replaced ada', 'login ada', 'replaced ada', 'login ada']);
  expect((await browser.visit('/me')).body.id).toBe('ada');
  expect(await manager.listUserSessions('ada')).toHaveLength(1);
  await browser.visit('/auth-logout');
  expect((await browser.visit('/me')).status).toBe(401);
});

it('no token in the header and no page of another origin ends a session of express-session', async () => {
  const { browse, goTo, manager } = await startMoving();
  const browser = browse();
  goTo('bridge');
  await browser.visit('/login?user=ada');
  goTo('both');
  const authorization = `Bearer ${await manager.setToken('api')}`;
  const foreign = { Origin: 'https://evil.example', 'Sec-Fetch-Site': 'cross-site' };
  for (const headers of [{ authorization }, foreign, { ...foreign, authorization }]) {
    expect((await browser.tab().visit('/auth-logout', { method: 'POST', headers })).status).toBe(200);
  }
  expect(await manager.listUserSessions('api')).toEqual([]);
  expect((await browser.visit('/me')).body.id).toBe('ada');
});

it.each(['a user', 'a visitor'])(
  'a signed token in the header acts alone also if it opens no session of %s',
  async (whose) => {
    const { browse, goTo, manager } = await startMoving();
    const [browser, other] = [browse(), browse()];
    goTo('both');
    await other.visit('/auth-set?cart=pen');
    const visitors = other.cookies.get('session-visitor')?.replace('~', '');
    const users = await manager.setToken('api');
    await manager.deleteToken(users);
    goTo('bridge');
    await browser.visit('/login?user=ada');
    goTo('both');
    const headers = { authorization: `Bearer ${whose === 'a user' ? users : visitors}` };
    const { status, setCookie } = await browser.tab().visit('/me', { headers });
    expect([status, setCookie]).toEqual([401, []]);
    // Any other value counts for nothing.
    const unsigned = await browser.tab().visit('/me', { headers: { authorization: 'Bearer x' } });
    expect([unsigned.status, unsigned.setCookie.length]).toEqual([200, 1]);
  },
);

it('a login through express-session deletes planted cookies that signed no one in any more', async () => {
  const { browse, goTo } = await startMoving();
  const [attacker, browser] = [browse(), browse()];
  goTo('both');
  await attacker.visit('/auth-login?user=eve');
  await browser.visit('/auth-login?user=ada');
  const planted = `session=${attacker.cookies.get('session')}; ${browser.header}`;
  expect((await browser.visit('/me', { headers: { Cookie: planted } })).status).toBe(401);
  const { setCookie } = await browser.visit('/login?user=ada', { headers: { Cookie: planted } });
  const deletions = setCookie.filter((line) => line.startsWith('session=;'));
  // One for each place where it may be, as at a login through sessionMiddleware.
  expect(deletions.length).toBeGreaterThan(1);
  for (const line of deletions) expect(line).toContain('Max-Age=0');
  expect((await browser.visit('/me')).body.id).toBe('ada');
});

it('shares a visitor’s data only with a client that has the cookie of express-session', async () => {
  const { browse, goTo } = await startMoving();
  const [unknown, known] = [browse(), browse()];
  goTo('both');
  await unknown.visit('/auth-set?cart=book');
  expect((await unknown.visit('/who')).body).toEqual({ user: null, cart: null });
  await unknown.visit('/login?user=ada');
  expect((await unknown.visit('/auth-data')).body).not.toHaveProperty('cart');

  await known.visit('/set?theme=dark');
  await known.visit('/auth-set?cart=pen');
  expect((await known.visit('/who')).body).toEqual({ user: null, cart: 'pen' });
});

it('a cookie of express-session never carries a later proof', async () => {
  const { browse, goTo } = await startMoving({ legacy: { authenticatedAt: (session) => session.loginAt - 120_000 } });
  const browser = browse();
  await browser.visit('/login?user=ada');
  goTo('bridge');
  await browser.visit('/who');
  const former = browser.tab();
  goTo('both');
  await browser.visit('/me');
  expect((await browser.visit('/vault')).status).toBe(403);
  await browser.visit('/auth-proof');
  expect((await browser.visit('/vault')).status).toBe(200);
  expect((await former.visit('/me')).body.id).toBe('ada');
  expect((await former.visit('/vault')).status).toBe(403);
});

/** An application with express-session on our store, without `sessionMiddleware` and routes. */
function expressSessionApp(manager: TokenManager) {
  onClose(() => manager.close());
  const store = new ExpressSessionStore<AnySession>(manager, { userIdOf: ({ user }) => user });
  const app = express();
  app.use(expressSession({ secret: SECRET, resave: false, saveUninitialized: false, store }));
  const serve = async () => {
    const { url, close } = await listen(app);
    onClose(close);
    return url;
  };
  return { app, store, serve };
}

it('a late response does not set the cookie of a continued session: the browser may have a later token', async () => {
  let moment = performance.now();
  const clock = jest.spyOn(performance, 'now').mockImplementation(() => moment);
  onClose(() => clock.mockRestore());
  const manager = new TokenManager({ store: new MemoryStore(), secret: SECRET, rotationGrace: 0 });
  const { app, store, serve } = expressSessionApp(manager);
  app.use(sessionMiddleware(manager, { property: 'auth' }), continueSession(store));
  app.all(
    '/login',
    handlerOf(({ session }) => void Object.assign(session, { user: 'ada' })),
  );
  app.all(
    '/set',
    handlerOf(({ session }) => void Object.assign(session, { cart: 'book' })),
  );
  app.all(
    '/wait',
    handlerOf(({ query }) => {
      moment += Number(query.ms);
    }),
  );
  const url = await serve();
  for (const [paths, cookies] of [
    [['/login'], ['session']],
    [['/set'], ['session-visitor']],
    // It clears the visitor's.
    [
      ['/set', '/login'],
      ['session', 'session-visitor'],
    ],
  ] as const) {
    const browser = new Browser(url);
    for (const path of paths) await browser.visit(path);
    const { setCookie } = await browser.tab().visit('/wait?ms=900');
    expect(setCookie.map((line) => line.split('=', 1)[0])).toEqual(cookies);
    expect((await browser.tab().visit('/wait?ms=1100')).setCookie).toEqual([]);
  }
});

it('a write during the continuation is in later reads of the request, where data comes with the session', async () => {
  const opening = gate();
  const inner = new MemoryStore();
  const manager = new TokenManager({ store: inner, secret: SECRET });
  const { app, store, serve } = expressSessionApp(manager);
  app.use(sessionMiddleware(manager, { property: 'auth', data: 'eager' }));
  app.all(
    '/login',
    handlerOf(({ session }) => void Object.assign(session, { user: 'ada' })),
  );
  app.all('/continue', (req, res, next) => {
    const touch = inner.touchWithData.bind(inner);
    jest.spyOn(inner, 'touchWithData').mockImplementationOnce(async (...args) => {
      const found = await touch(...args);
      await opening.wait();
      return found;
    });
    handlerOf(async ({ auth }) => {
      const continued = called((done) => continueSession(store)(req, res, done));
      await opening.arrival;
      const written = auth.data.set('cart', 'book');
      opening.open();
      await Promise.all([continued, written]);
      return auth.data.get('cart');
    })(req, res, next);
  });
  const url = await serve();
  const browser = new Browser(url);
  await browser.visit('/login');
  expect((await browser.visit('/continue')).body).toBe('book');
});

it('makes no call for a visitor of express-session beside another of sessionMiddleware', async () => {
  const { store: counted, calls } = countedStore(new MemoryStore());
  const manager = new TokenManager({ store: counted, secret: SECRET });
  const { app, store, serve } = expressSessionApp(manager);
  app.use(sessionMiddleware(manager, { property: 'auth' }), continueSession(store));
  app.all(
    '/set-both',
    handlerOf(async ({ session, auth }) => {
      await auth.data.set('theme', 'dark');
      session.cart = 'book';
    }),
  );
  app.all(
    '/',
    handlerOf(({ session, auth }) => [session.cart, auth.id]),
  );
  const url = await serve();
  const browser = new Browser(url);
  await browser.visit('/set-both');
  calls.length = 0;
  const { body, setCookie } = await browser.visit('/');
  expect([body, setCookie]).toEqual([['book', expect.any(String)], []]);
  expect(calls).toEqual(['touchWithData', 'touch']);
});

it('rejects a sessionMiddleware with another manager than the store’s', async () => {
  const { store } = await startBridge(onClose);
  const other = new TokenManager({ store: new MemoryStore(), secret: SECRET });
  onClose(() => other.close());
  const app = express();
  app.use(sessionMiddleware(other, { property: 'auth' }), continueSession(store));
  app.use(((error, _req, res, _next) => res.status(500).json(String(error))) satisfies ErrorRequestHandler);
  const running = await listen(app);
  onClose(running.close);
  const { body } = await new Browser(running.url).visit('/');
  expect(body).toBe('TypeError: continueSession: req.auth has another manager');
});

it.each([undefined, false] as const)(
  'moves no session for a page of another origin, with cookie: %s',
  async (cookie) => {
    const { browse, goTo } = await startMoving({ cookie });
    const browser = browse();
    await browser.visit('/login?user=ada');
    goTo('both');
    const foreign = { Origin: 'https://evil.example', 'Sec-Fetch-Site': 'cross-site' };
    const { status } = await browser.tab().visit('/me', { method: 'POST', headers: foreign });
    expect(status).toBe(401);
    const own = { 'Sec-Fetch-Site': 'same-origin' };
    expect((await browser.visit('/me', { method: 'POST', headers: own })).status).toBe(200);
  },
);

it('answers 503 and signs no user out while the former store is down', async () => {
  const broken = {
    get: (_id: string, done: (error: Error) => void) => done(Object.assign(new Error('x'), { code: 'ENOENT' })),
    destroy: () => undefined,
  };
  const { browse, goTo } = await startMoving({ legacy: { store: broken } });
  const browser = browse();
  await browser.visit('/login?user=ada');
  const cookie = browser.header;
  goTo('bridge');
  const { status, setCookie } = await browser.visit('/who');
  expect([status, setCookie]).toEqual([503, []]);
  expect(browser.header).toBe(cookie);
});

it('signs no user out while an application under load changes from connect-redis to ours', async () => {
  const { browse, goTo, manager, events } = await startMoving();
  const users = Array.from({ length: 25 }, (_, i) => `user-${i}`);
  const browsers = users.map(() => browse());
  await Promise.all(
    browsers.map(async (browser, i) => {
      await browser.visit(`/login?user=${users[i]}`);
      await browser.visit(`/set?cart=${i}`);
    }),
  );
  let isOver = false;
  let requests = 0;
  const failures: unknown[] = [];
  const use = async (browser: Browser, i: number, path: string) => {
    while (!isOver) {
      const { status, body } = await browser.visit(path);
      requests++;
      if (status !== 200 || body.user !== users[i] || body.cart !== String(i)) failures.push({ status, body, i });
    }
  };
  // Two parallel requests with one cookie jar each; one of the two changes its session.
  const clients = browsers.flatMap((browser, i) => [use(browser, i, '/who'), use(browser, i, '/who?count=1')]);
  for (const stage of ['connect-redis', 'bridge', 'both', 'ours']) {
    goTo(stage);
    const before = requests;
    while (requests - before < 20 * users.length) await sleep(20);
  }
  isOver = true;
  await Promise.all(clients);
  expect(failures).toEqual([]);
  expect(requests).toBeGreaterThan(4 * 20 * users.length - 1);
  for (const user of users) expect(await manager.listUserSessions(user)).toHaveLength(1);
  expect(events).toEqual([]);
});
