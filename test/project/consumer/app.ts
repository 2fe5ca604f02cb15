/*
 * A project that uses the package: compiled by package.test.ts against the packed tarball, strictly, with every way of
 * resolving modules. What must be a type error is marked so, and is an error when it isn't one.
 */
import express from 'express';
import { Redis } from 'ioredis';
import Koa from 'koa';
import {
  type Ban,
  createRedisClient,
  type EndReason,
  MemoryStore,
  RedisStore,
  type Session,
  SessionError,
  type SessionErrorCode,
  type SessionInfo,
  type Store,
  TokenManager,
} from 'tokensession';
import {
  requireRecentLogin,
  requireUser,
  type SessionMiddlewareOptions,
  sessionMiddleware,
} from 'tokensession/express';
import * as forKoa from 'tokensession/koa';

export interface Account {
  name: string;
  roles: string[];
}

declare module 'tokensession' {
  interface Register {
    detail: Account;
    data: { cart: string[]; visits: number };
  }
}

/** Compiles only where both types are the same; `any` is the same as nothing else. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const same = <A, B>(_: Same<A, B>) => undefined;

const sessions = new TokenManager({
  store: new RedisStore(process.env.REDIS_URL ?? 'redis://127.0.0.1:6379', { timeoutMs: 500 }),
  secret: process.env.SESSION_SECRET,
  getUserInfo: async (id): Promise<Account | null> => (id === 'ada' ? { name: 'Ada', roles: [] } : null),
});
same<typeof sessions, TokenManager<Account>>(true);
same<Awaited<ReturnType<typeof sessions.touchToken>>, Session<Account> | null>(true);
same<Awaited<ReturnType<typeof sessions.listUserSessions>>, SessionInfo[]>(true);
same<Session<Account>['user']['detail'], { readonly name: string; readonly roles: readonly string[] } | undefined>(
  true,
);

interface Dated {
  born: Date;
  seen: (Date | null)[];
}

/** As models of ORMs declare it. */
interface Model {
  name: string;
  toJSON<Json>(): Json;
  toJSON(): object;
}
// As JSON carries it.
same<
  Session<Dated>['user']['detail'],
  { readonly born: string; readonly seen: readonly (string | null)[] } | undefined
>(true);
same<NonNullable<Session<Model>['user']['detail']>['name'], string>(true);

const withoutLoader = new TokenManager({
  store: new MemoryStore(),
  secret: ['the newer of two secrets of this project', 'the older of two secrets of this project'],
});
same<typeof withoutLoader, TokenManager<unknown>>(true);

const syncLoader = new TokenManager({ store: new MemoryStore(), secret: '', getUserInfo: () => ({ n: 1 }) });
same<typeof syncLoader, TokenManager<{ n: number }>>(true);

export const stores: Store[] = [
  new RedisStore(new Redis()),
  new RedisStore(createRedisClient({ host: 'h', tls: true })),
  new RedisStore({ host: 'h', port: 6379, db: 1, password: 'p' }),
];

// @ts-expect-error: the secret is not optional
new TokenManager({ store: new MemoryStore() });
// @ts-expect-error: no such option
new TokenManager({ store: new MemoryStore(), secret: '', timeout: 1 });
// @ts-expect-error: a user id is a string
sessions.setToken(7);
// @ts-expect-error: attributes are these three
sessions.setToken('ada', 60, { os: 'x' });
// @ts-expect-error: a session's info has no token
sessions.listUserSessions('ada').then(([session]) => session?.token);

sessions
  .on('login', ({ userId, attributes }) => same<typeof userId | typeof attributes.ip, string | undefined>(true))
  .once('banned', ({ until, reason }) => same<typeof until | typeof reason, Date | string | null | undefined>(true))
  // @ts-expect-error: no event has a token
  .on('rotated', ({ token }) => token)
  // @ts-expect-error: no such event
  .off('signed-in', () => undefined);
sessions.inspectToken('x', { touch: true }).then((inspection) => {
  if (inspection.session !== null) return same<typeof inspection.session, Session<Account>>(true);
  return same<typeof inspection.reason, EndReason>(true);
});
sessions.getBan('ada').then((ban) => same<typeof ban, Ban | null>(true));
// @ts-expect-error: replace or reject
new TokenManager({ store: new MemoryStore(), secret: '', maxSessionsPerDevice: { web: 2 }, onLimit: 'ask' });

const options: SessionMiddlewareOptions = { cookie: { sameSite: 'strict' }, header: false, onUnavailable: 'anonymous' };
const app = express();
app.use(sessionMiddleware(sessions, options));
app.post('/login', async (req, res) => {
  same<typeof req.session.user, Session<Account>['user'] | null>(true);
  same<Awaited<ReturnType<typeof req.session.data.getAll>>, Partial<{ cart: string[]; visits: number }>>(true);
  const cart: string[] | undefined = await req.session.data.update('cart', (items = []) => [...items, 'tea']);
  await req.session.data.set({ visits: cart?.length ?? 0 });
  // @ts-expect-error: there is no such key
  await req.session.data.get('basket');
  // @ts-expect-error: its value is a list
  await req.session.data.set('cart', 1);
  const token: string = await req.session.login('ada', { ttl: 60, attributes: { device: 'web' } });
  res.json({ token, name: req.session.user?.detail?.name.toUpperCase() });
  // @ts-expect-error: the user may be null
  req.session.user.id;
  // @ts-expect-error: an account has no such member
  req.session.user?.detail?.password;
  // @ts-expect-error: set by the middleware alone
  req.session.open();
});
app.get('/users/:id', requireUser(), requireRecentLogin(60), sessionMiddleware(sessions), (req, res) => {
  same<typeof req.params, { id: string }>(true);
  res.json(req.session.user);
});
app.get(
  '/admin',
  requireUser({ property: 'admin', redirectTo: '/login' }),
  requireRecentLogin(60, { property: 'admin' }),
);
app.use(requireUser({ property: undefined }), requireRecentLogin(60, {}));
// @ts-expect-error: the name of a property
requireUser({ property: 1 });
// @ts-expect-error: no such option
requireUser({ place: 'admin' });
// @ts-expect-error: not the name alone
requireUser('admin');
// @ts-expect-error: not the name alone
requireRecentLogin(60, 'admin');
// @ts-expect-error: only requireUser redirects
requireRecentLogin(60, { property: 'admin', redirectTo: '/login' });

const koa = new Koa().use(forKoa.sessionMiddleware(syncLoader));
koa.use(async (ctx) => {
  const n: number | undefined = ctx.session.user?.detail?.n;
  await ctx.session.logout({ everywhere: true });
  ctx.body = n;
  // @ts-expect-error: no such option
  await ctx.session.logout({ all: true });
});
koa
  .use(forKoa.requireUser())
  .use(forKoa.requireRecentLogin(60))
  .use((ctx) => {
    same<typeof ctx.session.user.id | typeof ctx.session.id, string>(true);
    const n: number | undefined = ctx.session.user.detail?.n;
    ctx.body = n;
    // @ts-expect-error: only the user is never null
    ctx.session.expiresAt.getTime();
  });
new Koa()
  .use(forKoa.sessionMiddleware(syncLoader))
  .use(forKoa.requireUser({ property: 'admin' }))
  .use(forKoa.requireRecentLogin(60, { property: 'admin' }))
  .use((ctx) => {
    same<typeof ctx.admin.user.id, string>(true);
    // @ts-expect-error: the guard has judged another session
    ctx.session.user.id;
  });
new Koa().use(forKoa.sessionMiddleware(syncLoader, { property: 'auth' })).use((ctx) => {
  same<typeof ctx.auth.user, Session<{ n: number }>['user'] | null>(true);
});
const property = process.env.PROPERTY ?? 'session';
new Koa()
  .use(forKoa.sessionMiddleware(syncLoader))
  .use(forKoa.requireUser({ property }))
  .use((ctx) => same<typeof ctx.session.user.id, string>(true));
// @ts-expect-error: the name of a property
forKoa.requireUser({ property: 1 });
// @ts-expect-error: no such option
forKoa.requireRecentLogin(60, { place: 'admin' });
// A router's context is not chained to the middleware.
export const elsewhere = (ctx: Koa.Context) => same<typeof ctx.session.user, Session<Account>['user'] | null>(true);
// An application with a type that TypeScript cannot infer is accepted, too.
const untyped: Koa.Middleware[] = [forKoa.requireUser({ redirectTo: '/login' }), forKoa.requireRecentLogin(60)];
for (const middleware of untyped) koa.use(middleware);

export function messageOf(error: unknown): string {
  if (!(error instanceof SessionError)) throw error;
  same<typeof error.cause, unknown>(true);
  const { code } = error;
  switch (code) {
    case 'ERR_STORE_UNAVAILABLE':
    case 'ERR_STORE_TIMEOUT':
    case 'ERR_NOT_REPLICATED':
      return 'try again';
    case 'ERR_STORE_CORRUPT':
    case 'ERR_STORE_LAYOUT':
    case 'ERR_USER_NOT_FOUND':
    case 'ERR_USER_BANNED':
    case 'ERR_TOO_MANY_SESSIONS':
    case 'ERR_CROSS_ORIGIN':
    case 'ERR_TOKEN_CONFLICT':
    case 'ERR_UNAUTHENTICATED':
    case 'ERR_REAUTHENTICATION_REQUIRED':
    case 'ERR_NO_SESSION':
    case 'ERR_SESSION_ENDED':
    case 'ERR_DATA_TOO_LARGE':
    case 'ERR_DATA_CONFLICT':
    case 'ERR_HEADERS_SENT':
      return code;
  }
  same<typeof code, never>(true);
  same<SessionErrorCode, typeof error.code>(true);
  return code;
}
