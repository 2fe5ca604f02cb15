/*
 * The same API as the Express example, in Koa: npx tsx examples/koa/server.ts
 * Reads PORT, SESSION_SECRET and where Redis is (see ../settings.ts); works without any of them.
 */
import { json } from 'node:stream/consumers';
import Koa, { type Context, HttpError } from 'koa';
import { SessionError, TokenManager } from 'tokensession';
import { requireUser, sessionMiddleware } from 'tokensession/koa';
import { serve } from '../serve';
import { portFromEnvironment, reasonOf, secretFromEnvironment, storeFromEnvironment } from '../settings';

const MAX_BODY_BYTES = 10_000;

/** Stands in for a database. */
const USERS = new Map([
  ['ada', { name: 'Ada Lovelace' }],
  ['grace', { name: 'Grace Hopper' }],
]);

const sessions = new TokenManager({
  store: storeFromEnvironment(),
  secret: secretFromEnvironment(),
  getUserInfo: (id) => USERS.get(id),
});

const app = new Koa()
  .use(async (ctx, next) => {
    try {
      await next();
    } catch (error) {
      answerError(ctx, error);
    }
  })
  .use(sessionMiddleware(sessions))
  .use(async (ctx, next) => {
    switch (`${ctx.method} ${ctx.path}`) {
      case 'POST /login': {
        // An application with passwords checks the password here.
        const token = await ctx.session.login(await readUser(ctx));
        ctx.body = { user: ctx.session.user, token };
        return;
      }
      case 'POST /logout':
        await ctx.session.logout();
        ctx.status = 204;
        return;
      default:
        await next();
    }
  })
  .use(requireUser())
  .use((ctx) => {
    if (ctx.method !== 'GET' || ctx.path !== '/me') ctx.throw(404, 'there is nothing at this address');
    ctx.body = ctx.session;
  });

serve(app.callback(), {
  port: portFromEnvironment(3000),
  sessions,
  greeting: (address) =>
    [
      `${address} is ready:`,
      `curl -sc /tmp/tokensession.jar -H 'content-type: application/json' -d '{"user":"ada"}' ${address}/login`,
      `curl -sb /tmp/tokensession.jar ${address}/me`,
    ].join('\n'),
});

async function readUser(ctx: Context): Promise<string> {
  if (!ctx.is('json')) ctx.throw(415, 'send JSON, with content-type: application/json');
  if (ctx.request.length === undefined) ctx.throw(411, 'send the body with its content-length');
  if (ctx.request.length > MAX_BODY_BYTES) ctx.throw(413, `send at most ${MAX_BODY_BYTES} bytes`);
  const body: unknown = await json(ctx.req).catch(() => ctx.throw(400, 'the body is no JSON'));
  const { user } = Object(body) as { user?: unknown };
  if (typeof user !== 'string' || !/^[\w.-]{1,64}$/.test(user)) {
    ctx.throw(400, 'send JSON with the name of a user, such as {"user":"ada"}');
  }
  return user;
}

function answerError(ctx: Context, error: unknown): void {
  if (error instanceof SessionError) {
    ctx.status = error.status;
    ctx.set(error.headers ?? {});
    ctx.body = { error: error.code };
    if (error.status >= 500) console.error(reasonOf(error));
  } else if (error instanceof HttpError && error.expose) {
    ctx.status = error.status;
    ctx.body = { error: error.message };
  } else {
    ctx.status = 500;
    ctx.body = { error: 'internal error' };
    console.error(error);
  }
}
