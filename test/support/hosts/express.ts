import type { ErrorRequestHandler, Express, RequestHandler } from 'express';
import * as forExpress from 'tokensession/express';
import { cookiesOf, exchange, guardsOf, type Host, type Visit, write } from './host';

const GUARDS = guardsOf<forExpress.ExpressMiddleware>(forExpress);

export function expressHost(express: () => Express): Host {
  return {
    hasMiddleware: true,
    hasProperty: true,
    canSwallow: true,
    isNode: true,
    takesAnyHost: true,
    forwardedHost: 'first',
    takesStatusMessages: true,
    begin: write,
    requireUser: forExpress.requireUser as Host['requireUser'],
    requireRecentLogin: forExpress.requireRecentLogin as Host['requireRecentLogin'],
    build({ mounts, trustProxy = false, guardOf, handle }) {
      const app = express();
      app.set('trust proxy', trustProxy);
      app.set('env', 'test');
      for (const { manager, options, isSwallowed } of mounts) {
        app.use(forExpress.sessionMiddleware(manager, options));
        if (isSwallowed) app.use(((_error, _req, _res, next) => next()) satisfies ErrorRequestHandler);
      }
      app.use(((req, res, next) => {
        const guard = guardOf(req.path);
        if (guard === undefined) next();
        else GUARDS[guard](req, res, next);
      }) satisfies RequestHandler);
      app.use(((req, res, next) => {
        const holder = req as unknown as Visit['holder'];
        const { session } = holder;
        const setHeader = (name: string, value: string) => void res.setHeader(name, value);
        const clearCookie = (name: string, path: string) => void res.clearCookie(name, { path });
        const query = new URL(req.url, 'http://app').searchParams;
        Promise.resolve()
          .then(() => handle({ req, res, path: req.path, query, holder, session, clearCookie, setHeader }))
          .then((body) => (res.headersSent ? undefined : res.json(body ?? null)))
          .catch(next);
      }) satisfies RequestHandler);
      return app;
    },
    direct(manager, options) {
      const middleware = forExpress.sessionMiddleware(manager, options);
      return async (request) => {
        const { req, res } = exchange(request);
        const more = { secure: request.secure, ip: '::1', originalUrl: request.url, app: { get: () => () => false } };
        const made = Object.assign(req, more, { session: undefined as unknown });
        await new Promise<void>((resolve, reject) =>
          middleware(made, res, (error) => (error ? reject(error) : resolve())),
        );
        return { session: made.session as Visit['session'], setCookie: () => cookiesOf(res) };
      };
    },
  };
}
