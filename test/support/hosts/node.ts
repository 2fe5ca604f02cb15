import type { IncomingMessage, ServerResponse } from 'node:http';
import { SessionError } from 'tokensession';
import * as forNode from 'tokensession/node';
import {
  type AnySession,
  cookiesOf,
  deletedCookie,
  exchange,
  forwarded,
  type Host,
  openerOptions,
  RECENT,
  statusOf,
  type Visit,
  write,
} from './host';

export const nodeHost: Host = {
  hasMiddleware: false,
  hasProperty: false,
  canSwallow: false,
  isNode: true,
  takesAnyHost: true,
  forwardedHost: 'first',
  takesStatusMessages: true,
  begin: write,
  requireUser: (...given) => forNode.requireUser(...(given as Parameters<typeof forNode.requireUser>)),
  requireRecentLogin: (...given) =>
    forNode.requireRecentLogin(...(given as Parameters<typeof forNode.requireRecentLogin>)),
  build({ mounts, trustProxy = false, guardOf, handle }) {
    const openers = mounts.map(({ manager, options }) => forNode.sessionOpener(manager, openerOptions(options)));
    const answer = async (req: IncomingMessage, res: ServerResponse) => {
      const holder = {} as Visit['holder'];
      for (const [index, open] of openers.entries()) {
        const session = await open(req, res, trustProxy ? forwarded(req) : undefined);
        (holder as Record<string, unknown>)[mounts[index]?.options?.property ?? 'session'] = session;
      }
      const session = holder.session ?? (Object.values(holder)[0] as AnySession);
      const { pathname: path, searchParams: query } = new URL(req.url ?? '/', 'http://app');
      const guard = guardOf(path);
      if (guard === 'user') forNode.requireUser(session);
      if (guard === 'page') forNode.requireUser(session, { redirectTo: '/login' });
      if (guard === 'recent') await forNode.requireRecentLogin(session, RECENT);
      const setHeader = (name: string, value: string) => void res.setHeader(name, value);
      const clearCookie = (name: string, at: string) => void res.appendHeader('Set-Cookie', deletedCookie(name, at));
      const body = await handle({ req, res, path, query, holder, session, clearCookie, setHeader });
      if (res.headersSent) return;
      res.setHeader('Content-Type', 'application/json');
      res.end(JSON.stringify(body ?? null));
    };
    return (req, res) => {
      answer(req, res).catch((error) => {
        if (error instanceof SessionError) return forNode.sendError(res, error);
        if (res.headersSent) return res.destroy();
        res.statusMessage = '';
        res.writeHead(statusOf(error)).end();
      });
    };
  },
  direct(manager, options) {
    const open = forNode.sessionOpener(manager, options);
    return async (request) => {
      const { req, res } = exchange(request);
      return { session: await open(req, res, { secure: request.secure }), setCookie: () => cookiesOf(res) };
    };
  },
};
