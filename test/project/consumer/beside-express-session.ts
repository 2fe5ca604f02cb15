/*
 * A project that uses the package beside express-session: the types of both in one program, compiled by package.test.ts
 * as app.ts is.
 */
import express from 'express';
import session from 'express-session';
import Koa from 'koa';
import { MemoryStore, type Session, TokenManager } from 'tokensession';
import { requireUser, sessionMiddleware } from 'tokensession/express';
import { continueSession, ExpressSessionStore } from 'tokensession/express-session';
import * as forKoa from 'tokensession/koa';
import { authenticate, oauthStateStore } from 'tokensession/passport';

interface Account {
  name: string;
}

declare module 'tokensession' {
  interface Register {
    detail: Account;
    property: 'auth';
  }
}

declare module 'express-session' {
  interface SessionData {
    views: number;
    userId?: string;
  }
}

/** Compiles only where both types are the same; `any` is the same as nothing else. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const same = <A, B>(_: Same<A, B>) => undefined;

const getUserInfo = (name: string): Account => ({ name });
const sessions = new TokenManager({ store: new MemoryStore(), secret: process.env.SESSION_SECRET, getUserInfo });

const app = express();
const former = new session.MemoryStore();
const store = new ExpressSessionStore(sessions, {
  userIdOf: (content: Partial<session.SessionData>) => content.userId,
  legacy: { store: former, authenticatedAt: (content) => (content.userId ? new Date() : null) },
});
const withPassport = new ExpressSessionStore(sessions, { userIdOf: (content) => content.passport?.user });
app.use(session({ store, secret: 'of express-session', resave: false, saveUninitialized: false }));
app.use(session({ store: withPassport, secret: 'of express-session', resave: false, saveUninitialized: false }));
app.use(sessionMiddleware(sessions, { property: 'auth' }));
app.use(continueSession(store));
const passport = { authenticate: (_strategy: string, _options: object, _callback: () => void) => () => undefined };
app.post('/login', authenticate(passport, 'local', { userIdOf: (user: { id: number }) => user.id, scope: ['email'] }));
oauthStateStore({ ttl: 60 });
app.get('/callback', authenticate(passport, 'oauth2', { property: 'auth' }));
oauthStateStore({ property: 'auth' });
// @ts-expect-error: the name of a property
authenticate(passport, 'local', { property: 1 });
// @ts-expect-error: the name of a property
oauthStateStore({ property: 1 });
// @ts-expect-error: no such option
oauthStateStore({ place: 'auth' });
app.get('/', requireUser(), async (req, res) => {
  same<typeof req.session.views, number | undefined>(true);
  same<typeof req.auth.user, Session<Account>['user'] | null>(true);
  req.session.views = (req.session.views ?? 0) + 1;
  await req.auth.login('ada');
  res.json({ views: req.session.views, id: req.sessionID, user: req.auth.user });
  // @ts-expect-error: express-session's place
  req.session.login('ada');
  // @ts-expect-error: ours holds nothing of the application
  req.auth.views = 1;
});

new Koa()
  .use(forKoa.sessionMiddleware(sessions, { property: 'auth' }))
  .use(async (ctx, next) => {
    same<typeof ctx.auth.user, Session<Account>['user'] | null>(true);
    await next();
  })
  .use(forKoa.requireUser({ property: 'admin' }))
  .use(async (ctx, next) => {
    same<typeof ctx.admin.user.id, string>(true);
    // @ts-expect-error: the guard has judged another session
    ctx.auth.user.id;
    await next();
  })
  .use(forKoa.requireUser())
  .use((ctx) => {
    same<typeof ctx.auth.user.id, string>(true);
    ctx.body = ctx.auth.user.detail?.name.toUpperCase();
  });
