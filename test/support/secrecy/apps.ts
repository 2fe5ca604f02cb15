import type { RequestListener, ServerResponse } from 'node:http';
import { inspect } from 'node:util';
import express, { type ErrorRequestHandler } from 'express';
import Koa from 'koa';
import type { TokenManager } from 'tokensession';
import * as forExpress from 'tokensession/express';
import * as forKoa from 'tokensession/koa';
import type { Detail, Session } from '../apps';
import { HOSTS } from '../hosts';
import type { GuardName } from '../hosts/host';
import type { Witness } from './witness';

/** Seconds for which `/vault` accepts a proof of identity as recent. */
const RECENT = 1;

type Route = (session: Session, query: URLSearchParams, res: ServerResponse) => unknown;

const fail = () => {
  throw new Error('the handler failed');
};

const ROUTES: Record<string, Route> = {
  '/me': (session) => session,
  '/vault': (session) => session,
  '/session': (session) => session,
  '/login': async (session, query) => {
    const options = query.has('ttl') ? { ttl: Number(query.get('ttl')) } : {};
    return { token: await session.login(query.get('user') ?? '', options), session };
  },
  '/logout': async (session, query) => {
    await session.logout({ everywhere: query.has('everywhere') });
    return session;
  },
  '/rotate': async (session) => ({ token: await session.rotate(), session }),
  '/reauthenticated': async (session) => ({ token: await session.reauthenticated(), session }),
  '/log': (session) => {
    console.log(session);
    console.error('%s %o %j', session, session, session);
    console.dir(session, { depth: null, showHidden: true });
    console.log(`${session} ${inspect({ request: { session } }, { depth: 9, showHidden: true, getters: true })}`);
  },
  '/login-and-fail': (session) => session.login('ada').then(fail),
  '/rotate-and-fail': (session) => session.rotate().then(fail),
  '/late-login': async (session, _query, res) => {
    res.write('begun');
    await session.login('ada').finally(() => res.end());
  },
  '/late-rotate': async (session, _query, res) => {
    res.write('begun');
    await session.rotate().finally(() => res.end());
  },
};

/** A route that passes arguments of the wrong type, made of the token of the request. */
const WRONG: ((session: Session, token: string) => unknown)[] = [
  (session, token) => session.login(token.repeat(20)),
  (session, token) => session.login([token] as never),
  (session, token) => session.login('ada', token as never),
  (session, token) => session.login('ada', { ttl: token as never }),
  (session, token) => session.login('ada', { attributes: token as never }),
  (session, token) => session.login('ada', { attributes: { device: token.repeat(10) } }),
  (session, token) => session.login('ada', { attributes: { ip: [token] as never } }),
  (session, token) => session.login('ada', { [token]: 1 } as never),
  (session, token) => session.logout(token as never),
  (session, token) => session.logout({ everywhere: token as never }),
  (session, token) => Object.assign(session, { cart: token }),
  (session, token) => Object.assign(session, { user: token }),
];

type AppOptions = forExpress.SessionMiddlewareOptions;

type Build = (manager: TokenManager<Detail>, options: AppOptions, witness: Witness) => RequestListener;

const GUARDS: Record<string, GuardName> = { '/me': 'user', '/vault': 'recent' };

/** For a host that hides its errors. */
const onHost =
  (name: keyof typeof HOSTS): Build =>
  (manager, options, witness) =>
    HOSTS[name].build({
      mounts: [{ manager, options }],
      guardOf: (path) => GUARDS[path],
      async handle({ path, session, query, res }) {
        try {
          return await answerTo(path, session as Session, query, res);
        } catch (error) {
          witness.error(`${name}: error`, error);
          throw error;
        } finally {
          lookAt(session as Session, witness);
        }
      },
    });

/** The same application on each host, with the host's default error handling and printing. */
export const APPS: Record<string, Build> = {
  ...Object.fromEntries((['Fastify', 'Hono', 'node:http', 'fetch'] as const).map((name) => [name, onHost(name)])),
  Express(manager, options, witness) {
    const app = express();
    app.set('env', 'development');
    app.use(forExpress.sessionMiddleware(manager, options));
    app.use('/me', forExpress.requireUser());
    app.use('/vault', forExpress.requireRecentLogin(RECENT));
    app.all('/{*path}', async (req, res) => {
      const session = req.session as Session;
      const body = await answerTo(req.path, session, new URL(req.url, 'http://app').searchParams, res);
      lookAt(session, witness);
      if (!res.headersSent) res.json(body ?? null);
    });
    app.use(((error, req, _res, next) => {
      witness.error('Express: error', error);
      if (req.session !== undefined) lookAt(req.session as Session, witness);
      next(error);
    }) satisfies ErrorRequestHandler);
    return app;
  },
  Koa(manager, options, witness) {
    const app = new Koa();
    app.on('error', (error) => {
      witness.error('Koa: error', error);
      app.onerror(error);
    });
    app.use(forKoa.sessionMiddleware(manager, options));
    const guards: Record<string, Koa.Middleware> = {
      '/me': forKoa.requireUser(),
      '/vault': forKoa.requireRecentLogin(RECENT),
    };
    app.use((ctx, next) => guards[ctx.path]?.(ctx, next) ?? next());
    app.use(async (ctx) => {
      const session = ctx.session as Session;
      const body = await answerTo(ctx.path, session, new URLSearchParams(ctx.querystring), ctx.res).finally(() =>
        lookAt(session, witness),
      );
      if (ctx.headerSent) ctx.respond = false;
      else ctx.body = body ?? null;
    });
    return app.callback();
  },
};

async function answerTo(path: string, session: Session, query: URLSearchParams, res: ServerResponse): Promise<unknown> {
  const wrong = WRONG[Number(/^\/wrong\/(\d+)$/.exec(path)?.[1])];
  return wrong === undefined ? ROUTES[path]?.(session, query, res) : wrong(session, session.token ?? '');
}

/** The paths that pass arguments of the wrong type. */
export const WRONG_PATHS = WRONG.map((_, index) => `/wrong/${index}`);

/** `session.token` is the token: an application that reads it by name gets it. */
function lookAt(session: Session, witness: Witness): void {
  witness.value('session', session, { except: ['token'] });
}
