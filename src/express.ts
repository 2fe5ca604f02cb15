import type { IncomingMessage, ServerResponse } from 'node:http';
import { SessionError } from './errors/session-error';
import { checkSeconds } from './errors/arguments';
import type { TokenManager } from './manager/token-manager';
import type { RegisteredDetail } from './manager/types';
import type { Exchange } from './http/exchange';
import { isOpen, recencyRefusalOf, refusalOf } from './http/guards';
import { type SessionMiddlewareOptions, sessionPolicy } from './http/middleware-options';
import type { Refusal } from './http/refusal';
import { RequestSession } from './http/request-session';

export type { CookieOptions } from './http/cookie-options';
export type { HeaderOption } from './http/token-header';
export type { SiteData } from './http/clear-site-data';
export type { SessionMiddlewareOptions } from './http/middleware-options';
export type { RequestSession } from './http/request-session';
export type { LoginOptions, LogoutOptions } from './http/login-options';

declare global {
  namespace Express {
    interface Request {
      /** Whoever makes this request. There once `sessionMiddleware()` has run. */
      session: RequestSession<RegisteredDetail>;
    }
  }
}

/** As much of Express's request as is used here. Its own type would widen `req.params` for the handlers behind a middleware. */
interface ExpressRequest extends IncomingMessage {
  readonly secure: boolean;
  readonly ip: string | undefined;
  readonly originalUrl: string;
  readonly app: { get(setting: string): unknown };
  /** What `cookie-parser` puts there. */
  readonly cookies?: unknown;
  session?: unknown;
}

/** A handler that takes its place before others. */
export type ExpressMiddleware = (req: ExpressRequest, res: ServerResponse, next: (error?: unknown) => void) => void;

/**
 * Puts `req.session` on every request, for Express 5 and 4. Without options it takes tokens from `Authorization: Bearer` and from the
 * cookie `__Host-session`, or `session` where a request isn't secure. A request without a signed token costs no call to the store, one with a
 * token costs one. Mounted twice with one manager, it works once: the first one's options hold.
 *
 * While the store can't answer, a request with a token goes to Express's error handling as a {@link SessionError} of status 503, and
 * an unsafe request of another origin with a token in the cookie as one of status 403.
 *
 * @throws TypeError for an option that is unknown or of the wrong kind.
 */
export function sessionMiddleware<Detail>(
  manager: TokenManager<Detail>,
  options?: SessionMiddlewareOptions,
): ExpressMiddleware {
  const policy = sessionPolicy(manager, options);
  return (req, res, next) => {
    if (isOpen(req.session, manager, 'req.session')) return next();
    const session = new RequestSession(policy, new ExpressExchange(req, res));
    req.session = session;
    const opened = session.open();
    if (opened === undefined) return next();
    opened.then(
      () => next(),
      (error: unknown) => {
        if (error instanceof SessionError) setHeaders(res, error.headers);
        next(error);
      },
    );
  };
}

/**
 * Lets a request on only when somebody is signed in. Others get 401 as JSON, `{ "error": "unauthenticated" }`, with the `reason` where a
 * token of ours came that is not live, and the `message` of whoever ended its session.
 */
export function requireUser(): ExpressMiddleware {
  return (req, res, next) => answer(refusalOf(req.session), res, next);
}

/**
 * Lets a request on only when its user has proved who they are, by a login or `req.session.reauthenticated()`, in the last so many seconds. Others
 * get 403 as JSON, `{ "error": "reauthentication_required" }`, and whoever isn't signed in what `requireUser()` says.
 *
 * @throws TypeError or RangeError when `seconds` is not a positive whole number.
 */
export function requireRecentLogin(seconds: number): ExpressMiddleware {
  checkSeconds('seconds', seconds);
  return (req, res, next) => answer(recencyRefusalOf(req.session, seconds), res, next);
}

function answer(refusal: SessionError | Refusal | null, res: ServerResponse, next: (error?: unknown) => void): void {
  setHeaders(res, refusal?.headers);
  if (refusal === null) next();
  else if (refusal instanceof SessionError) next(refusal);
  else if (!res.headersSent) {
    res.statusCode = refusal.status;
    res.setHeader('Content-Type', 'application/json; charset=utf-8');
    res.end(JSON.stringify(refusal.body));
  }
}

/** A class, because one is made for every request: its methods are made once. */
class ExpressExchange implements Exchange {
  readonly secure: boolean;

  constructor(
    readonly req: ExpressRequest,
    readonly res: ServerResponse,
  ) {
    this.secure = req.secure;
  }

  get url(): string {
    return this.req.originalUrl;
  }

  get cookies(): unknown {
    return this.req.cookies;
  }

  ip(): string | undefined {
    return this.req.ip;
  }

  /** Express 5's `req.host`, which Express 4 gives without the port. */
  host(): string | undefined {
    const { headers, app, socket } = this.req;
    const forwarded = headers['x-forwarded-host']?.toString();
    const isTrusted: unknown = app.get('trust proxy fn');
    if (!forwarded || typeof isTrusted !== 'function' || !isTrusted(socket.remoteAddress, 0)) return headers.host;
    return forwarded.split(',', 1)[0]?.trim();
  }
}

/** None any more on a response that somebody else has begun meanwhile: a middleware with a time limit, say. */
function setHeaders(res: ServerResponse, headers: Readonly<Record<string, string>> = {}): void {
  if (res.headersSent) return;
  for (const [name, value] of Object.entries(headers)) res.setHeader(name, value);
}
