import { inspect } from 'node:util';
import { isUnavailable, type SessionError } from '../errors/session-error';
import { checkAttributes } from '../errors/arguments';
import { type RequestedSession, withToken } from '../manager/session-view';
import { sessionIdOf } from '../token/token';
import type { EndReason, User } from '../manager/types';
import { type Credentials, candidatesOf, readCredentials } from './request-tokens';
import { crossOriginRefusal } from './origin-check';
import { type Exchange, originOf } from './exchange';
import type { SessionPolicy } from './middleware-options';
import {
  type Ending,
  headersSent,
  loginError,
  type Refusal,
  reauthenticationRequired,
  unauthenticated,
} from './refusal';
import { checkLoginOptions, checkLogoutOptions, type LoginOptions, type LogoutOptions } from './login-options';

const CLEAR_SITE_DATA = 'Clear-Site-Data';

/** What a request does to its session. */
const TOUCH = { touch: true };

/** The same where several cookies came: one of them may be stale by no fault of anybody. */
const TOUCH_ONE_OF_SEVERAL = { touch: true, onReuse: 'ignore' } as const;

/** Whoever makes the request: `req.session` in Express, `ctx.session` in Koa. Prints and serialises without its token. */
export class RequestSession<Detail = unknown> {
  readonly #policy: SessionPolicy<Detail>;
  readonly #exchange: Exchange;
  readonly #credentials: Credentials;
  #session: RequestedSession<Detail> | null = null;
  /** Whether the client has the session's token in its cookie: it came there, or was put there by this response. */
  #isInCookie = false;
  /** Why there is no session although a token of ours came. */
  #ending: Ending | null = null;
  #outage: SessionError | null = null;

  /** @internal */
  constructor(policy: SessionPolicy<Detail>, exchange: Exchange) {
    this.#policy = policy;
    this.#exchange = exchange;
    this.#credentials = readCredentials(policy, exchange);
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

  /** When they last proved who they are: at that login, or in a `reauthenticated()` since. */
  get authenticatedAt(): Date | null {
    return this.#session?.authenticatedAt ?? null;
  }

  /** Why nobody is signed in although a token of ours came; `null` otherwise. */
  get endReason(): EndReason | null {
    return this.#ending?.reason ?? null;
  }

  /** What whoever revoked the session or banned the user had to say; `null` for nothing. */
  get endMessage(): string | null {
    return this.#ending?.message ?? null;
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
   * such user, `ERR_USER_BANNED`, `ERR_TOO_MANY_SESSIONS` with `onLimit: 'reject'`, `ERR_HEADERS_SENT` when it is too late for a cookie. TypeError or RangeError for an argument of the wrong kind.
   */
  async login(userId: string, options?: LoginOptions): Promise<string> {
    const { manager, cookie, header, clearSiteData } = this.#policy;
    const { res, secure } = this.#exchange;
    const { ttl, absoluteTtl, attributes } = checkLoginOptions(options);
    if (cookie !== null && res.headersSent) throw headersSent('login');
    const kept = checkAttributes({ ...originOf(this.#exchange), ...attributes });
    const create = { ttl, absoluteTtl, attributes: kept, replaces: this.#tokens() };
    const session = await manager.createSession(userId, create).catch((error: unknown) => {
      throw loginError(error, header?.challenge);
    });
    if (cookie !== null && this.#isTooLate()) {
      await manager.deleteToken(session.token);
      throw headersSent('login');
    }
    cookie?.write(res, session.token, secure, this.#tossed());
    // What a logout before it has asked the browser to forget, this login has just put there.
    if (clearSiteData !== null && !res.headersSent && res.getHeader(CLEAR_SITE_DATA) === clearSiteData) {
      res.removeHeader(CLEAR_SITE_DATA);
    }
    this.#signIn(session, cookie !== null);
    return session.token;
  }

  /**
   * Gives the session a new token, to be called when what its user may do changes (OWASP Session Management, Renew the Session ID). Sets
   * the cookie where the token came in one. The old token answers for the manager's `rotationGrace`; its use after that ends the session.
   *
   * @returns the new token, for clients that send it in a header: they must use it from now on. `null` when nobody is signed in, or the session
   * has ended during the request.
   * @throws SessionError when the store can't answer; `ERR_HEADERS_SENT` when it is too late for a cookie, and nothing was rotated.
   */
  async rotate(): Promise<string | null> {
    const { manager, cookie } = this.#policy;
    const { res, secure } = this.#exchange;
    const session = this.#session;
    if (session === null) return null;
    if (this.#isInCookie && this.#isTooLate()) throw headersSent('rotate');
    const token = await manager.rotateTokenUnless(() => this.#isInCookie && this.#isTooLate(), session.token);
    if (token === null) {
      this.#signOut({ reason: 'unknown' });
      return null;
    }
    if (this.#isInCookie && this.#isTooLate()) throw headersSent('rotate');
    this.#signIn(withToken(session, token), this.#isInCookie);
    if (this.#isInCookie) cookie?.write(res, token, secure, this.#tossed());
    return token;
  }

  /**
   * Notes that the user has just proved who they are (typed their password again, say): what `requireRecentLogin()` looks at. Where the token came
   * in a cookie, it is rotated as well (OWASP ASVS 7.2.4); a client that sends it in a header keeps its own until you {@link rotate} it.
   *
   * @returns the token to use from now on; `null` when nobody is signed in, or the session has ended during the request.
   * @throws as {@link rotate}, and then nothing is noted.
   */
  async reauthenticated(): Promise<string | null> {
    if (this.#isInCookie) await this.rotate();
    if (this.#session === null) return null;
    const { user, token } = this.#session;
    const proved = await this.#policy.manager.reauthenticateToken(token);
    if (proved === null) this.#signOut({ reason: 'unknown' });
    else this.#signIn({ ...proved, user }, this.#isInCookie);
    return proved?.token ?? null;
  }

  /**
   * Signs out: ends the sessions whose tokens came with the request or were issued during it, clears the cookie, and with the option
   * `clearSiteData` asks the browser to forget the rest. Does nothing when there are none.
   *
   * @throws SessionError when the store can't be asked, or couldn't be asked whose sessions to end: then they may live on, and the
   * cookie is untouched.
   */
  async logout(options?: LogoutOptions): Promise<void> {
    const { manager, clearSiteData } = this.#policy;
    const { res } = this.#exchange;
    const { everywhere } = checkLogoutOptions(options);
    if (everywhere && this.#outage !== null) throw this.#outage;
    const tokens = this.#tokens();
    const isEverywhere = everywhere && this.#session !== null;
    const others = isEverywhere ? tokens.filter((token) => token !== this.#session?.token) : tokens;
    await Promise.all([
      isEverywhere && manager.deleteUserToken(this.#session?.user.id ?? ''),
      ...others.map((token) => manager.deleteToken(token)),
    ]);
    const wasSignedIn = this.#session !== null || this.#hasSignedCookie();
    if (wasSignedIn && !res.headersSent) {
      this.#clearCookie();
      if (clearSiteData !== null) res.setHeader(CLEAR_SITE_DATA, clearSiteData);
    }
    this.#signOut(null);
  }

  /** Who is signed in, and the session's id and times. No token. */
  toJSON(): { user: User<Detail> | null; id: string | null; createdAt: Date | null; expiresAt: Date | null } {
    return { user: this.user, id: this.id, createdAt: this.createdAt, expiresAt: this.expiresAt };
  }

  [inspect.custom](): unknown {
    return this.toJSON();
  }

  /**
   * Whether this manager's middleware has made it.
   *
   * @internal
   */
  isBy(manager: unknown): boolean {
    return this.#policy.manager === manager;
  }

  /**
   * Finds out who makes the request. Gives nothing when there is nothing to ask the store.
   *
   * @internal
   */
  open(): Promise<void> | undefined {
    const { manager, trustedOrigins } = this.#policy;
    const { header, cookies } = this.#credentials;
    if (header !== undefined) return this.#openWith([header]);
    if (cookies.length === 0) return undefined;
    const refusal = crossOriginRefusal(this.#exchange, trustedOrigins);
    if (refusal !== null && this.#hasSignedCookie()) return Promise.reject(refusal);

    const candidates = candidatesOf(cookies, manager);
    if (candidates === null) this.#clearCookie();
    return candidates === null || candidates.length === 0 ? undefined : this.#openWith(candidates);
  }

  /**
   * Why somebody who has to be signed in can't go on; `null` when they are.
   *
   * @internal
   */
  refusal(): SessionError | Refusal | null {
    if (this.#session !== null) return null;
    if (this.#outage !== null) return this.#outage;
    return unauthenticated(this.#policy.header?.challenge, this.#ending);
  }

  /**
   * Why somebody who has to have proved who they are in the last so many seconds can't go on; `null` when they have.
   *
   * @internal
   */
  recencyRefusal(seconds: number): SessionError | Refusal | null {
    if (this.#session === null) return this.refusal();
    const { id, token, checkedAt, authenticatedAt } = this.#session;
    // A token that was rotated away may be in other hands than those of who has proved it since.
    if (sessionIdOf(token) !== id) return reauthenticationRequired();
    return checkedAt.getTime() - authenticatedAt.getTime() > seconds * 1000 ? reauthenticationRequired() : null;
  }

  /** Signs in at once where the session is known, else when the store has answered. */
  #openWith(tokens: readonly string[]): Promise<void> | undefined {
    const [token] = tokens;
    const known = tokens.length === 1 && token !== undefined ? this.#policy.manager.touchKnownToken(token) : null;
    if (known === null) return this.#check(tokens);
    this.#signIn(known, this.#credentials.cookies.includes(known.token));
    return undefined;
  }

  /** Signs in with the first of these tokens that is live. */
  async #check(tokens: readonly string[]): Promise<void> {
    const { manager, onUnavailable } = this.#policy;
    try {
      for (const token of tokens) {
        const inspection = await manager.inspectToken(token, tokens.length === 1 ? TOUCH : TOUCH_ONE_OF_SEVERAL);
        if (inspection.session !== null) {
          return this.#signIn(inspection.session, this.#credentials.cookies.includes(token));
        }
        if (manager.isToken(token)) this.#signOut(this.#ending ?? endingOf(inspection));
      }
    } catch (error) {
      if (onUnavailable === 'error' || !isUnavailable(error)) throw error;
      this.#outage = error;
      return;
    }
    // A request that was under way too long for its rotated token must not take the new cookie from the browser.
    if (this.#ending?.reason === 'reused') return;
    if (this.#credentials.header === undefined && this.#hasSignedCookie()) this.#clearCookie();
  }

  #signIn(session: RequestedSession<Detail>, isInCookie: boolean): void {
    this.#session = session;
    this.#isInCookie = isInCookie;
    this.#ending = null;
    this.#outage = null;
  }

  #signOut(ending: Ending | null): void {
    this.#session = null;
    this.#isInCookie = false;
    this.#ending = ending;
  }

  /** Whether a cookie would not reach the client any more. */
  #isTooLate(): boolean {
    const { req, res } = this.#exchange;
    return res.headersSent || req.socket?.destroyed === true;
  }

  /** The tokens that came with the request, and the one it is signed in with by now. */
  #tokens(): string[] {
    const { header, cookies } = this.#credentials;
    const tokens = [header, ...cookies, this.#session?.token];
    return [...new Set(tokens.filter((token) => token !== undefined))];
  }

  /** Whether the cookie is ours at all: another application may have one of the same name. */
  #hasSignedCookie(): boolean {
    return this.#credentials.cookies.some((value) => this.#policy.manager.isToken(value));
  }

  #clearCookie(): void {
    const { res, secure } = this.#exchange;
    if (!res.headersSent) this.#policy.cookie?.clear(res, secure, this.#tossed());
  }

  /** Where to look for cookies of the name that somebody else has left, when there are any. */
  #tossed(): Exchange | undefined {
    return this.#credentials.cookies.length > 1 ? this.#exchange : undefined;
  }
}

function endingOf({ reason, message }: Ending): Ending {
  return { reason, ...(message !== undefined && { message }) };
}
