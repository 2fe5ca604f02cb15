import { inspect } from 'node:util';
import { refuseWrites } from '../errors/refuse-writes';
import { isUnavailable, SessionError, sessionEnded } from '../errors/session-error';
import type { RequestedSession } from '../manager/requested-session';
import type { SessionData } from '../manager/session-data';
import type { User } from '../manager/types';
import type { EndReason, SessionEntries } from '../store/store';
import { isVisitor } from '../token/token';
import { attributesOf, type Exchange } from './exchange';
import { checkLoginOptions, checkLogoutOptions, type LoginOptions, type LogoutOptions } from './login-options';
import type { SessionPolicy } from './middleware-options';
import { crossOriginRefusal } from './origin-check';
import {
  type Ending,
  headersSent,
  loginError,
  type Refusal,
  reauthenticationRequired,
  unauthenticated,
} from './refusal';
import { judgeTokens, judgeVisitor, NO_VISITOR, type RequestTokens, type RequestVisitor } from './request-tokens';
import { isPageRequest, loginLocation } from './return-to';

/** Milliseconds for which an answer may still set a renewed token, at least, even with a shorter grace. */
const MIN_FRESH_MS = 1000;

/**
 * The session of a request: `req.session` in Express, `ctx.session` in Koa. `console.log` and `JSON.stringify` leave
 * its token out.
 *
 * The tokens of the request are checked once, when the middleware opens it. A failure (an outage, a refused origin, a
 * conflict) lasts for the whole request; only a login ends it.
 */
export class RequestSession<Detail = unknown> {
  readonly #policy: SessionPolicy<Detail>;
  readonly #exchange: Exchange;
  readonly #earlier: RequestSession<unknown> | null;
  readonly #tokens: RequestTokens;
  /** The visitor of the request; `null` until it is looked for. */
  #visitor: RequestVisitor | null = null;
  #session: RequestedSession<Detail> | null = null;
  #data: SessionData | null = null;
  /** Whether the cookie has the user's token: it came there, or this response sets it. */
  #isInCookie = false;
  #isPersistent = true;
  /**
   * The token of a session that turned out to have ended during the request. Later writes of its user must not start a
   * visitor's session. `null` for none.
   */
  #endedToken: string | null = null;
  /** Why the token that came opens no session; `null` without one. */
  #ending: Ending | null = null;
  /** Why the user of the request could not be found out; `null` otherwise. */
  #failure: Error | null = null;
  /** Whether opening rejected with that failure. */
  #isRefused = false;
  /** The login, logout or start of a visit in flight. */
  #turn: Promise<unknown> | null = null;
  /** The signal that a handler has asked for, and the session that it watches; `null` for none. */
  #signal: { id: string | null; signal: AbortSignal } | null = null;
  /** Whether the store, not the near cache, has confirmed the session in this request. */
  #isConfirmed = false;

  /**
   * @param earlier a session that another middleware opened on the same request.
   * @internal
   */
  constructor(policy: SessionPolicy<Detail>, exchange: Exchange, earlier: RequestSession<unknown> | null) {
    this.#policy = policy;
    this.#earlier = earlier;
    this.#exchange = exchange;
    this.#tokens = judgeTokens(policy, exchange);
    Object.preventExtensions(this);
  }

  /** The signed-in user; `null` for none. */
  get user(): User<Detail> | null {
    return this.#session?.user ?? null;
  }

  /** The public id of the user's or visitor's session. It never changes, and is not a secret. `null` for none. */
  get id(): string | null {
    return this.#session?.id ?? null;
  }

  /** The token that the client signs in with: a secret. `null` for none. */
  get token(): string | null {
    return this.#session?.token ?? null;
  }

  /** Who acts as the user: the option `actor` of `login`. `null` without the option, or without a user. */
  get actor(): string | null {
    return this.#session?.actor ?? null;
  }

  /** When the user logged in, or the visitor's session began; `null` without a session. */
  get createdAt(): Date | null {
    return this.#session?.createdAt ?? null;
  }

  /**
   * When the user last proved their identity with this token: at login, or in a later `reauthenticated()`. `null`
   * without a user.
   */
  get authenticatedAt(): Date | null {
    return this.user === null ? null : (this.#session?.authenticatedAt ?? null);
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
    this.#data ??= this.#policy.manager.dataOf({
      token: () => {
        // Without knowing the user, their data can't be known either.
        if (this.#session === null && this.#failure !== null && !this.#isConflict()) throw this.#failure;
        return this.token ?? this.#endedToken;
      },
      known: this.#session?.data ?? null,
      startVisitor: (entries) => this.#startVisitor(entries),
      answering: (act) => this.#answering(act),
    });
    return this.#data;
  }

  /**
   * Aborts when the user's session ends in any process during the request. For long downloads and event streams. See
   * `TokenManager.watch`. It is already aborted if the session turned out to have ended. Without a user it never aborts.
   * The watch lasts from the first use of this property until the response is closed.
   *
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
    return this.#session?.expiresAt ?? null;
  }

  /** Why the session of the request's token has ended; `null` when the request has no such token. */
  get endReason(): EndReason | null {
    return this.#ending?.reason ?? null;
  }

  /** The message given when the session was revoked or its user banned; `null` for none. */
  get endMessage(): string | null {
    return this.#ending?.message ?? null;
  }

  /**
   * Signs a user in: starts a session, ends the sessions whose tokens came with the request, and sets the cookie. Then
   * ends the visitor's session. If the store can't end that one, the login still succeeds, and the visitor's session
   * expires after `visitorTtl`.
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
    const { ttl, absoluteTtl, attributes, actor, keep, persistent } = checkLoginOptions(options);
    const { manager, cookies, clearSiteData } = this.#policy;
    return this.#inTurn(async () => {
      this.#checkCookie('login');
      const data = await this.#keptData(userId, keep);
      const visitor = this.#visitorThatCame().token;
      const session = await manager.startSession(
        userId,
        {
          ttl,
          absoluteTtl,
          attributes: { ...attributesOf(this.#exchange), ...attributes },
          actor,
          replaces: this.#actingTokens().filter((token) => token !== visitor),
        },
        data,
      );
      await this.#checkCookieOf('login', session);
      this.#isPersistent = persistent;
      this.#signIn(session, cookies !== null);
      this.#setCookie(session);
      this.#clearVisitorCookie();
      // An earlier logout of this request may have asked the browser to delete the cookie that this login sets.
      if (clearSiteData.length > 0) this.#exchange.reply()?.clearSiteData([]);
      // Last, so that a failed login takes nothing from the visitor. A visitor's session that is left over signs no one
      // in.
      if (visitor !== null) await manager.deleteToken(visitor).catch(() => false);
      return session.token;
    });
  }

  /**
   * Gives the session a new token. Call it when the rights of the user change (OWASP Session Management, Renew the
   * Session ID). Sets the cookie if the token came in one. The old token stays valid until the new one is used, and for
   * `rotationGrace` seconds after that.
   *
   * A visitor's data moves to a new session with another id, and the old session ends at once. Call it before you store
   * the first of two factors, because an attacker may have planted the visitor's token. Data that another request
   * writes to the old session meanwhile is lost.
   *
   * @returns the new token, for clients that send it in a header: they must use it from now on. `null` without a
   *   session, or when it has ended during the request.
   * @throws SessionError when the store can't answer; `ERR_HEADERS_SENT` when it is too late for a cookie. The old
   *   token goes on.
   */
  async rotate(): Promise<string | null> {
    const session = this.#session;
    if (session !== null && session.user === null) return this.#renewVisitor(session.token);
    return this.#moveOn('rotate', (token) => this.#policy.manager.rotateToken(token));
  }

  /**
   * Gives the session a new token that proves the user at this moment, for `requireRecentLogin()` (OWASP ASVS 7.2.4).
   * Call it after checking a password or another factor. Sets the cookie if the token came in one.
   *
   * @returns the token to use from now on, for clients that send it in a header; `null` as {@link rotate}.
   * @throws as {@link rotate}; the proof is then not recorded.
   */
  async reauthenticated(): Promise<string | null> {
    return this.#moveOn('reauthenticated', async (token) => {
      const session = await this.#policy.manager.reauthenticateToken(token);
      return session?.token ?? null;
    });
  }

  /**
   * Signs out: ends the sessions whose tokens came with the request or were issued during it, and clears the cookie.
   * With the option `clearSiteData`, also asks the browser to delete the rest. Does nothing without a session.
   *
   * @throws SessionError when the store can't answer: the sessions may live on, and the cookie stays. With
   *   `everywhere`, also when the user could not be found out. `ERR_CROSS_ORIGIN` and `ERR_TOKEN_CONFLICT`: no session
   *   ended; with the latter, the cookies are cleared.
   */
  async logout(options?: LogoutOptions): Promise<void> {
    const { everywhere } = checkLogoutOptions(options);
    const { manager, clearSiteData } = this.#policy;
    return this.#inTurn(async () => {
      if (this.#failure !== null && (everywhere || this.#tokens.refusal !== null)) {
        if (this.#isConflict()) this.#clearCookie();
        throw this.#failure;
      }
      const { acting, cookies } = this.#tokens;
      const wasLive = this.user !== null;
      const ownsCookie = this.#isInCookie || cookies.some((token) => acting.includes(token) && manager.isToken(token));
      const user = everywhere ? this.user : null;
      const others = this.#actingTokens().filter((token) => user === null || token !== this.token);
      const ended = await Promise.all([
        user !== null && manager.deleteUserToken(user.id),
        ...others.map((token) => manager.deleteToken(token)),
      ]);
      // When the session was replaced, or ended after this request began, a newer login may own the cookie.
      const wasDead = !wasLive && this.#ending !== null && this.#ending.reason !== 'replaced';
      const isOver = wasDead || ended.some(Boolean);
      if (isOver && ownsCookie) this.#clearCookie();
      if (isOver) this.#clearVisitorCookie();
      if (isOver && clearSiteData.length > 0) this.#exchange.reply()?.clearSiteData(clearSiteData);
      this.#signOut(null);
    });
  }

  /**
   * Goes on with a live session that the host vouches for, where no user is signed in: sets its cookie. Does nothing
   * for a page of another origin, nor where it isn't known who makes the request.
   *
   * @internal
   */
  async adopt(token: string, isPersistent: boolean): Promise<void> {
    return this.#inTurn(async () => {
      const { manager, cookies, trustedOrigins, data } = this.#policy;
      const isTooLate = cookies !== null && this.#exchange.isTooLate();
      if (this.user !== null || this.#failure !== null || isTooLate) return;
      if (cookies !== null && crossOriginRefusal(this.#exchange, trustedOrigins) !== null) return;
      const claims = manager.readToken(token);
      if (claims !== null && isVisitor(claims)) {
        const visitor = this.#session === null ? await manager.openVisitor(token, data === 'eager') : null;
        if (visitor !== null) this.#goOnAsVisitor(visitor);
        return;
      }
      const { session } = await manager.openToken(token, data === 'eager');
      if (session === null) return;
      this.#isPersistent = isPersistent;
      this.#signIn(session, cookies !== null);
      this.#setCookie(session);
      this.#clearVisitorCookie();
    });
  }

  /**
   * What passport calls at a login that it means to keep in a session of express-session: that fails, with a recipe.
   *
   * @internal
   */
  regenerate(callback: (error: TypeError) => void): void {
    callback(notExpressSession('regenerate'));
  }

  /**
   * The same at a logout.
   *
   * @internal
   */
  save(callback: (error: TypeError) => void): void {
    callback(notExpressSession('save'));
  }

  /** The user, and the session's id and times, without the token. */
  toJSON(): { user: User<Detail> | null; id: string | null; createdAt: Date | null; expiresAt: Date | null } {
    return { user: this.user, id: this.id, createdAt: this.createdAt, expiresAt: this.expiresAt };
  }

  /** What `console.log` prints: as {@link toJSON}. */
  [inspect.custom](): unknown {
    return this.toJSON();
  }

  /**
   * The session of the request at this property.
   *
   * @internal
   */
  at(property: string): RequestSession<unknown> | undefined {
    return this.#policy.property === property ? (this as RequestSession<unknown>) : this.#earlier?.at(property);
  }

  /**
   * Whether this manager's middleware made the session.
   *
   * @internal
   */
  isBy(manager: unknown): boolean {
    return this.#policy.manager === manager;
  }

  /**
   * Finds the user of the request. Returns `undefined` when that needs no call to the store.
   *
   * Clears no cookie: a newer login may have set it while this request was in flight.
   *
   * @internal
   */
  open(): Promise<void> | undefined {
    const { acting, refusal } = this.#tokens;
    this.#failure = refusal;
    // A conflict signs no one in, and a login must be able to end it, also one of several steps.
    if (refusal !== null)
      return this.#isConflict() ? this.#openVisitor() : this.#answering(() => Promise.reject(this.#refuse(refusal)));
    const [token] = acting;
    if (token === undefined) return this.#openVisitor();
    const isEager = this.#policy.data === 'eager';
    const known = acting.length === 1 && !isEager ? this.#policy.manager.openKnownToken(token) : null;
    if (known === null) return this.#lookUp(acting);
    this.#signInByToken(known);
    return undefined;
  }

  /**
   * The outcome of opening, for a second middleware with the same manager.
   *
   * @internal
   */
  reopen(): Promise<void> | undefined {
    const failure = this.#failure;
    return failure !== null && this.#isRefused ? this.#answering(() => Promise.reject(failure)) : undefined;
  }

  /**
   * The refusal of a request that needs a user; `null` when one is signed in.
   *
   * @param loginPage where to send browsers; `null` for nowhere.
   * @internal
   */
  refusal(loginPage: string | null): Refusal | Error | null {
    if (this.user !== null) return null;
    if (this.#failure !== null && !this.#isConflict()) return this.#report(this.#failure);
    const refusal = unauthenticated(this.#policy.header?.challenge, this.#ending);
    if (loginPage === null) return refusal;
    const { method, url } = this.#exchange;
    if (!isPageRequest(method, this.#exchange.header('accept'))) {
      return { ...refusal, headers: { ...refusal.headers, Vary: 'Accept' } };
    }
    const headers = { Location: loginLocation(loginPage, url), 'Cache-Control': 'no-store', Vary: 'Accept' };
    return { ...refusal, status: 303, headers };
  }

  /**
   * The refusal of a request that needs a recent proof; `null` when it may go on. Asks the store where the near cache
   * has answered.
   *
   * @internal
   */
  async recencyRefusal(seconds: number): Promise<Refusal | Error | null> {
    const session = this.#session;
    if (session === null || session.user === null) return this.refusal(null);
    if (session.actor !== null) return reauthenticationRequired();
    if (session.isFromMemory && !this.#isConfirmed) {
      try {
        const inspection = await this.#policy.manager.inspectToken(session.token, { cache: false });
        this.#isConfirmed = true;
        if (inspection.session === null) this.#signOut(endingOf(inspection));
      } catch (error) {
        return this.#report(error as Error);
      }
      if (this.#session === null) return this.refusal(null);
    }
    const { checkedAt, authenticatedAt } = this.#session ?? session;
    // A proof in the future dates from before the clock was set back: its age is unknown.
    const isRecent = Math.abs(checkedAt.getTime() - authenticatedAt.getTime()) <= seconds * 1000;
    return isRecent ? null : reauthenticationRequired();
  }

  /**
   * Adds the headers of an error to the answer that has its status, also to one that the application writes.
   *
   * @internal
   */
  report(error: Error): Error {
    return this.#report(error);
  }

  /** Finds the visitor, where no user's token came. Returns `undefined` when that needs no call to the store. */
  #openVisitor(): Promise<void> | undefined {
    const { token, refusal } = this.#visitorThatCame();
    return token === null && refusal === null ? undefined : this.#lookUp([]);
  }

  /** The visitor in the cookie. */
  #visitorThatCame(): RequestVisitor {
    this.#visitor ??= judgeVisitor(this.#policy, this.#exchange, this.#tokens);
    return this.#visitor;
  }

  /** Opens the visitor's session that came, if it is live. */
  async #visit(): Promise<void> {
    const { token, refusal } = this.#visitorThatCame();
    if (refusal !== null) throw refusal;
    if (token === null) return;
    this.#session = await this.#policy.manager.openVisitor(token, this.#policy.data === 'eager');
  }

  /** Starts a visitor's session with this data. `false`: the request has a session by now. */
  #startVisitor(entries: SessionEntries): Promise<boolean> {
    return this.#inTurn(async () => {
      if (this.#session !== null) return false;
      this.#checkCookie('data.set');
      await this.#beginVisit('data.set', entries);
      return true;
    });
  }

  /** Moves a visitor's data to a new session, under a new token, and ends the old one. Gives the token. */
  #renewVisitor(token: string): Promise<string | null> {
    const { manager } = this.#policy;
    return this.#inTurn(async () => {
      // Another call has signed in or out meanwhile.
      if (this.token !== token) return this.user === null ? this.token : null;
      this.#checkCookie('rotate');
      const data = await manager.storedData(token, null);
      if (data === null) {
        this.#signOut(null);
        return null;
      }
      const next = await this.#beginVisit('rotate', data);
      await manager.deleteToken(token);
      return next;
    });
  }

  /** Starts a visitor's session, and gives its token. */
  async #beginVisit(call: string, entries: SessionEntries): Promise<string> {
    const visitor = await this.#policy.manager.startVisitor(entries);
    await this.#checkCookieOf(call, visitor);
    this.#goOnAsVisitor(visitor);
    return visitor.token;
  }

  #goOnAsVisitor(visitor: RequestedSession<Detail>): void {
    const { cookies: transports } = this.#policy;
    const { cookies } = this.#visitorThatCame();
    this.#data?.forgetKnown();
    this.#session = visitor;
    this.#visitor = { token: visitor.token, refusal: null, cookies: [...cookies, visitor.token] };
    const lifetime = { maxAge: null, isPersistent: false };
    transports?.visitor.set(this.#exchange, visitor.token, lifetime, cookies.length > 1);
    if (transports !== null) this.#exchange.reply()?.keepCookies();
  }

  /** The data to carry into a login. */
  async #keptData(userId: string, keys: readonly string[]): Promise<SessionEntries | undefined> {
    if (keys.length === 0) return undefined;
    const isSameUser = this.user === null || this.user.id === userId;
    const token = isSameUser && this.token !== null ? this.token : this.#visitorThatCame().token;
    return token === null ? undefined : ((await this.#policy.manager.storedData(token, keys)) ?? undefined);
  }

  /** Refuses to set a cookie for a page of another origin, or when it is too late. */
  #checkCookie(call: string): void {
    const { cookies, trustedOrigins } = this.#policy;
    if (cookies === null) return;
    const refusal = crossOriginRefusal(this.#exchange, trustedOrigins);
    if (refusal !== null) throw refusal;
    if (this.#exchange.isTooLate()) throw headersSent(call);
  }

  /** Ends a session that started too late for its cookie. */
  async #checkCookieOf(call: string, { token }: { token: string }): Promise<void> {
    if (this.#policy.cookies === null || !this.#exchange.isTooLate()) return;
    await this.#policy.manager.deleteToken(token);
    throw headersSent(call);
  }

  #watch(): AbortSignal {
    const { id, user } = this;
    if (user === null) {
      const ending = this.#endedToken === null ? null : this.#ending;
      return ending === null ? new AbortController().signal : AbortSignal.abort(sessionEnded(ending));
    }
    const { manager } = this.#policy;
    const signal = manager.watch({ id, user });
    this.#exchange.onClose(() => manager.unwatch(signal));
    return signal;
  }

  /** Signs in with the first live token, or else opens the visitor's session that came. */
  async #lookUp(tokens: readonly string[]): Promise<void> {
    const { manager, onUnavailable, data } = this.#policy;
    try {
      for (const token of tokens) {
        const opened = await manager.openToken(token, data === 'eager');
        if (opened.session !== null) return this.#signInByToken(opened.session);
        const claims = this.#ending === null ? manager.readToken(token) : null;
        if (claims !== null && !isVisitor(claims)) this.#ending = endingOf(opened);
      }
      await this.#visit();
    } catch (error) {
      this.#failure = error as Error;
      if (onUnavailable === 'error' || !isUnavailable(error)) throw this.#answerOf(this.#refuse(error as Error));
    }
  }

  /** Signs in with a token that came, and renews it when that is due. */
  #signInByToken(session: RequestedSession<Detail>): void {
    const { manager, cookies } = this.#policy;
    const isInCookie = this.#tokens.cookies.includes(session.token);
    this.#signIn(session, isInCookie);
    if (!isInCookie || cookies === null) return;
    this.#isPersistent = cookies.user.isPersistent(this.#exchange.header('cookie'), session.token);
    // In this order: hosts on `Request` may make its signal only when it is asked for, at a cost.
    if (!manager.isRenewalDue(session) || this.#exchange.isTooLate()) return;
    const next = session.withToken(manager.renewedToken(session));
    this.#signIn(next, true);
    // A slow answer must not replace a later token in the browser.
    this.#setCookie(next, Math.max(manager.rotationGraceMs, MIN_FRESH_MS));
  }

  /** Gives the client the new token that the manager makes of its own. */
  async #moveOn(call: string, make: (token: string) => Promise<string | null>): Promise<string | null> {
    return this.#answering(async () => {
      const session = this.#session;
      if (session === null || session.user === null) return null;
      if (this.#isInCookie && this.#exchange.isTooLate()) throw headersSent(call);
      const token = await make(session.token);
      if (token === null) {
        this.#signOut({ reason: 'unknown' });
        return null;
      }
      if (this.#isInCookie && this.#exchange.isTooLate()) throw headersSent(call);
      const next = session.withToken(token);
      this.#signIn(next, this.#isInCookie);
      if (this.#isInCookie) this.#setCookie(next);
      return token;
    });
  }

  #signIn(session: RequestedSession<Detail>, isInCookie: boolean): void {
    if (session.id !== this.#session?.id) this.#data?.forgetKnown();
    this.#session = session;
    this.#isInCookie = isInCookie;
    this.#ending = null;
    this.#failure = null;
  }

  #signOut(ending: Ending | null): void {
    this.#data?.forgetKnown();
    this.#endedToken = ending === null ? null : this.token;
    this.#session = null;
    this.#isInCookie = false;
    this.#ending = ending;
  }

  /** The tokens that may act, and the current token of the request. */
  #actingTokens(): string[] {
    const { token } = this.#visitorThatCame();
    const others = [this.token, token].filter((one) => one !== null);
    return [...new Set([...this.#tokens.acting, ...others])];
  }

  #setCookie(session: RequestedSession<Detail>, freshForMs?: number): void {
    const { capAt, checkedAt } = session;
    const maxAge = capAt === 0 ? null : Math.ceil((capAt - checkedAt.getTime()) / 1000);
    const lifetime = { maxAge, isPersistent: this.#isPersistent, ...(freshForMs !== undefined && { freshForMs }) };
    // A renewal leaves other cookies alone; only a login or logout deletes them.
    const isTossed = freshForMs === undefined && this.#tokens.cookies.length > 1;
    this.#policy.cookies?.user.set(this.#exchange, session.token, lifetime, isTossed);
  }

  #clearCookie(): void {
    if (!this.#exchange.isTooLate()) this.#policy.cookies?.user.clear(this.#exchange, this.#tokens.cookies.length > 1);
  }

  /** Clears the cookie of the visitor that came or began, if there is one, and all where several came. */
  #clearVisitorCookie(): void {
    const { token, cookies } = this.#visitorThatCame();
    const isTossed = cookies.length > 1;
    this.#visitor = NO_VISITOR;
    if ((!isTossed && (token === null || !cookies.includes(token))) || this.#exchange.isTooLate()) return;
    this.#policy.cookies?.visitor.clear(this.#exchange, isTossed);
  }

  #isConflict(): boolean {
    return this.#failure instanceof SessionError && this.#failure.code === 'ERR_TOKEN_CONFLICT';
  }

  #refuse(failure: Error): Error {
    this.#isRefused = true;
    return failure;
  }

  /** Runs verbs that change the user of the request one after the other, as {@link #answering}. */
  #inTurn<Outcome>(act: () => Promise<Outcome>): Promise<Outcome> {
    const before = this.#turn;
    const turn = this.#answering(async () => {
      await before;
      return act();
    });
    this.#turn = turn.catch(() => {});
    return turn;
  }

  /** Runs a verb. Adds the headers of its error to the answer, also to one that the application writes. */
  async #answering<Outcome>(act: () => Promise<Outcome>): Promise<Outcome> {
    try {
      return await act();
    } catch (error) {
      throw this.#answerOf(error);
    }
  }

  #answerOf(error: unknown): Error {
    return this.#report(loginError(error, this.#policy.header?.challenge) as Error);
  }

  #report(error: Error): Error {
    if (error instanceof SessionError && error.headers !== undefined) this.#exchange.reply()?.failWith(error);
    return error;
  }
}

/** Makes assignments to sessions throw: to those of this class, and of a subclass by its own prototype. */
export function refuseAssignments(prototype: RequestSession): void {
  refuseWrites(
    prototype,
    (name) =>
      new TypeError(
        `session.${name} can't be assigned: keep data with session.data.set(${JSON.stringify(name)}, …). Another session library needs a property of its own, or name one here with the option property`,
      ),
  );
}

refuseAssignments(RequestSession.prototype);

function notExpressSession(method: string): TypeError {
  return new TypeError(
    `session.${method} is express-session's: sign in with passport.authenticate(…, { session: false }) and then session.login(user.id), or with authenticate() of tokensession/passport; sign out with session.logout()`,
  );
}

function endingOf({ reason, message }: { reason: EndReason; message?: string }): Ending {
  return { reason, ...(message !== undefined && { message }) };
}
