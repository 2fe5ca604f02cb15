/* One contestant of the Hono part: `hono-server.ts <name> <Redis URL>`. It tells its port when asked. */
import { serve as listen } from '@hono/node-server';
import { type Context, Hono, type MiddlewareHandler } from 'hono';
import { getCookie } from 'hono/cookie';
import { CookieStore, sessionMiddleware as honoSessions, type Session, type Store } from 'hono-sessions';
import { Redis } from 'ioredis';
import { requireUser, sessionMiddleware } from 'tokensession/hono';
import { type ManagerOptions, managerOn, SECRET, TTL } from './contestants';
import { serve } from './server';

const CONTESTANTS: Record<string, (app: Hono, url: string) => void> = {
  bare: (app) => {
    app.post('/login/:user', noLogin);
    app.get('/', (c) => c.json({ user: 'user-00' }));
  },

  /** What every session costs at least: the cookie is looked at, the context gets a user, and a guard looks for it. */
  floor: (app) => {
    type Variables = { user?: { id: string } };
    app.use(async (c: Context<{ Variables: Variables }>, next) => {
      if (getCookie(c, 'session') !== undefined) c.set('user', { id: 'user-00' });
      await next();
    });
    const userOf = (c: Context) => (c as Context<{ Variables: Variables }>).get('user');
    app.post('/login/:user', noLogin);
    app.get(
      '/',
      guard((c) => userOf(c) !== undefined),
      (c) => c.json({ user: userOf(c)?.id }),
    );
  },

  tokensession: (app, url) => useTokensession(app, url),
  'tokensession, cached': (app, url) => useTokensession(app, url, { cache: true }),

  'hono-sessions': (app, url) => useHonoSessions(app, redisStore(new Redis(url))),

  /** Without Redis: its sessions can't be listed or ended. */
  'hono-sessions, in the cookie': (app) => useHonoSessions(app, new CookieStore()),
};

function useTokensession(app: Hono, url: string, options: ManagerOptions = {}): void {
  app.use(sessionMiddleware(managerOn(url, options)));
  app.post('/login/:user', async (c) => {
    await c.var.session.login(c.req.param('user'));
    return c.body(null, 204);
  });
  app.get('/', requireUser(), (c) => c.json({ user: c.var.session.user.id }));
}

/** By default it extends a session with each request, as ours do. */
function useHonoSessions(app: Hono, store: Store | CookieStore): void {
  const sessionOf = (c: Context) => c.get('session') as unknown as Session<{ userId: string }>;
  const cookieOptions = { path: '/', httpOnly: true, sameSite: 'Lax' } as const;
  const options = { store, encryptionKey: SECRET, expireAfterSeconds: TTL, cookieOptions };
  app.use(honoSessions(options) as MiddlewareHandler);
  app.post('/login/:user', (c) => {
    sessionOf(c).set('userId', c.req.param('user'));
    return c.body(null, 204);
  });
  app.get(
    '/',
    guard((c) => sessionOf(c).get('userId') !== null),
    (c) => c.json({ user: sessionOf(c).get('userId') }),
  );
}

/** A store of its interface, since it brings none for Redis. */
function redisStore(redis: Redis): Store {
  const put = async (id: string, data: object) => {
    await redis.set(`sess:${id}`, JSON.stringify(data), 'EX', TTL);
  };
  return {
    getSessionById: async (id) => {
      const record = await redis.get(`sess:${id}`);
      return record === null ? null : JSON.parse(record);
    },
    createSession: put,
    persistSessionData: put,
    deleteSession: async (id) => void (await redis.del(`sess:${id}`)),
  };
}

const noLogin = (c: Context) => c.body(null, 204);

function guard(isSignedIn: (c: Context) => boolean): MiddlewareHandler {
  return async (c, next) => (isSignedIn(c) ? next() : c.body(null, 401));
}

serve(CONTESTANTS, (mount, url) => {
  const app = new Hono();
  mount(app, url);
  return listen({ fetch: app.fetch, port: 0, hostname: '127.0.0.1' }) as import('node:http').Server;
});
