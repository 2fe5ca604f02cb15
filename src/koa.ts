import type { Context, DefaultState, ExtendableContext, Middleware, Next } from 'koa';
import { type Guard, type RequireUserOptions, recencyGuard, userGuard } from './http/guards';
import { type SessionMiddlewareOptions, sessionPolicy } from './http/middleware-options';
import type { RegisteredProperty } from './http/property';
import type { Refusal } from './http/refusal';
import { type SessionContext, SessionPlace } from './http/session-place';
import type { TokenManager } from './manager/token-manager';
import type { User } from './manager/types';
import { NodeExchange, setRefusalHeaders } from './node-http/node-exchange';

export * from './http/index';

declare module 'koa' {
  /** `session`, or what `Register` names: there once `sessionMiddleware()` has run. */
  interface DefaultContext extends SessionContext {}
}

/** What `requireUser()` adds to a context, at `session` or what `Register` names: the user is there. */
export type SignedInContext = { [Key in RegisteredProperty]: { readonly user: User<unknown>; readonly id: string } };

/**
 * Puts `ctx.session` on every request, for Koa 3 and 2. Without options it takes tokens from `Authorization: Bearer`
 * and from the cookie `__Host-session`, or `session` where a request isn't secure. A request without a signed token
 * costs no call to the store, one with a token costs one. Mounted twice with one manager, it works once: the first
 * one's options hold. A context without a response, such as that of a WebSocket, is anonymous.
 *
 * While the store can't answer, a request with a token rejects with a `SessionError` of status 503, which Koa answers
 * with, and an unsafe request of another origin with a token in the cookie with one of status 403.
 *
 * @throws TypeError for an option that is unknown or of the wrong kind.
 * @example
 * app.use(sessionMiddleware(manager));
 */
export function sessionMiddleware<Detail, Property extends string = 'session'>(
  manager: TokenManager<Detail>,
  options?: SessionMiddlewareOptions<Property>,
): Middleware<DefaultState, SessionContext<Detail, Property>> {
  const policy = sessionPolicy(manager, options);
  const place = SessionPlace.of('ctx', policy.property);
  return (ctx, next) => {
    const opened = place.open(ctx, policy, new KoaExchange(ctx));
    return opened === undefined ? next() : opened.then(next);
  };
}

/**
 * Requires a signed-in user. Other requests get 401 as JSON, `{ "error": "unauthenticated" }`, with the `reason` where
 * a token of ours came that is not live, and the `message` given when its session was ended; or with `redirectTo` a
 * redirect to the login page. In the handlers that are chained behind it, `ctx.session.user` is not `null`.
 *
 * @throws TypeError for an option that is unknown or no path.
 */
export function requireUser(options?: RequireUserOptions): Middleware & Middleware<DefaultState, SignedInContext> {
  return middlewareOf(userGuard(options)) as Middleware & Middleware<DefaultState, SignedInContext>;
}

/**
 * Requires a login or a `ctx.session.reauthenticated()` within `seconds`. Asks the store, never the near cache. Other
 * requests get 403 as JSON, `{ "error": "reauthentication_required" }`; without a user, the answer of `requireUser()`.
 *
 * @throws TypeError or RangeError when `seconds` is not a positive whole number.
 */
export function requireRecentLogin(seconds: number): Middleware {
  return middlewareOf(recencyGuard(seconds));
}

function middlewareOf(guard: Guard): Middleware {
  return (ctx, next) => {
    const refusal = guard(ctx);
    return refusal instanceof Promise
      ? refusal.then((judged) => answer(judged, ctx, next))
      : answer(refusal, ctx, next);
  };
}

function answer(refusal: Refusal | Error | null, ctx: Context, next: Next): Promise<unknown> | undefined {
  if (refusal === null) return next();
  if (refusal instanceof Error) throw refusal;
  setRefusalHeaders(ctx.res, refusal);
  ctx.status = refusal.status;
  ctx.body = refusal.body;
  return undefined;
}

/** A class, because one is made for every request: its methods are made once. */
class KoaExchange extends NodeExchange {
  readonly #ctx: ExtendableContext;
  readonly isSecure: boolean;

  constructor(ctx: ExtendableContext) {
    super(ctx.req, ctx.res);
    this.#ctx = ctx;
    this.isSecure = ctx.secure;
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
