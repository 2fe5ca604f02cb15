import type { Context, DefaultState, ExtendableContext, Middleware, Next } from 'koa';
import { type Guard, type GuardOptions, type RequireUserOptions, recencyGuard, userGuard } from './http/guards/guards';
import type { Refusal } from './http/guards/refusal';
import type { OneProperty, RegisteredProperty } from './http/session/middleware-options';
import { type SessionMiddlewareOptions, sessionPolicy } from './http/session/middleware-options';
import { type SessionContext, SessionPlace } from './http/session/session-place';
import type { TokenManager } from './manager/token-manager';
import type { User } from './manager/types';
import { cutOff, setRefusalHeaders } from './node-http/node-answer';
import { NodeExchange } from './node-http/node-exchange';

export type { GuardOptions, RequireUserOptions } from './http/guards/guards';
export * from './http/index';

declare module 'koa' {
  /** `session`, or the property that `Register` names. Present after `sessionMiddleware()`. */
  interface DefaultContext extends SessionContext {}
}

/** The context behind `requireUser()`: the user is present, at its option `property` or the name in `Register`. */
export type SignedInContext<Property extends string = RegisteredProperty> = {
  [Key in OneProperty<Property>]: { readonly user: User<unknown>; readonly id: string };
};

/**
 * Puts `ctx.session` on every request, for Koa 3 and 2. By default it takes tokens from `Authorization: Bearer`, and
 * from the cookie `__Host-session` (`session` where a request isn't secure). A request without a signed token costs no
 * call to the store; one with a token costs one. Mounted twice with one manager, it works once, with the options of the
 * first; at two properties, requests fail with a TypeError. A context without a response, such as that of a WebSocket,
 * is anonymous.
 *
 * While the store can't answer, a request with a token fails with a `SessionError` of status 503. An unsafe request of
 * another origin with a token in the cookie fails with one of status 403. Koa answers with the status of these errors,
 * unless a handler catches them.
 *
 * @throws TypeError for an option that is unknown or of the wrong kind.
 * @example
 * app.use(sessionMiddleware(manager));
 */
// `const`: `app.use()` expects any context, and TypeScript would take `string` for the property.
export function sessionMiddleware<Detail, const Property extends string = 'session'>(
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
 * Requires a signed-in user. Other requests get 401 as JSON, `{ "error": "unauthenticated" }`. The answer has the
 * `reason` when a signed token came that is not live, and the `message` given when its session ended. With
 * `redirectTo`, browsers are redirected to the login page. In the handlers chained behind it, `ctx.session.user` is not
 * `null`.
 *
 * @throws TypeError for an option that is unknown or of the wrong kind.
 * @example
 * app.use(requireUser());
 */
export function requireUser<Property extends string = RegisteredProperty>(
  options?: RequireUserOptions<Property>,
): Middleware & Middleware<DefaultState, SignedInContext<Property>> {
  return middlewareOf(userGuard(options)) as Middleware & Middleware<DefaultState, SignedInContext<Property>>;
}

/**
 * Requires a login or a `ctx.session.reauthenticated()` within `seconds`. Other requests get 403 as JSON, `{ "error":
 * "reauthentication_required" }`; without a user, the answer of `requireUser()`. Refuses sessions with an `actor`. Asks
 * the store, never the near cache.
 *
 * @throws TypeError or RangeError when `seconds` is not a positive whole number, and for an option that is unknown.
 */
export function requireRecentLogin(seconds: number, options?: GuardOptions): Middleware {
  return middlewareOf(recencyGuard(seconds, options));
}

function middlewareOf(guard: Guard): Middleware {
  return (ctx, next) => {
    const refusal = guard(ctx);
    return refusal instanceof Promise
      ? refusal.then((judged) => answer(judged, ctx, next))
      : answer(refusal, ctx, next);
  };
}

function answer(refusal: Refusal | null, ctx: Context, next: Next): Promise<unknown> | undefined {
  if (refusal === null) return next();
  if (cutOff(ctx.res)) return undefined;
  setRefusalHeaders(ctx.res, refusal.headers);
  ctx.status = refusal.status;
  ctx.body = refusal.body;
  return undefined;
}

class KoaExchange extends NodeExchange {
  readonly #ctx: ExtendableContext;
  readonly isSecure: boolean;

  constructor(ctx: ExtendableContext) {
    super(ctx.req, ctx.res);
    this.#ctx = ctx;
    this.isSecure = ctx.secure;
  }

  /** Also where a router of Express or Connect has mounted the whole application, and shortened `req.url`. */
  override get url(): string {
    return (this.req as { originalUrl?: string }).originalUrl ?? this.#ctx.originalUrl;
  }

  /** Koa says `''` where there is none, as on a Unix socket. */
  ip(): string | undefined {
    return this.#ctx.ip || undefined;
  }

  host(): string {
    return this.#ctx.host;
  }
}
