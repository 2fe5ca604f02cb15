import type { IncomingMessage, ServerResponse } from 'node:http';
import { type Guard, type GuardOptions, type RequireUserOptions, recencyGuard, userGuard } from './http/guards/guards';
import type { Refusal } from './http/guards/refusal';
import { type SessionMiddlewareOptions, sessionPolicy } from './http/session/middleware-options';
import { type SessionContext, SessionPlace } from './http/session/session-place';
import type { TokenManager } from './manager/token-manager';
import { cutOff, sendJson } from './node-http/node-answer';
import { isResponse, NodeExchange } from './node-http/node-exchange';

export type { GuardOptions, RequireUserOptions } from './http/guards/guards';
export * from './http/index';

declare global {
  namespace Express {
    /** `session`, or the property that `Register` names. Present after `sessionMiddleware()`. */
    interface Request extends SessionContext {}
  }
}

/** The used part of Express's request. Its own type would widen `req.params` in handlers behind a middleware. */
interface ExpressRequest extends IncomingMessage {
  readonly secure: boolean | undefined;
  readonly ip: string | undefined;
  readonly app: { get(setting: string): unknown };
}

/** A middleware of Express. */
export type ExpressMiddleware = (req: ExpressRequest, res: ServerResponse, next: (error?: unknown) => void) => void;

/**
 * Puts `req.session` on every request, for Express 5 and 4. By default it takes tokens from `Authorization: Bearer`,
 * and from the cookie `__Host-session` (`session` where a request isn't secure). A request without a signed token costs
 * no call to the store; one with a token costs one. Mounted twice with one manager, it works once, with the options of
 * the first; at two properties, requests fail with a TypeError. A request without a response, such as that of an
 * `upgrade`, is anonymous.
 *
 * While the store can't answer, a request with a token fails with a `SessionError` of status 503. An unsafe request of
 * another origin with a token in the cookie fails with one of status 403. These errors go to Express's error handling.
 *
 * @throws TypeError for an option that is unknown or of the wrong kind.
 * @example
 * app.use(sessionMiddleware(manager));
 */
export function sessionMiddleware<Detail>(
  manager: TokenManager<Detail>,
  options?: SessionMiddlewareOptions,
): ExpressMiddleware {
  const policy = sessionPolicy(manager, options);
  const place = SessionPlace.of('req', policy.property);
  return (req, res, next) => {
    let opened: Promise<void> | undefined;
    try {
      opened = place.open(req, policy, new ExpressExchange(req, res, next));
    } catch (error) {
      return next(error);
    }
    if (opened === undefined) return next();
    opened.then(() => next(), next);
  };
}

const NOT_EXPRESS =
  'tokensession/express needs a request of Express: mount it in an Express application, with app.use()';

/**
 * Requires a signed-in user. Other requests get 401 as JSON, `{ "error": "unauthenticated" }`. The answer has the
 * `reason` when a signed token came that is not live, and the `message` given when its session ended. With
 * `redirectTo`, browsers are redirected to the login page.
 *
 * @throws TypeError for an option that is unknown or of the wrong kind.
 * @example
 * app.get('/me', requireUser(), (req, res) => res.json(req.session.user));
 */
export function requireUser(options?: RequireUserOptions): ExpressMiddleware {
  return middlewareOf(userGuard(options));
}

/**
 * Requires a login or a `req.session.reauthenticated()` within `seconds`. Other requests get 403 as JSON, `{ "error":
 * "reauthentication_required" }`; without a user, the answer of `requireUser()`. Refuses sessions with an `actor`. Asks
 * the store, never the near cache.
 *
 * @throws TypeError or RangeError when `seconds` is not a positive whole number, and for an option that is unknown.
 */
export function requireRecentLogin(seconds: number, options?: GuardOptions): ExpressMiddleware {
  return middlewareOf(recencyGuard(seconds, options));
}

function middlewareOf(guard: Guard): ExpressMiddleware {
  return (req, res, next) => {
    let refusal: ReturnType<Guard>;
    try {
      refusal = guard(req);
    } catch (error) {
      return next(error);
    }
    // An answer that throws must not end the process: another handler may have set what HTTP can't carry.
    if (refusal instanceof Promise) refusal.then((judged) => answer(judged, res, next)).catch(next);
    else answer(refusal, res, next);
  };
}

function answer(refusal: Refusal | null, res: ServerResponse, next: () => void): void {
  if (refusal === null) next();
  else if (!cutOff(res)) sendJson(res, refusal.status, refusal.headers, refusal.body);
}

class ExpressExchange extends NodeExchange {
  readonly #req: ExpressRequest;
  readonly #next: (error: Error) => void;
  readonly isSecure: boolean;

  constructor(req: ExpressRequest, res: ServerResponse, next: (error: Error) => void) {
    super(req, res);
    const { secure } = req;
    if (secure === undefined && isResponse(res)) throw new TypeError(NOT_EXPRESS);
    this.#req = req;
    this.#next = next;
    this.isSecure = secure === true;
  }

  ip(): string | undefined {
    return this.#req.ip;
  }

  divertAnswer(error: Error): void {
    this.divertTo(this.#next, error);
  }

  /** Express 5's `req.host`, which Express 4 gives without the port. */
  host(): string | undefined {
    const { headers, app, socket } = this.#req;
    const forwarded = headers['x-forwarded-host']?.toString();
    const isTrusted: unknown = app.get('trust proxy fn');
    if (!forwarded || typeof isTrusted !== 'function' || !isTrusted(socket.remoteAddress, 0)) return headers.host;
    return forwarded.split(',', 1)[0]?.trim();
  }
}
