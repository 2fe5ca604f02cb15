import type { RequestHandler } from 'express';
import { SessionError } from '../core/errors';
import type { TokenManager } from '../core/token-manager';
import type { RegisteredDetail } from '../core/types';
import { RequestSession, refusalOf, type SessionMiddlewareOptions, sessionPolicy } from './request-session';

export type { CookieOptions } from '../transport/cookie';
export type { HeaderOption } from '../transport/header';
export type { LoginOptions, LogoutOptions, RequestSession, SessionMiddlewareOptions } from './request-session';

declare global {
  namespace Express {
    interface Request {
      /** Whoever makes this request. There once `sessionMiddleware()` has run. */
      session: RequestSession<RegisteredDetail>;
    }
  }
}

/**
 * Puts `req.session` on every request, for Express 5 and 4. A request without a signed token costs no call to the store, one with a
 * token costs one.
 *
 * While the store can't answer, a request with a token goes to Express's error handling as a {@link SessionError} of status 503.
 *
 * @throws TypeError for an option that is unknown or of the wrong kind.
 */
export function sessionMiddleware<Detail>(
  manager: TokenManager<Detail>,
  options?: SessionMiddlewareOptions,
): RequestHandler {
  const policy = sessionPolicy(manager, options);
  return (req, res, next) => {
    const session = new RequestSession(policy, { req, res, secure: req.secure, ip: req.ip });
    req.session = session as RequestSession<RegisteredDetail>;
    const opened = session.open();
    if (opened === undefined) return next();
    opened.then(
      () => next(),
      (error) => {
        if (error instanceof SessionError && error.headers) res.set(error.headers);
        next(error);
      },
    );
  };
}

/** Lets a request on only when somebody is signed in. Others get 401 as JSON, `{ "error": "unauthenticated" }`. */
export function requireUser(): RequestHandler {
  return (req, res, next) => {
    const refusal = refusalOf(req.session);
    if (refusal === null) return next();
    res.set(refusal.headers);
    if (refusal instanceof SessionError) return next(refusal);
    res.status(refusal.status).json(refusal.body);
  };
}
