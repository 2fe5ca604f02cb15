/*
 * A project that uses the package on the other hosts: compiled by package.test.ts together with app.ts.
 */
import { createServer } from 'node:http';
import { createServer as createHttp2Server } from 'node:http2';
import { fastify } from 'fastify';
import { type Context, Hono } from 'hono';
import { MemoryStore, type Session, SessionError, TokenManager, type User } from 'tokensession';
import * as forFastify from 'tokensession/fastify';
import * as forFetch from 'tokensession/fetch';
import * as forHono from 'tokensession/hono';
import { type Authentication, authenticator } from 'tokensession/live';
import * as forNode from 'tokensession/node';
import type { Account } from './app.js';

/** Compiles only where both types are the same; `any` is the same as nothing else. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const same = <A, B>(_: Same<A, B>) => undefined;

const getUserInfo = (name: string): Account => ({ name, roles: [] });
const sessions = new TokenManager({ store: new MemoryStore(), secret: process.env.SESSION_SECRET, getUserInfo });

const app = fastify();
app.register(forFastify.sessionPlugin, { manager: sessions, cookie: { sameSite: 'strict' }, header: false });
// @ts-expect-error: no manager
app.register(forFastify.sessionPlugin, {});
app.get<{ Params: { id: string } }>(
  '/users/:id',
  { onRequest: [forFastify.requireUser(), forFastify.requireRecentLogin(60)], preHandler: forFastify.requireUser() },
  async (request) => {
    same<typeof request.params, { id: string }>(true);
    same<typeof request.session.user, Session<Account>['user'] | null>(true);
    const cart: string[] | undefined = await request.session.data.get('cart');
    // @ts-expect-error: the plugin's own
    request.session.open();
    return cart;
  },
);
app.get(
  '/admin',
  {
    onRequest: forFastify.requireUser({ property: 'admin', redirectTo: '/login' }),
    preHandler: forFastify.requireRecentLogin(60, { property: 'admin' }),
  },
  async () => 'yes',
);
// @ts-expect-error: the name of a property
forFastify.requireUser({ property: 1 });
// @ts-expect-error: only requireUser redirects
forFastify.requireRecentLogin(60, { redirectTo: '/login' });

const http2 = fastify({ http2: true, https: {} });
http2.register(forFastify.sessionPlugin, { manager: sessions });
http2.get('/', { onRequest: forFastify.requireUser() }, async ({ session }) => session.user?.detail?.name);
http2.post<{ Reply: { 200: string } }>('/', { preHandler: [forFastify.requireRecentLogin(60)] }, async () => 'yes');

const hono = new Hono()
  .use(forHono.sessionMiddleware(sessions, { connection: (c) => ({ ip: c.req.header('x-real-ip') }) }))
  .get('/', (c) => {
    same<User<Account> | null, typeof c.var.session.user>(true);
    // @ts-expect-error: the user may be null
    c.var.session.user.id;
    return c.json({ name: c.get('session').user?.detail?.name.toUpperCase() });
  })
  .get('/me', forHono.requireUser(), forHono.requireRecentLogin(60), (c) => {
    const name: string | undefined = c.var.session.user.detail?.name;
    return c.json({ id: c.var.session.user.id, name });
  });
new Hono()
  .get('/admin', forHono.requireUser({ property: 'admin' }), (c) => {
    same<typeof c.var.admin.user.id, string>(true);
    // @ts-expect-error: the guard has judged another session
    c.var.session.user.id;
    return c.body(null);
  })
  .get('/recent', forHono.requireRecentLogin(60, { property: 'admin' }), (c) => c.text(c.var.admin.user.id))
  // @ts-expect-error: no guard has named this property
  .get('/other', forHono.requireUser({ property: 'admin' }), (c) => c.text(c.var.other.user.id));
// @ts-expect-error: the name of a property
forHono.requireUser({ property: 1 });
// @ts-expect-error: no such option
forHono.requireRecentLogin(60, { place: 'admin' });
export const elsewhere = (c: Context) => c.var.session.user?.detail?.name;
export default hono;

const openSession = forFetch.sessionOpener(sessions, { onUnavailable: 'anonymous' });
// @ts-expect-error: the session comes from the opener
forFetch.sessionOpener(sessions, { property: 'auth' });
export async function answer(request: Request): Promise<Response> {
  try {
    const session = await openSession(request, { ip: request.headers.get('x-real-ip'), secure: true });
    const user = forFetch.requireUser(session, { redirectTo: '/login' });
    same<typeof user, User<Account>>(true);
    same<Awaited<ReturnType<typeof forFetch.requireRecentLogin<Account>>>, User<Account>>(true);
    // @ts-expect-error: the session itself is given
    forFetch.requireUser(session, { property: 'admin' });
    // @ts-expect-error: the session itself is given
    await forFetch.requireRecentLogin(session, 60, { property: 'admin' });
    return session.commit(Response.json(user.detail?.name));
  } catch (error) {
    if (error instanceof SessionError) return error.getResponse();
    throw error;
  }
}

const openNodeSession = forNode.sessionOpener(sessions);
createServer(async (req, res) => {
  const session = await openNodeSession(req, res);
  same<typeof session, forNode.RequestSession<Account>>(true);
  forNode.sendError(res, new SessionError('ERR_NO_SESSION', 'none'));
  forNode.sendError(res, new Error());
});
createHttp2Server(async (req, res) => {
  const { user } = await openNodeSession(req, res, { secure: true });
  res.end(user?.id ?? 'nobody');
});

const authenticate = authenticator(sessions, { trustedOrigins: ['https://app.example'] });
createServer().on('upgrade', async (request, socket) => {
  const { session, error } = await authenticate(request, { token: undefined, secure: true });
  same<Authentication<Account>['session'], typeof session>(true);
  if (error !== null) return socket.destroy(error);
  const signal: AbortSignal = sessions.watch(session);
  signal.addEventListener('abort', () => socket.end());
  socket.once('close', () => sessions.unwatch(signal));
});
