import type { IncomingMessage, ServerResponse } from 'node:http';
import { inspect } from 'node:util';
import { isUnavailable, SessionError } from '../core/errors';
import { checkAttributes, checkBoolean, checkOptions, kindOf, MAX_ATTRIBUTE_LENGTH } from '../core/options';
import { TokenManager } from '../core/token-manager';
import type { Session, SessionAttributes, User } from '../core/types';
import { type CookieOptions, type CookieTransport, cookieTransport } from '../transport/cookie';
import { type HeaderOption, type HeaderTransport, headerTransport } from '../transport/header';

export interface SessionMiddlewareOptions {
  /** The cookie that carries the token, or `false` for none. Default: see {@link CookieOptions}. */
  cookie?: CookieOptions | false | undefined;
  /** The header that may carry the token, before the cookie: `'authorization'` (default, `Bearer`), another name, or `false` for none. */
  header?: HeaderOption | undefined;
  /**
   * What becomes of a request with a token while the store can't answer. `'error'` (default): 503 with `Retry-After`.
   * `'anonymous'`: it goes on with nobody signed in; only `requireUser()` answers 503.
   */
  onUnavailable?: 'error' | 'anonymous' | undefined;
}

const OPTIONS: Record<keyof SessionMiddlewareOptions, true> = { cookie: true, header: true, onUnavailable: true };

export interface LoginOptions {
  /** Seconds the session lives without a request. Default: the manager's `ttl`. */
  ttl?: number | undefined;
  /** Kept with the session. `ip` and `userAgent` are taken from the request unless given; `undefined` keeps neither. */
  attributes?: SessionAttributes | undefined;
}

const LOGIN_OPTIONS: Record<keyof LoginOptions, true> = { ttl: true, attributes: true };

export interface LogoutOptions {
  /** Whether all sessions of the user end, not this one alone. Default false. */
  everywhere?: boolean | undefined;
}

const LOGOUT_OPTIONS: Record<keyof LogoutOptions, true> = { everywhere: true };

/** A request and its response, and what only the framework can tell of them. */
export interface Exchange {
  req: IncomingMessage;
  res: ServerResponse;
  /** Whether the client speaks HTTPS, by the framework's trust-proxy rule. */
  secure: boolean;
  /** The client's address, by the same rule. Asked for at a login only: it is dear to find out. */
  ip(): string | undefined;
}

/** What one `sessionMiddleware()` was set up with. */
export interface SessionPolicy<Detail> {
  manager: TokenManager<Detail>;
  cookie: CookieTransport | null;
  header: HeaderTransport | null;
  onUnavailable: 'error' | 'anonymous';
}

/** @throws TypeError naming the argument or option that is unknown, of the wrong kind, or refused by browsers. */
export function sessionPolicy<Detail>(
  manager: TokenManager<Detail>,
  options: SessionMiddlewareOptions | undefined,
): SessionPolicy<Detail> {
  if (!(manager instanceof TokenManager)) {
    throw new TypeError(`sessionMiddleware needs a TokenManager, got ${kindOf(manager)}`);
  }
  const { cookie, header, onUnavailable = 'error' } = checkOptions('sessionMiddleware', options, OPTIONS);
  if (onUnavailable !== 'error' && onUnavailable !== 'anonymous') {
    throw new TypeError("option onUnavailable must be 'error' or 'anonymous'");
  }
  const policy: SessionPolicy<Detail> = {
    manager,
    cookie: cookieTransport(cookie, manager.absoluteTtl),
    header: headerTransport(header),
    onUnavailable,
  };
  if (policy.cookie === null && policy.header === null) {
    throw new TypeError('options cookie and header must not both be false: no token could ever arrive');
  }
  return policy;
}

/** Whoever makes the request: `req.session` in Express, `ctx.session` in Koa. Prints and serialises without its token. */
export class RequestSession<Detail = unknown> {
  readonly #policy: SessionPolicy<Detail>;
  readonly #exchange: Exchange;
  readonly #headerToken: string | undefined;
  readonly #cookieToken: string | undefined;
  #session: Session<Detail> | null = null;
  #outage: SessionError | null = null;

  /** @internal */
  constructor(policy: SessionPolicy<Detail>, exchange: Exchange) {
    const { headers } = exchange.req;
    this.#policy = policy;
    this.#exchange = exchange;
    this.#headerToken = policy.header?.read(headers);
    this.#cookieToken = policy.cookie?.read(headers.cookie, exchange.secure);
    // What is put here would be gone with the request: better an error than a cart that loses its things.
    Object.preventExtensions(this);
  }

  /** Who is signed in; `null` when nobody is. */
  get user(): User<Detail> | null {
    return this.#session?.user ?? null;
  }

  /** The public id of the session, as `listUserSessions` shows it. */
  get id(): string | null {
    return this.#session?.id ?? null;
  }

  /** What the client signs in with: a secret. */
  get token(): string | null {
    return this.#session?.token ?? null;
  }

  /** When the user logged in. */
  get createdAt(): Date | null {
    return this.#session?.createdAt ?? null;
  }

  /** When the session ends unless another request comes first. */
  get expiresAt(): Date | null {
    return this.#session?.expiresAt ?? null;
  }

  /**
   * Signs a user in: starts a session, ends those whose tokens came with the request, sets the cookie.
   *
   * @returns the new token, for clients that send it in a header.
   * @throws SessionError when no session could be stored (the cookie is untouched), `ERR_USER_NOT_FOUND` when `getUserInfo` knows no
   * such user, `ERR_HEADERS_SENT` when it is too late for a cookie. TypeError or RangeError for an argument of the wrong kind.
   */
  async login(userId: string, options?: LoginOptions): Promise<string> {
    const { manager, cookie } = this.#policy;
    const { res, secure } = this.#exchange;
    const { ttl, attributes } = checkOptions('login', options, LOGIN_OPTIONS);
    checkAttributes(attributes);
    if (cookie !== null && res.headersSent) throw headersSent();
    const session = await manager.createSession(userId, {
      ttl,
      attributes: checkAttributes({ ...this.#origin(), ...attributes }),
      replaces: this.#tokens(),
    });
    if (cookie !== null && res.headersSent) {
      await manager.deleteToken(session.token);
      throw headersSent();
    }
    cookie?.write(res, session.token, secure);
    this.#session = session;
    this.#outage = null;
    return session.token;
  }

  /**
   * Signs out: ends the sessions whose tokens came with the request or were issued during it, and clears the cookie. Does nothing
   * when there are none.
   *
   * @throws SessionError when the store can't be asked, or couldn't be asked whose sessions to end: then they may live on, and the
   * cookie is untouched.
   */
  async logout(options?: LogoutOptions): Promise<void> {
    const { manager, cookie } = this.#policy;
    const { res, secure } = this.#exchange;
    const { everywhere = false } = checkOptions('logout', options, LOGOUT_OPTIONS);
    checkBoolean('everywhere', everywhere);
    if (everywhere && this.#outage !== null) throw this.#outage;
    const tokens = this.#tokens();
    const isEverywhere = everywhere && this.#session !== null;
    const others = isEverywhere ? tokens.filter((token) => token !== this.#session?.token) : tokens;
    await Promise.all([
      isEverywhere && manager.deleteUserToken(this.#session?.user.id ?? ''),
      ...others.map((token) => manager.deleteToken(token)),
    ]);
    const isCookieOurs = this.#session !== null || manager.isToken(this.#cookieToken);
    if (isCookieOurs && !res.headersSent) cookie?.clear(res, secure);
    this.#session = null;
  }

  /** Everything but the token. */
  toJSON(): { user: User<Detail> | null; id: string | null; createdAt: Date | null; expiresAt: Date | null } {
    return { user: this.user, id: this.id, createdAt: this.createdAt, expiresAt: this.expiresAt };
  }

  [inspect.custom](): unknown {
    return this.toJSON();
  }

  /**
   * Finds out who makes the request. Gives nothing when there is nothing to ask the store.
   *
   * @internal
   */
  open(): Promise<void> | undefined {
    const token = this.#headerToken ?? this.#cookieToken;
    return token === undefined ? undefined : this.#check(token);
  }

  /**
   * Why somebody who has to be signed in can't go on; `null` when they are.
   *
   * @internal
   */
  refusal(): SessionError | Refusal | null {
    if (this.#session !== null) return null;
    if (this.#outage !== null) return this.#outage;
    const challenge = this.#policy.header?.challenge;
    return {
      status: 401,
      headers: challenge === undefined ? {} : { 'WWW-Authenticate': challenge },
      body: { error: 'unauthenticated' },
    };
  }

  async #check(token: string): Promise<void> {
    const { manager, cookie, onUnavailable } = this.#policy;
    const { res, secure } = this.#exchange;
    try {
      this.#session = await manager.touchToken(token);
    } catch (error) {
      if (onUnavailable === 'error' || !isUnavailable(error)) throw error;
      this.#outage = error;
      return;
    }
    const isDead = this.#session === null && this.#headerToken === undefined && manager.isToken(token);
    if (isDead && !res.headersSent) cookie?.clear(res, secure);
  }

  /** The tokens that came with the request, and the one it is signed in with by now. */
  #tokens(): string[] {
    const tokens = [this.#headerToken, this.#cookieToken, this.#session?.token];
    return [...new Set(tokens.filter((token) => token !== undefined))];
  }

  /** What the client says is cut to length rather than refused: a login must not fail for a long header. */
  #origin(): SessionAttributes {
    const { req, ip } = this.#exchange;
    return {
      ip: ip()?.slice(0, MAX_ATTRIBUTE_LENGTH),
      userAgent: req.headers['user-agent']?.slice(0, MAX_ATTRIBUTE_LENGTH),
    };
  }
}

/** Refuses to take a place that another middleware has taken: each would find the other's object there, and break on it. */
export function refuseIfTaken(holder: { session?: unknown }, name: string): void {
  if (holder.session !== undefined && !(holder.session instanceof RequestSession)) {
    throw new TypeError(
      `${name} is taken by another middleware (express-session, koa-session?): only one of them can have it`,
    );
  }
}

/** How a request is turned away. */
export interface Refusal {
  status: number;
  headers: Record<string, string>;
  body: { error: string };
}

/** The answer of `requireUser()`; `null` when the request may go on. */
export function refusalOf(session: unknown): SessionError | Refusal | null {
  if (!(session instanceof RequestSession)) throw new TypeError('requireUser() needs sessionMiddleware() before it');
  return session.refusal();
}

function headersSent(): SessionError {
  return new SessionError('ERR_HEADERS_SENT', 'login() came after the response had begun: its cookie could not be set');
}
