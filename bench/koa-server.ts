/* One contestant of the Koa part: `koa-server.ts <name> <Redis URL>`. It tells its port and its CPU time when asked. */
import { Redis } from 'ioredis';
import Koa, { type Context } from 'koa';
import redisStore from 'koa-redis';
import { createSession } from 'koa-session';
import { RedisStore, TokenManager } from 'tokensession';
import { sessionMiddleware } from 'tokensession/koa';
import { GetexSessions } from './getex-sessions';
import { answerForServer, contestantNamed } from './server';

const SECRET = 'a secret that is long enough to be one';
const TTL = 7 * 24 * 3600;

const CONTESTANTS: Record<string, (app: Koa, url: string) => void> = {
  bare: (app) => {
    app.use((ctx) => {
      ctx.body = { user: 'user-00' };
    });
  },

  tokensession: (app, url) => useTokensession(app, url),
  'tokensession, cached': (app, url) => useTokensession(app, url, { cache: true }),

  /** With the ioredis that we use, newer than its own. Rolling, so that its sessions slide, as ours do. */
  'koa-session': (app, url) => {
    app.keys = [SECRET];
    app.use(createSession({ store: redisStore({ client: new Redis(url) }), maxAge: TTL * 1000, rolling: true }, app));
    app.use((ctx) => {
      const session = ctx.session as unknown as { userId?: string };
      const user = userToLogIn(ctx);
      if (user !== null) {
        session.userId = user;
        ctx.status = 204;
      } else if (session.userId === undefined) ctx.status = 401;
      else ctx.body = { user: session.userId };
    });
  },

  GETEX: (app, url) => {
    const sessions = new GetexSessions(url, TTL);
    app.use(async (ctx, next) => {
      ctx.state.user = await sessions.userOf(ctx.cookies.get('session'));
      return next();
    });
    app.use(async (ctx) => {
      const user = userToLogIn(ctx);
      if (user !== null) {
        ctx.cookies.set('session', await sessions.login(user));
        ctx.status = 204;
      } else if (ctx.state.user === null) ctx.status = 401;
      else ctx.body = { user: ctx.state.user };
    });
  },
};

function useTokensession(app: Koa, url: string, options: { cache?: true } = {}): void {
  const manager = new TokenManager({ store: new RedisStore(url), secret: SECRET, ttl: TTL, ...options });
  app.use(sessionMiddleware(manager));
  app.use(async (ctx) => {
    const user = userToLogIn(ctx);
    if (user !== null) {
      await ctx.session.login(user);
      ctx.status = 204;
    } else if (ctx.session.user === null) ctx.status = 401;
    else ctx.body = { user: ctx.session.user.id };
  });
}

/** Koa has no router of its own. */
function userToLogIn({ method, path }: Context): string | null {
  return method === 'POST' ? path.slice('/login/'.length) : null;
}

function main([name = '', url = '']: string[]): void {
  const app = new Koa();
  contestantNamed(name, CONTESTANTS)(app, url);
  answerForServer(app.listen(0, '127.0.0.1'));
}

main(process.argv.slice(2));
