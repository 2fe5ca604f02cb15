/*
 * Most of the Express example's API, in Koa: npx tsx examples/koa/server.ts
 * Reads PORT, SESSION_SECRET and where Redis is (see ../settings.ts); works without any of them.
 */
import { randomBytes } from 'node:crypto';
import { json } from 'node:stream/consumers';
import Koa, { type Context, HttpError } from 'koa';
import { SessionError, TokenManager } from 'tokensession';
import { requireRecentLogin, requireUser, sessionMiddleware } from 'tokensession/koa';
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

// For the log: no event holds a token.
sessions
  .on('login', ({ userId, sessionId }) => console.log(`login: ${userId}, session ${sessionId}`))
  .on('revoked', ({ userId, sessionId }) => console.log(`revoked: ${userId}, session ${sessionId}`));

const recentLogin = requireRecentLogin(60);

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
        // A real application checks the password here.
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
  .use(async (ctx) => {
    const { user, id } = ctx.session;
    if (user === null) throw new TypeError('these routes need requireUser()');
    switch (`${ctx.method} ${ctx.path}`) {
      case 'GET /me':
        ctx.body = ctx.session;
        return;
      case 'DELETE /sessions':
        // Ends all sessions but this one. requireUser() puts the message into the 401 of the ended ones.
        await sessions.deleteUserToken(user.id, { except: id, message: 'ended on another device' });
        ctx.status = 204;
        return;
      case 'POST /confirm':
        // A real application checks the password, or a second factor, here.
        if ((await readUser(ctx)) !== user.id) ctx.throw(403, 'that is not who is signed in');
        // The new token carries the proof: a client that sends its token in a header must store it.
        ctx.body = { token: await ctx.session.reauthenticated() };
        return;
      case 'POST /recovery-codes':
        return recentLogin(ctx, async () => {
          ctx.body = Array.from({ length: 4 }, () => randomBytes(5).toString('hex'));
        });
      default:
        ctx.throw(404, 'there is nothing at this address');
    }
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
