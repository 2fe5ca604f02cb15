import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import express5, { type Express } from 'express';
import Koa3 from 'koa';
import type { TokenManager } from 'tokensession';
import * as forExpress from 'tokensession/express';
import * as forKoa from 'tokensession/koa';

export interface Detail {
  name: string;
}

export type Session = forExpress.RequestSession<Detail>;

/** What the test application does at a path; what it gives is sent as JSON. */
export type Routes = Record<string, (session: Session, query: URLSearchParams) => unknown>;

export interface AppOptions extends forExpress.SessionMiddlewareOptions {
  routes?: Routes;
  /** Whether the framework believes X-Forwarded-Proto and X-Forwarded-For. */
  trustProxy?: boolean;
}

/** The same small application, on each framework that the middleware is for. */
export const FRAMEWORKS = {
  'Express 5': (manager: TokenManager<Detail>, options: AppOptions) => expressApp(express5, manager, options),
  'Express 4': (manager: TokenManager<Detail>, options: AppOptions) =>
    expressApp(require('express4'), manager, options),
  'Koa 3': (manager: TokenManager<Detail>, options: AppOptions) => koaApp(Koa3, manager, options),
  'Koa 2': (manager: TokenManager<Detail>, options: AppOptions) => koaApp(require('koa2'), manager, options),
} as const;

/** Seconds for which `GET /vault` takes a proof of identity for recent. */
export const RECENT = 60;

/**
 * `/me` and `/page` are for those who are signed in, `/vault` for those who have just proved who they are, the others
 * are for everybody.
 */
const ROUTES: Routes = {
  '/me': (session) => ({ user: session.user }),
  '/page': (session) => ({ user: session.user }),
  '/vault': (session) => ({ user: session.user }),
  '/session': (session) => ({ ...session.toJSON(), token: session.token }),
  '/login': async (session, query) => {
    const ttl = query.get('ttl');
    const token = await session.login(query.get('user') ?? '', ttl === null ? {} : { ttl: Number(ttl) });
    return { token, user: session.user, id: session.id };
  },
  '/logout': async (session, query) => {
    await session.logout({ everywhere: query.has('everywhere') });
    return { user: session.user };
  },
};

function expressApp(express: () => Express, manager: TokenManager<Detail>, options: AppOptions): RequestListener {
  const { routes = {}, trustProxy = false, ...middlewareOptions } = options;
  const app = express();
  app.set('trust proxy', trustProxy);
  app.set('env', 'test');
  app.use(forExpress.sessionMiddleware(manager, middlewareOptions));
  app.use('/me', forExpress.requireUser());
  app.use('/page', forExpress.requireUser({ redirectTo: '/login' }));
  app.use('/vault', forExpress.requireRecentLogin(RECENT));
  for (const [path, route] of Object.entries({ ...ROUTES, ...routes })) {
    app.all(path, (req, res, next) => {
      const query = new URL(req.url, 'http://app').searchParams;
      Promise.resolve()
        .then(() => route(req.session as Session, query))
        .then((body) => (res.headersSent ? undefined : res.json(body ?? null)))
        .catch(next);
    });
  }
  return app;
}

const letOn: Koa3.Middleware = (_ctx, next) => next();

function koaApp(Koa: typeof Koa3, manager: TokenManager<Detail>, options: AppOptions): RequestListener {
  const { routes = {}, trustProxy = false, ...middlewareOptions } = options;
  const app = new Koa({ proxy: trustProxy });
  app.silent = true;
  app.use(forKoa.sessionMiddleware(manager, middlewareOptions));
  const guards: Record<string, Koa3.Middleware> = {
    '/me': forKoa.requireUser(),
    '/page': forKoa.requireUser({ redirectTo: '/login' }),
    '/vault': forKoa.requireRecentLogin(RECENT),
  };
  app.use((ctx, next) => (guards[ctx.path] ?? letOn)(ctx, next));
  app.use(async (ctx) => {
    const route = { ...ROUTES, ...routes }[ctx.path];
    if (route === undefined) return;
    const body = await route(ctx.session as Session, new URLSearchParams(ctx.querystring));
    if (ctx.headerSent) ctx.respond = false;
    else ctx.body = body ?? null;
  });
  return app.callback();
}

export interface RunningApp {
  readonly url: string;
  close(): Promise<void>;
}

export async function listen(listener: RequestListener): Promise<RunningApp> {
  const server: Server = createServer(listener).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}
