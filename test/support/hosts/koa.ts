import type Koa3 from 'koa';
import { SessionError } from 'tokensession';
import * as forKoa from 'tokensession/koa';
import { cookiesOf, exchange, guardsOf, type Host, type Visit, write } from './host';

const GUARDS = guardsOf<Koa3.Middleware>(forKoa);

export function koaHost(Koa: typeof Koa3): Host {
  return {
    hasMiddleware: true,
    hasProperty: true,
    canSwallow: true,
    isNode: true,
    takesAnyHost: true,
    forwardedHost: 'first',
    takesStatusMessages: true,
    begin: write,
    requireUser: forKoa.requireUser as Host['requireUser'],
    requireRecentLogin: forKoa.requireRecentLogin as Host['requireRecentLogin'],
    build({ mounts, trustProxy = false, guardOf, handle }) {
      const app = new Koa({ proxy: trustProxy });
      app.silent = true;
      for (const { manager, options, isSwallowed } of mounts) {
        const middleware = forKoa.sessionMiddleware(manager, options) as unknown as Koa3.Middleware;
        app.use(async (ctx, next) => {
          if (!isSwallowed) return middleware(ctx, next);
          const failed = await Promise.resolve(middleware(ctx, async () => undefined)).then(
            () => null,
            (error: unknown) => error,
          );
          if (failed !== null) expect(failed).toBeInstanceOf(SessionError);
          return next();
        });
      }
      app.use((ctx, next) => {
        const guard = guardOf(ctx.path);
        return guard === undefined ? next() : GUARDS[guard](ctx, next);
      });
      app.use(async (ctx) => {
        const { req, res, path } = ctx;
        const holder = ctx as unknown as Visit['holder'];
        const { session } = holder;
        const setHeader = (name: string, value: string) => ctx.set(name, value);
        const clearCookie = (name: string, at: string) => void ctx.cookies.set(name, null, { path: at });
        const query = new URLSearchParams(ctx.querystring);
        const body = await handle({ req, res, path, query, holder, session, clearCookie, setHeader });
        if (ctx.headerSent) ctx.respond = false;
        else ctx.body = body ?? 'null';
      });
      return app.callback();
    },
    direct(manager, options) {
      const middleware = forKoa.sessionMiddleware(manager, options);
      return async (request) => {
        const { req, res } = exchange(request);
        const { secure, url, headers } = request;
        const ctx = { req, res, secure, originalUrl: url, ip: '::1', host: headers.host ?? '', session: undefined };
        await middleware(ctx as unknown as Parameters<typeof middleware>[0], async () => undefined);
        return { session: ctx.session as unknown as Visit['session'], setCookie: () => cookiesOf(res) };
      };
    },
  };
}
