import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Context, DefaultState, ExtendableContext, Middleware, Next } from 'koa';
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

declare module 'koa' {
  interface DefaultContext {
    /** Whoever makes this request. There once `sessionMiddleware()` has run. */
    session: RequestSession<RegisteredDetail>;
  }
}

/** What the middleware adds to a context; `Detail` comes from the manager. */
export interface SessionContext<Detail> {
  session: RequestSession<Detail>;
}

/**
 * Puts `ctx.session` on every request, for Koa 3 and 2. Without options it takes tokens from `Authorization: Bearer` and from the
 * cookie `__Host-session`, or `session` where a request isn't secure. A request without a signed token costs no call to the store, one with a
 * token costs one. Mounted twice with one manager, it works once: the first one's options hold.
 *
 * While the store can't answer, a request with a token rejects with a {@link SessionError} of status 503, which Koa answers with, and
 * an unsafe request of another origin with a token in the cookie with one of status 403.
 *
 * @throws TypeError for an option that is unknown or of the wrong kind.
 */
export function sessionMiddleware<Detail>(
  manager: TokenManager<Detail>,
  options?: SessionMiddlewareOptions,
): Middleware<DefaultState, SessionContext<Detail>> {
  const policy = sessionPolicy(manager, options);
  return (ctx, next) => {
    if (isOpen(ctx.session, manager, 'ctx.session')) return next();
    const session = new RequestSession(policy, new KoaExchange(ctx));
    ctx.session = session;
    const opened = session.open();
    return opened === undefined ? next() : opened.then(next);
  };
}

/**
 * Lets a request on only when somebody is signed in. Others get 401 as JSON, `{ "error": "unauthenticated" }`, with the `reason` where a
 * token of ours came that is not live, and the `message` of whoever ended its session.
 */
export function requireUser(): Middleware {
  return (ctx, next) => answer(refusalOf(ctx.session), ctx, next);
}

/**
 * Lets a request on only when its user has proved who they are, by a login or `ctx.session.reauthenticated()`, in the last so many seconds. Others
 * get 403 as JSON, `{ "error": "reauthentication_required" }`, and whoever isn't signed in what `requireUser()` says.
 *
 * @throws TypeError or RangeError when `seconds` is not a positive whole number.
 */
export function requireRecentLogin(seconds: number): Middleware {
  checkSeconds('seconds', seconds);
  return (ctx, next) => answer(recencyRefusalOf(ctx.session, seconds), ctx, next);
}

function answer(refusal: SessionError | Refusal | null, ctx: Context, next: Next): unknown {
  if (refusal === null) return next();
  if (refusal instanceof SessionError) throw refusal;
  ctx.set(refusal.headers);
  ctx.status = refusal.status;
  ctx.body = refusal.body;
  return undefined;
}

/** A class, because one is made for every request: its methods are made once. */
class KoaExchange implements Exchange {
  readonly #ctx: ExtendableContext;
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  readonly secure: boolean;

  constructor(ctx: ExtendableContext) {
    this.#ctx = ctx;
    this.req = ctx.req;
    this.res = ctx.res;
    this.secure = ctx.secure;
  }

  get url(): string {
    return this.#ctx.originalUrl;
  }

  ip(): string {
    return this.#ctx.ip;
  }

  host(): string {
    return this.#ctx.host;
  }
}
