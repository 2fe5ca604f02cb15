import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { type Context, Hono, type MiddlewareHandler } from 'hono';
import { SessionError } from 'tokensession';
import * as forHono from 'tokensession/hono';
import { directRequest } from './fetch';
import { deletedCookie, forwarded, guardsOf, type Host, statusOf, type Visit, write } from './host';

// Not imported: its types need those of a browser.
const { getRequestListener } = require('@hono/node-server') as {
  getRequestListener(fetch: Hono<Env>['fetch'], options: { overrideGlobalObjects: boolean }): RequestListener;
};
const { RESPONSE_ALREADY_SENT } = require('@hono/node-server/utils/response') as { RESPONSE_ALREADY_SENT: Response };

type Env = { Bindings: { incoming: IncomingMessage; outgoing: ServerResponse } };

const GUARDS = guardsOf<MiddlewareHandler>(forHono);

export const honoHost: Host = {
  hasMiddleware: true,
  hasProperty: false,
  canSwallow: true,
  isNode: false,
  takesAnyHost: false,
  forwardedHost: 'first',
  takesStatusMessages: false,
  begin: write,
  requireUser: forHono.requireUser as Host['requireUser'],
  requireRecentLogin: forHono.requireRecentLogin as Host['requireRecentLogin'],
  build({ mounts, trustProxy = false, guardOf, handle }) {
    const app = new Hono<Env>();
    const connection = trustProxy ? (c: Context<Env>) => forwarded(c.env.incoming) : undefined;
    for (const { manager, options, isSwallowed } of mounts) {
      const middleware = forHono.sessionMiddleware(manager, { ...options, connection }) as MiddlewareHandler;
      app.use(async (c, next) => {
        if (!isSwallowed) return middleware(c, next);
        // A middleware that swallows its errors always continues.
        let hasGoneOn = false;
        const goOn = () => {
          hasGoneOn = true;
          return next();
        };
        try {
          await middleware(c, goOn);
        } catch (error) {
          if (hasGoneOn) throw error;
          expect(error).toBeInstanceOf(SessionError);
          await next();
        }
      });
    }
    app.use((c, next) => {
      const guard = guardOf(c.req.path);
      return guard === undefined ? next() : GUARDS[guard](c, next);
    });
    app.all('*', async (c) => {
      const { incoming: req, outgoing: res } = c.env;
      const holder = variables(c);
      const { session } = holder;
      const query = new URL(c.req.url).searchParams;
      const setHeader = (name: string, value: string) => c.header(name, value);
      const clearCookie = (name: string, path: string) =>
        c.header('Set-Cookie', deletedCookie(name, path), { append: true });
      const visit = { req, res, path: c.req.path, query, holder, session, clearCookie, setHeader };
      const body = await handle(visit);
      return res.headersSent ? RESPONSE_ALREADY_SENT : c.json((body ?? null) as object);
    });
    // Hono's default handler, which prints other errors.
    app.onError((error, c) => {
      if (!('getResponse' in error)) return c.text('Internal Server Error', statusOf(error));
      const response = (error as SessionError).getResponse();
      return c.newResponse(response.body, response);
    });
    return getRequestListener(app.fetch, { overrideGlobalObjects: false });
  },
  direct(manager, options) {
    const middleware = forHono.sessionMiddleware(manager, options);
    return async (request) => {
      const set = new Map<string, unknown>();
      const c = {
        req: { raw: directRequest(request) },
        env: undefined,
        res: new Response(),
        get: (name: string) => set.get(name),
        set: (name: string, value: unknown) => void set.set(name, value),
        header: () => undefined,
      };
      let send: () => void = () => undefined;
      const sent = new Promise<void>((resolve) => {
        send = resolve;
      });
      let done: Promise<unknown> = sent;
      await new Promise<void>((resolve, reject) => {
        const next = () => {
          resolve();
          return sent;
        };
        done = middleware(c as unknown as Context, next);
        done.catch(reject);
      });
      const setCookie = async () => {
        send();
        await done;
        return c.res.headers.getSetCookie();
      };
      return { session: set.get('session') as Visit['session'], setCookie };
    };
  },
};

/** The variables of a context, as an object that writes to them. */
function variables(c: Context): Visit['holder'] {
  return new Proxy({} as Visit['holder'], {
    get: (_target, name) => c.get(name as never),
    set: (_target, name, value) => {
      c.set(name as never, value as never);
      return true;
    },
  });
}
