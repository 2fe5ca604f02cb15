import { inspect } from 'node:util';
import { readOptions } from '../../errors/arguments';
import { refuseWrites } from '../../errors/refuse-writes';
import { sessionEnded } from '../../errors/session-error';
import type { SessionData } from '../../manager/session-data';
import type { User } from '../../manager/types';
import type { EndReason, SessionEntries } from '../../store/store';
import type { Exchange } from '../exchange/exchange';
import { CurrentSession } from './current-session';
import { LOGIN_OPTIONS, LOGOUT_OPTIONS, type LoginOptions, type LogoutOptions } from './login-options';
import type { SessionPolicy } from './middleware-options';
import { logIn, logOut, renewVisit, rotateToken, startVisit } from './session-verbs';

/**
 * The state behind a session, for the middleware and the guards. Lets this package, not applications, reach the private
 * state.
 *
 * @internal
 */
export let currentOf: <Detail>(session: RequestSession<Detail>) => CurrentSession<Detail>;

/**
 * The session of a request: `req.session` in Express, `ctx.session` in Koa. `console.log` and `JSON.stringify` leave
 * its token out.
 *
 * The tokens of the request are checked once, when the middleware opens it. A failure (an outage, a refused origin, a
 * conflict) lasts for the whole request; only a login ends it.
 */
export class RequestSession<Detail = unknown> {
  readonly #current: CurrentSession<Detail>;
  /** The signal that a handler has asked for, and the session that it watches; `null` for none. */
  #signal: { id: string | null; signal: AbortSignal } | null = null;

  static {
    currentOf = (session) => session.#current;
  }

  /** @internal */
  constructor(policy: SessionPolicy<Detail>, exchange: Exchange) {
    this.#current = new CurrentSession(policy, exchange);
    Object.preventExtensions(this);
  }

  /** The signed-in user; `null` for none. Read-only at every level, because requests share it. */
  get user(): User<Detail> | null {
    return this.#current.user;
  }

  /** The public id of the user's or visitor's session, for its whole life. Not a secret. `null` for none. */
  get id(): string | null {
    return this.#current.session?.id ?? null;
  }

  /** The token that the client signs in with: a secret. `null` for none. */
  get token(): string | null {
    return this.#current.token;
  }

  /** Who acts as the user: the option `actor` of `login`. `null` without the option, or without a user. */
  get actor(): string | null {
    return this.#current.session?.actor ?? null;
  }

  /** When the user logged in, or the visitor's session began; `null` without a session. */
  get createdAt(): Date | null {
    return this.#current.session?.createdAt ?? null;
  }

  /**
   * When the user last proved their identity with this token: at login, or in a later `reauthenticated()`. `null`
   * without a user.
   */
  get authenticatedAt(): Date | null {
    return this.user === null ? null : (this.#current.session?.authenticatedAt ?? null);
  }

  /**
   * The data that the application keeps with the session. Each method asks the store at once; nothing is saved at the
   * end of the request.
   *
   * Without a user, the first write starts a visitor's session. Limit the rate at which a client may do so.
   *
   * @example
   * const cart = await req.session.data.get('cart');
   */
  get data(): SessionData {
    const current = this.#current;
    current.data ??= current.policy.sessions.dataOf({
      token: () => {
        // Without knowing the user, their data can't be known either.
        current.checkKnown();
        return current.token;
      },
      get known() {
        return current.session?.data ?? null;
      },
      set known(data) {
        if (current.session !== null) current.session.data = data;
      },
      // What an ended session was to keep must not go to a visitor.
      get startVisitor() {
        return current.hasEnded ? null : (entries: SessionEntries) => startVisit(current, entries);
      },
      answering: (act) => current.answering(act),
    });
    return current.data;
  }

  /**
   * Aborts when the user's session ends in any process during the request. For long downloads and event streams. See
   * `TokenManager.watch`. If the request has found that the session has ended, the signal is already aborted. Without a
   * user it never aborts. The watch lasts from the first use of this property until the response is closed.
   *
   * @throws SessionError `ERR_HEADERS_SENT` at a first use after a response of `Request` and `Response` was committed.
   *   `ERR_STORE_UNAVAILABLE` after the manager was closed.
   * @example
   * await pipeline(file, res, { signal: req.session.signal });
   */
  get signal(): AbortSignal {
    const id = this.user === null ? null : this.id;
    if (this.#signal === null || this.#signal.id !== id) this.#signal = { id, signal: this.#watch() };
    return this.#signal.signal;
  }

  /** When the session ends unless another request comes first; `null` without a session. */
  get expiresAt(): Date | null {
    return this.#current.session?.expiresAt ?? null;
  }

  /** Why the session of the request's token has ended; `null` when the request has no such token. */
  get endReason(): EndReason | null {
    return this.#current.ending?.reason ?? null;
  }

  /** The message given when the session was revoked or its user banned; `null` for none. */
  get endMessage(): string | null {
    return this.#current.ending?.message ?? null;
  }

  /**
   * Signs a user in: starts a session, ends the sessions whose tokens came with the request, and sets the cookie. Then
   * ends the visitor's session. If the store can't end that one, the login still succeeds, and the visitor's session
   * expires after `visitorTtl`.
   *
   * If the client disconnects during the login, the new session is ended. With `cookie: false`, or if the response is
   * lost after that, the session stays: lists show it until it expires.
   *
   * @returns the new token, for clients that send it in a header.
   * @throws SessionError when no session could be stored; the cookie stays. `ERR_USER_NOT_FOUND` when `getUserInfo`
   *   knows no such user; `ERR_USER_BANNED`; `ERR_TOO_MANY_SESSIONS` with `onLimit: 'reject'`; `ERR_CROSS_ORIGIN` for a
   *   page of an origin that is not trusted; `ERR_HEADERS_SENT` when it is too late for a cookie. TypeError or
   *   RangeError for an argument of the wrong kind.
   * @example
   * await req.session.login(String(user.id), { keep: ['cart'] });
   */
  async login(userId: string, options?: LoginOptions): Promise<string> {
    return logIn(this.#current, userId, readOptions('login', options, LOGIN_OPTIONS, ''));
  }

  /**
   * Gives the session a new token. Call it when the rights of the user change (OWASP Session Management, Renew the
   * Session ID). Sets the cookie if the token came in one. The old token stays valid until the new one is used, and for
   * `rotationGrace` seconds after that.
   *
   * A visitor's data moves to a new session with another id, and the old session ends at once. Call it before you store
   * the first of two factors, because an attacker may have planted the visitor's token. A user's data stays with the
   * session, so call `logout()` before that. Data that another request writes meanwhile moves as well; where the store
   * fails just then, the event `save-dropped` reports it.
   *
   * @returns the new token, for clients that send it in a header: they must use it from now on. `null` without a
   *   session, or when it has ended during the request.
   * @throws SessionError when the store can't answer, or the user could not be determined; `ERR_HEADERS_SENT` when it
   *   is too late for a cookie. The old token goes on. A visitor's may have ended when the new one is already set, with
   *   the same data.
   */
  async rotate(): Promise<string | null> {
    const { session } = this.#current;
    if (session !== null && session.user === null) return renewVisit(this.#current, session.token);
    return rotateToken(this.#current, 'inherited');
  }

  /**
   * Gives the session a new token that proves the user at this moment, for `requireRecentLogin()` (OWASP ASVS 7.2.4).
   * Call it after checking a password or another factor. Sets the cookie if the token came in one.
   *
   * @returns the token to use from now on, for clients that send it in a header; `null` as {@link rotate}.
   * @throws as {@link rotate}; the proof is then not recorded.
   */
  async reauthenticated(): Promise<string | null> {
    return rotateToken(this.#current, 'now');
  }

  /**
   * Signs out: ends the sessions whose tokens came with the request or were issued during it, and clears the cookie.
   * With the option `clearSiteData`, also asks the browser to delete the rest. Does nothing without a session.
   *
   * @throws SessionError when the store can't answer: the sessions may live on, and the cookie stays. With
   *   `everywhere`, also when the user could not be determined. `ERR_CROSS_ORIGIN` and `ERR_TOKEN_CONFLICT`: no session
   *   ended; with the latter, the cookies are cleared.
   */
  async logout(options?: LogoutOptions): Promise<void> {
    return logOut(this.#current, readOptions('logout', options, LOGOUT_OPTIONS, ''));
  }

  /** The user, and the session's id and times, without the token. */
  toJSON(): { user: User<Detail> | null; id: string | null; createdAt: Date | null; expiresAt: Date | null } {
    return { user: this.user, id: this.id, createdAt: this.createdAt, expiresAt: this.expiresAt };
  }

  /** What `console.log` prints: as {@link toJSON}. */
  [inspect.custom](): unknown {
    return this.toJSON();
  }

  #watch(): AbortSignal {
    const { policy, exchange, hasEnded, ending } = this.#current;
    const { id, user } = this;
    if (user === null) {
      const isOver = hasEnded && ending !== null;
      return isOver ? AbortSignal.abort(sessionEnded(ending)) : new AbortController().signal;
    }
    const signal = policy.manager.watch({ id, user });
    exchange.onClose(() => policy.manager.unwatch(signal));
    return signal;
  }
}

/** Makes assignments to a session throw. A subclass passes its own prototype. */
export function refuseAssignments(prototype: RequestSession): void {
  refuseWrites(
    prototype,
    (name) =>
      new TypeError(
        `session.${name} can't be assigned: keep data with session.data.set(${JSON.stringify(name)}, …); ` +
          'only session.login(userId) signs a user in. Another session library needs a property of its own, ' +
          'or name one here with the option property',
      ),
  );
}

// passport calls the first two, and code written for express-session all of them. They fail with a hint, but a logout
// must not: callbacks of `destroy` often ignore its error, and the user would stay signed in.
for (const method of ['regenerate', 'save', 'destroy']) {
  const hint =
    `session.${method} is express-session's: sign in with passport.authenticate(…, { session: false }) and then ` +
    'session.login(user.id), or with authenticate() of tokensession/passport; sign out with session.logout()';
  function value(this: RequestSession, callback?: unknown): void {
    const error = new TypeError(hint);
    if (typeof callback !== 'function') throw error;
    if (method !== 'destroy') callback(error);
    else
      this.logout().then(
        () => callback(),
        (reason) => callback(reason),
      );
  }
  Object.defineProperty(RequestSession.prototype, method, { value, configurable: true });
}

// passport and connect-flash read and write these, and passport goes on with a list of messages.
for (const [name, value] of Object.entries({ messages: [], flash: undefined, returnTo: undefined })) {
  Object.defineProperty(RequestSession.prototype, name, {
    get(this: RequestSession) {
      refuseKey(currentOf(this).exchange, name);
      return value?.slice();
    },
    set(this: RequestSession) {
      refuseKey(currentOf(this).exchange, name);
    },
    configurable: true,
  });
}

refuseAssignments(RequestSession.prototype);

/**
 * Fails the request. Throws only if the host has no other way: in a callback of another package, a throw would end the
 * process.
 */
function refuseKey(exchange: Exchange, name: string): void {
  const error = new TypeError(
    `session.${name} is express-session's: the options failureMessage, successMessage, failureFlash, successFlash and successReturnToOrRedirect need authenticate() of tokensession/passport instead of passport.authenticate(); other code keeps data with session.data.set(${JSON.stringify(name)}, …)`,
  );
  if (exchange.divertAnswer === undefined) throw error;
  exchange.divertAnswer(error);
}
