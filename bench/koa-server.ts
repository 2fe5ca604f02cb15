/* One contestant of the Koa part: `koa-server.ts <name> <Redis URL>`. It tells its port when asked. */
import { parseCookie } from 'cookie';
import { Redis } from 'ioredis';
import Koa, { type Context, type Middleware } from 'koa';
import redisStore from 'koa-redis';
import { createSession } from 'koa-session';
import { requireUser, sessionMiddleware } from 'tokensession/koa';
import { CachedByHand, userIdOf } from './cached-by-hand';
import { type ManagerOptions, managerOn, SECRET, TTL } from './contestants';
import { GetexSessions, type HandmadeSessions, ListedGetexSessions } from './getex-sessions';
import { serve } from './server';

const CONTESTANTS: Record<string, (app: Koa, url: string) => void> = {
  bare: (app) => {
    app.use((ctx) => {
      ctx.body = { user: 'user-00' };
    });
  },

  /** The least cost of every session: read the cookie, set a user on the context, and check it in a guard. */
  floor: (app) => {
    app.use((ctx, next) => {
      const cookies = parseCookie(ctx.headers.cookie ?? '');
      if (cookies.session !== undefined) ctx.user = { id: 'user-00' };
      return next();
    });
    app.use(guard((ctx) => ctx.user !== undefined));
    app.use((ctx) => {
      ctx.body = { user: ctx.user.id };
    });
  },

  tokensession: (app, url) => useTokensession(app, url),
  'tokensession, cached': (app, url) => useTokensession(app, url, { cache: true }),

  'cached by hand': (app, url) => {
    const sessions = new CachedByHand(url);
    app.use((ctx, next) => {
      sessions.open(ctx, ctx.req.headers);
      return next();
    });
    const login = async (ctx: Context, user: string) => void ctx.cookies.set('session', await sessions.login(user));
    app.use(
      loginOr(
        login,
        guard((ctx) => userIdOf(ctx) !== undefined),
      ),
    );
    app.use((ctx) => {
      ctx.body = { user: userIdOf(ctx) };
    });
  },

  /** With our ioredis, which is newer than its own. Rolling, so that its sessions slide, as ours do. */
  'koa-session': (app, url) => {
    const sessionOf = (ctx: Context) => ctx.session as unknown as { userId?: string };
    app.keys = [SECRET];
    app.use(createSession({ store: redisStore({ client: new Redis(url) }), maxAge: TTL * 1000, rolling: true }, app));
    const login = async (ctx: Context, user: string) => {
      sessionOf(ctx).userId = user;
    };
    app.use(
      loginOr(
        login,
        guard((ctx) => sessionOf(ctx).userId !== undefined),
      ),
    );
    app.use((ctx) => {
      ctx.body = { user: sessionOf(ctx).userId };
    });
  },

  GETEX: (app, url) => useHandmade(app, new GetexSessions(url, TTL)),
  'GETEX, signed and listed': (app, url) => useHandmade(app, new ListedGetexSessions(url, SECRET, TTL)),
};

function useTokensession(app: Koa, url: string, options: ManagerOptions = {}): void {
  app.use(sessionMiddleware(managerOn(url, options)));
  app.use(loginOr((ctx, user) => ctx.session.login(user), requireUser()));
  app.use((ctx) => {
    ctx.body = { user: ctx.session.user?.id };
  });
}

function useHandmade(app: Koa, sessions: HandmadeSessions): void {
  app.use(async (ctx, next) => {
    ctx.state.user = await sessions.userOf(parseCookie(ctx.headers.cookie ?? '').session);
    return next();
  });
  const login = async (ctx: Context, user: string) => void ctx.cookies.set('session', await sessions.login(user));
  app.use(
    loginOr(
      login,
      guard((ctx) => ctx.state.user !== null),
    ),
  );
  app.use((ctx) => {
    ctx.body = { user: ctx.state.user };
  });
}

function guard(isSignedIn: (ctx: Context) => boolean): Middleware {
  return (ctx, next) => {
    if (isSignedIn(ctx)) return next();
    ctx.status = 401;
    return undefined;
  };
}

/** Koa has no router of its own. */
function loginOr(login: (ctx: Context, user: string) => Promise<unknown>, otherwise: Middleware): Middleware {
  return (ctx, next) => {
    if (ctx.method !== 'POST') return otherwise(ctx, next);
    ctx.status = 204;
    return login(ctx, ctx.path.slice('/login/'.length));
  };
}

serve(CONTESTANTS, (mount, url) => {
  const app = new Koa();
  mount(app, url);
  return app.listen(0, '127.0.0.1');
});
