import type { Context, MiddlewareHandler } from 'hono';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import { checkFunction } from './errors/arguments';
import { SessionError } from './errors/session-error';
import { FetchExchange } from './fetch-http/fetch-exchange';
import { type FetchReply, replyTo } from './fetch-http/fetch-reply';
import type { Connection } from './http/exchange/connection';
import { type Guard, type GuardOptions, type RequireUserOptions, recencyGuard, userGuard } from './http/guards/guards';
import type { OneProperty, RegisteredProperty } from './http/session/middleware-options';
import { type SessionMiddlewareOptions, sessionPolicy } from './http/session/middleware-options';
import { type SessionContext, SessionPlace } from './http/session/session-place';
import type { TokenManager } from './manager/token-manager';
import type { User } from './manager/types';
import { type ClosingResponse, onceClosed } from './node-http/once-closed';

export type { Connection } from './http/exchange/connection';
export type { GuardOptions, RequireUserOptions } from './http/guards/guards';
export * from './http/index';

declare module 'hono' {
  /** `session`, or the variable that `Register` names. Present after `sessionMiddleware()`. */
  interface ContextVariableMap extends SessionContext {}
}

/** Options of `sessionMiddleware()` for Hono. */
export interface HonoSessionOptions<Property extends string = string> extends SessionMiddlewareOptions<Property> {
  /**
   * The facts that a proxy reports about a request: its client's address, whether the client speaks HTTPS, and the host
   * it asked for. Default: the URL, `Host`, and the socket of `@hono/node-server`.
   */
  connection?: ((c: Context) => Connection) | undefined;
}

/** The variables behind a guard: the user is present, at its option `property` or the name in `Register`. */
export type SignedInVariables<Property extends string = RegisteredProperty> = {
  [Key in OneProperty<Property>]: { readonly user: User<unknown>; readonly id: string };
};

/**
 * Puts `c.var.session` on every request, for Hono 4. By default it takes tokens from `Authorization: Bearer`, and from
 * the cookie `__Host-session` (`session` where a request isn't secure). A request without a signed token costs no call
 * to the store; one with a token costs one. Mounted twice with one manager, it works once, with the options of the
 * first; at two properties, requests fail with a TypeError.
 *
 * While the store can't answer, a request with a token fails with a `SessionError` of status 503. An unsafe request of
 * another origin with a token in the cookie fails with one of status 403. Hono's error handling answers with it.
 *
 * @throws TypeError for an option that is unknown or of the wrong kind.
 * @example
 * app.use(sessionMiddleware(manager));
 */
export function sessionMiddleware<Detail, Property extends string = 'session'>(
  manager: TokenManager<Detail>,
  options?: HonoSessionOptions<Property>,
): MiddlewareHandler<{ Variables: SessionContext<Detail, Property> }> {
  const { connection, ...others } = Object(options) as HonoSessionOptions<Property>;
  const policy = sessionPolicy(manager, Object.hasOwn(Object(options), 'connection') ? others : options);
  if (connection !== undefined) checkFunction('option connection', connection);
  const { property } = policy;
  const place = SessionPlace.of('c.var', property);
  return async (context, next) => {
    const c = context as unknown as Context<{ Variables: Record<string, unknown> }>;
    // Throws when another session library owns the variable.
    place.check(c.get(property));
    const reply = replyTo(c);
    const exchange = new HonoExchange(c, connection?.(c), reply);
    // Only the outermost commits, because handlers between two middlewares may still change the session.
    const isOutermost = !reply.hasCommitter;
    reply.hasCommitter = true;
    try {
      const opened = place.open(c, policy, exchange);
      showSession(c, place);
      await opened;
    } catch (error) {
      if (isOutermost) reply.hasCommitter = false;
      // Also for the answer of the application's own error handler, which this middleware does not see.
      const { headers = {} } = error as Partial<SessionError>;
      if (error instanceof SessionError) for (const [name, value] of Object.entries(headers)) c.header(name, value);
      throw error;
    }
    await next();
    if (!isOutermost) return;
    const response = reply.commit(c.res);
    if (response === c.res) return;
    // Otherwise Hono would add the headers of the previous response.
    c.res = undefined;
    c.res = response;
  };
}

/** Sets the variable that holds the session, and refuses other values there. */
function showSession(c: Context<{ Variables: Record<string, unknown> }>, place: SessionPlace): void {
  const { property } = place;
  const shown = () => place.sessionOf(c);
  if (c.get(property) === shown()) return;
  const { set } = c;
  c.set = (name: string, value: unknown) => {
    if (name === property && value !== shown()) {
      throw new TypeError(
        `c.var.${property} is tokensession's and takes nothing else: call its login() or logout(). Another session library needs a variable of its own, or name one here with the option property`,
      );
    }
    set(name, value);
  };
  c.set(property, shown());
}

/**
 * Requires a signed-in user. Other requests get 401 as JSON, `{ "error": "unauthenticated" }`. The answer has the
 * `reason` when a signed token came that is not live, and the `message` given when its session ended. With
 * `redirectTo`, browsers are redirected to the login page. In the handlers chained behind it, `c.var.session.user` is
 * not `null`.
 *
 * @throws TypeError for an option that is unknown or of the wrong kind.
 */
export function requireUser<Property extends string = RegisteredProperty>(
  options?: RequireUserOptions<Property>,
): MiddlewareHandler<{ Variables: SignedInVariables<Property> }> {
  return middlewareOf(userGuard(options));
}

/**
 * Requires a login or a `c.var.session.reauthenticated()` within `seconds`. Other requests get 403 as JSON, `{ "error":
 * "reauthentication_required" }`; without a user, the answer of `requireUser()`. Refuses sessions with an `actor`. Asks
 * the store, never the near cache.
 *
 * @throws TypeError or RangeError when `seconds` is not a positive whole number, and for an option that is unknown.
 */
export function requireRecentLogin<Property extends string = RegisteredProperty>(
  seconds: number,
  options?: GuardOptions<Property>,
): MiddlewareHandler<{ Variables: SignedInVariables<Property> }> {
  return middlewareOf(recencyGuard(seconds, options));
}

function middlewareOf(guard: Guard): MiddlewareHandler {
  return async (c, next) => {
    const refusal = await guard(c);
    if (refusal === null) return next();
    for (const [name, value] of Object.entries(refusal.headers)) c.header(name, value, { append: name === 'Vary' });
    return c.json(refusal.body, refusal.status as ContentfulStatusCode);
  };
}

/** The bindings of `@hono/node-server`. */
interface NodeBindings {
  incoming?: {
    url?: string;
    originalUrl?: string;
    socket?: Parameters<typeof onceClosed>[0] & { remoteAddress?: string };
  };
  outgoing?: ClosingResponse & { headersSent?: boolean };
}

class HonoExchange extends FetchExchange {
  readonly #reply: FetchReply;
  readonly #node: NodeBindings;

  constructor(c: Context, connection: Connection | undefined, reply: FetchReply) {
    super(c.req.raw, connection, reply);
    this.#reply = reply;
    this.#node = (c.env as NodeBindings | undefined) ?? {};
  }

  /** `mount()` takes the path of the mounted application out of the URL. Elsewhere than on Node, it leaves no trace. */
  override get url(): string {
    const { incoming } = this.#node;
    const url = incoming?.originalUrl ?? incoming?.url;
    return url?.startsWith('/') ? url : super.url;
  }

  protected override get remoteAddress(): string | undefined {
    return this.#node.incoming?.socket?.remoteAddress;
  }

  override isTooLate(): boolean {
    const { incoming, outgoing } = this.#node;
    if (!this.#reply.hasCommitter) return true;
    return super.isTooLate() || outgoing?.headersSent === true || incoming?.socket?.destroyed === true;
  }

  override onClose(listener: () => void): void {
    const { incoming, outgoing } = this.#node;
    const socket = incoming?.socket;
    if (outgoing?.once !== undefined) onceClosed(socket, outgoing, listener);
    // An upgrade has no response on Node: what it opens lasts as long as its connection.
    else if (socket?.once === undefined) super.onClose(listener);
    else if (socket.destroyed) listener();
    else socket.once('close', listener);
  }
}
