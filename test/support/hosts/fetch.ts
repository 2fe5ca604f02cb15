import type { IncomingMessage, ServerResponse } from 'node:http';
import { SessionError } from 'tokensession';
import * as forFetch from 'tokensession/fetch';
import {
  type DirectRequest,
  deletedCookie,
  forwarded,
  type Host,
  openerOptions,
  RECENT,
  statusOf,
  type Visit,
} from './host';

export const fetchHost: Host = {
  hasMiddleware: false,
  hasProperty: false,
  canSwallow: false,
  isNode: false,
  takesAnyHost: true,
  forwardedHost: 'first',
  takesStatusMessages: false,
  begin: (session) => void (session as forFetch.FetchSession).commit(new Response('begun')),
  requireUser: (...given) => forFetch.requireUser(...(given as Parameters<typeof forFetch.requireUser>)),
  requireRecentLogin: (...given) =>
    forFetch.requireRecentLogin(...(given as Parameters<typeof forFetch.requireRecentLogin>)),
  build({ mounts, trustProxy = false, guardOf, handle }) {
    const openers = mounts.map(({ manager, options }) => forFetch.sessionOpener(manager, openerOptions(options)));
    const answer = async (request: Request, req: IncomingMessage, res: ServerResponse): Promise<Response> => {
      const sessions: forFetch.FetchSession<unknown>[] = [];
      const commit = (response: Response) => sessions.reduce((last, session) => session.commit(last), response);
      try {
        const holder = {} as Visit['holder'];
        for (const [index, open] of openers.entries()) {
          const session = await open(request, trustProxy ? forwarded(req) : { ip: req.socket.remoteAddress });
          sessions.push(session);
          (holder as Record<string, unknown>)[mounts[index]?.options?.property ?? 'session'] = session;
        }
        const session = holder.session ?? (sessions[0] as forFetch.FetchSession<unknown>);
        const { pathname: path, searchParams: query } = new URL(request.url);
        const guard = guardOf(path);
        if (guard === 'user') forFetch.requireUser(session);
        if (guard === 'page') forFetch.requireUser(session, { redirectTo: '/login' });
        if (guard === 'recent') await forFetch.requireRecentLogin(session, RECENT);
        const headers = new Headers();
        const setHeader = (name: string, value: string) => headers.set(name, value);
        const clearCookie = (name: string, at: string) => headers.append('Set-Cookie', deletedCookie(name, at));
        const body = await handle({ req, res, path, query, holder, session, clearCookie, setHeader });
        return commit(Response.json(body ?? null, { headers }));
      } catch (error) {
        if (error instanceof SessionError) return commit(error.getResponse());
        return commit(new Response('Internal Server Error', { status: statusOf(error) }));
      }
    };
    return (req, res) => {
      const leaving = new AbortController();
      res.once('close', () => leaving.abort());
      answer(requestOf(req, leaving.signal), req, res).then(async (response) => {
        if (res.headersSent) return;
        res.statusCode = response.status;
        for (const [name, value] of response.headers) if (name !== 'set-cookie') res.setHeader(name, value);
        const cookies = response.headers.getSetCookie();
        if (cookies.length > 0) res.setHeader('Set-Cookie', cookies);
        res.end(await response.text());
      });
    };
  },
  direct(manager, options) {
    const open = forFetch.sessionOpener(manager, options);
    return async (request) => {
      const session = await open(directRequest(request));
      return { session, setCookie: async () => session.commit(new Response()).headers.getSetCookie() };
    };
  },
};

function requestOf(req: IncomingMessage, signal: AbortSignal): Request {
  const headers = new Headers();
  for (let i = 0; i < req.rawHeaders.length; i += 2) {
    headers.append(req.rawHeaders[i] as string, req.rawHeaders[i + 1] as string);
  }
  const method = req.method as string;
  return new Request(new URL(`http://app${req.url}`), { method, headers, signal });
}

/** Not a `Request`, which accepts neither every header value nor an invalid method. */
export function directRequest({ method, url, secure, headers }: DirectRequest): forFetch.FetchRequest {
  const get = (name: string) => (Object.hasOwn(headers, name) ? (headers[name]?.toString() ?? null) : null);
  return { method, url: `${secure ? 'https' : 'http'}://app${url}`, headers: { get } as Headers };
}
