import { inspect } from 'node:util';
import { refuseWrites } from '../errors/refuse-writes';
import { isUnavailable, SessionError } from '../errors/session-error';
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

/** Milliseconds that the answer with a renewed token may take at least, whatever the grace is. */
const MIN_FRESH_MS = 1000;

/**
 * The session of a request: `req.session` in Express, `ctx.session` in Koa. Prints and serialises without its token.
 *
 * Its tokens are judged once, when it is opened. Where that failed (an outage, a refused origin, a conflict) it stays
 * so for the whole request.
 */
export class RequestSession<Detail = unknown> {
  readonly #policy: SessionPolicy<Detail>;
  readonly #exchange: Exchange;
  readonly #earlier: RequestSession<unknown> | null;
  readonly #tokens: RequestTokens;
  /** The visitor of the request; `null` while it was not asked for. */
  #visitor: RequestVisitor | null = null;
  #session: RequestedSession<Detail> | null = null;
  #data: SessionData | null = null;
  /** Whether the client has the user's token in its cookie: it came there, or was put there by this response. */
  #isInCookie = false;
  #isPersistent = true;
  /**
   * The token of a session that was found ended in the middle of the request: what is written of its user from then on
   * must not become a visitor's. `null` for none.
   */
  #endedToken: string | null = null;
  /** Why there is no session although a token of ours came. */
  #ending: Ending | null = null;
  /** Why it isn't known who makes the request. */
  #failure: Error | null = null;
  /** Whether opening it rejected with that. */
  #isRefused = false;
  /** The login, logout or begin of a visit that goes on. */
  #turn: Promise<unknown> | null = null;
  /** The signal that was asked for, and the session that it watches; `null` for none. */
  #signal: { id: string | null; signal: AbortSignal } | null = null;
  /** Whether the store was asked for the session in this request, and not the near cache. */
  #isConfirmed = false;

  /**
   * @param earlier the session that was opened before on the same request.
   * @internal
   */
  constructor(policy: SessionPolicy<Detail>, exchange: Exchange, earlier: RequestSession<unknown> | null) {
    this.#policy = policy;
    this.#earlier = earlier;
    this.#exchange = exchange;
    this.#tokens = judgeTokens(policy, exchange);
    Object.preventExtensions(this);
  }

  /** The user who is signed in; `null` for none. */
  get user(): User<Detail> | null {
    return this.#session?.user ?? null;
  }

  /** The public id of the user's or visitor's session for its whole life, as `listUserSessions` shows a user's. */
  get id(): string | null {
    return this.#session?.id ?? null;
  }

  /** What names the session, and signs a user in: a secret. */
  get token(): string | null {
    return this.#session?.token ?? null;
  }

  /** Who acts as the user, as `login` was given it; `null` for the user, and for nobody. */
  get actor(): string | null {
    return this.#session?.actor ?? null;
  }

  /** When the user logged in, or the visitor's session began. */
  get createdAt(): Date | null {
    return this.#session?.createdAt ?? null;
  }

  /** When the holder of this token last proved who they are: at the login, or in a `reauthenticated()` since. */
  get authenticatedAt(): Date | null {
    return this.user === null ? null : (this.#session?.authenticatedAt ?? null);
  }

  /**
   * What the application keeps with the session: `await req.session.data.get('cart')`. Every method asks the store at
   * once; nothing is written at the end of the request.
   *
   * Where no user is signed in, the first write starts the session of a visitor. Bound how many of them a client may
   * start: a rate limit is the application's.
   */
  get data(): SessionData {
    this.#data ??= this.#policy.manager.dataOf({
      token: () => {
        // While it isn't known who makes the request, nothing can be said of their data either.
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
   * Aborts when the user's session ends while the request goes on, be it in another process: for a long download, or a
   * stream of events. See {@link TokenManager.watch}. Where no user is signed in it never aborts. The session is watched
   * from when this is first asked for until the response is closed.
   *
   * @example
   * await pipeline(file, res, { signal: req.session.signal });
   */
  get signal(): AbortSignal {
    const id = this.user === null ? null : this.id;
    if (this.#signal === null || this.#signal.id !== id) this.#signal = { id, signal: this.#watch() };
    return this.#signal.signal;
  }

  /** When the session ends unless another request comes first. */
  get expiresAt(): Date | null {
    return this.#session?.expiresAt ?? null;
  }

  /** Why nobody is signed in although a token of ours came; `null` otherwise. */
  get endReason(): EndReason | null {
    return this.#ending?.reason ?? null;
  }

  /** The message given when the session was revoked or its user banned; `null` for none. */
  get endMessage(): string | null {
    return this.#ending?.message ?? null;
  }

  /**
   * Signs a user in: starts a session, ends those whose tokens came with the request, sets the cookie. Then ends the
   * visitor's; where the store can't, the login stands, and that one ends by its `visitorTtl`.
   *
   * @returns the new token, for clients that send it in a header.
   * @throws SessionError when no session could be stored (the cookie is untouched), `ERR_USER_NOT_FOUND` when
   *   `getUserInfo` knows no such user, `ERR_USER_BANNED`, `ERR_TOO_MANY_SESSIONS` with `onLimit: 'reject'`,
   *   `ERR_CROSS_ORIGIN` for a page of another origin that is not trusted, `ERR_HEADERS_SENT` when it is too late for a
   *   cookie. TypeError or RangeError for an argument of the wrong kind.
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
      // What a logout before it has asked the browser to forget, this login has just put there.
      if (clearSiteData.length > 0) this.#exchange.reply()?.clearSiteData([]);
      // Only now: a login that failed has taken nothing from the visitor. One that is left over signs nobody in.
      if (visitor !== null) await manager.deleteToken(visitor).catch(() => false);
      return session.token;
    });
  }

  /**
   * Gives the session a new token, to be called when what its user may do changes (OWASP Session Management, Renew the
   * Session ID). Sets the cookie where the token came in one. The old token stays good until the new one is used, and
   * for the manager's `rotationGrace` after that.
   *
   * A visitor's data moves to a new session, with another id, and the old one ends at once: call it before you keep who
   * has passed the first of two factors, so that a token that was planted learns nothing of it.
   *
   * @returns the new token, for clients that send it in a header: they must use it from now on. `null` without a
   *   session, or when it has ended during the request.
   * @throws SessionError when the store can't answer; `ERR_HEADERS_SENT` when it is too late for a cookie: the old
   *   token goes on.
   */
  async rotate(): Promise<string | null> {
    const session = this.#session;
    if (session !== null && session.user === null) return this.#renewVisitor(session.token);
    return this.#moveOn('rotate', (token) => this.#policy.manager.rotateToken(token));
  }

  /**
   * Notes that the user has just proved who they are (typed their password again, say), for `requireRecentLogin()`:
   * gives the session a new token that says so (OWASP ASVS 7.2.4). Sets the cookie where the token came in one.
   *
   * @returns the token to use from now on, for clients that send it in a header; `null` as {@link rotate}.
   * @throws as {@link rotate}, and then nothing is noted.
   */
  async reauthenticated(): Promise<string | null> {
    return this.#moveOn('reauthenticated', async (token) => {
      const session = await this.#policy.manager.reauthenticateToken(token);
      return session?.token ?? null;
    });
  }

  /**
   * Signs out: ends the sessions whose tokens came with the request or were issued during it, clears the cookie, and
   * with the option `clearSiteData` asks the browser to forget the rest. Does nothing when there are none.
   *
   * @throws SessionError when the store can't be asked: then the sessions may live on, and the cookie is untouched.
   *   With `everywhere` also when it wasn't known whose sessions to end. `ERR_CROSS_ORIGIN`, `ERR_TOKEN_CONFLICT`: no
   *   session was ended; with the latter the cookies are cleared.
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
      // A session that was replaced, or has ended since this request began, may have a newer login's cookie in its
      // place.
      const wasDead = !wasLive && this.#ending !== null && this.#ending.reason !== 'replaced';
      const isOver = wasDead || ended.some(Boolean);
      if (isOver && ownsCookie) this.#clearCookie();
      if (isOver) this.#clearVisitorCookie();
      if (isOver && clearSiteData.length > 0) this.#exchange.reply()?.clearSiteData(clearSiteData);
      this.#signOut(null);
    });
  }

  /**
   * Goes on with a live session that the host vouches for, where no user is signed in: sets its cookie. Does nothing for
   * a page of another origin, nor where it isn't known who makes the request.
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

  /** The user, and the session's id and times. No token. */
  toJSON(): { user: User<Detail> | null; id: string | null; createdAt: Date | null; expiresAt: Date | null } {
    return { user: this.user, id: this.id, createdAt: this.createdAt, expiresAt: this.expiresAt };
  }

  [inspect.custom](): unknown {
    return this.toJSON();
  }

  /**
   * The session that the request has at this property.
   *
   * @internal
   */
  at(property: string): RequestSession<unknown> | undefined {
    return this.#policy.property === property ? (this as RequestSession<unknown>) : this.#earlier?.at(property);
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
   * Finds out who makes the request. Gives nothing when the store need not be asked.
   *
   * Clears no cookie, whatever it finds: while this request was in flight a newer login may have set it, and an answer
   * can't tell.
   *
   * @internal
   */
  open(): Promise<void> | undefined {
    const { acting, refusal } = this.#tokens;
    this.#failure = refusal;
    // Nobody is signed in by a conflict, and a login must be able to end it: one of several steps, too.
    if (refusal !== null)
      return this.#isConflict() ? this.#openVisitor() : this.#answering(() => Promise.reject(this.#refuse(refusal)));
    const [token] = acting;
    if (token === undefined) return this.#openVisitor();
    const isEager = this.#policy.data === 'eager';
    const known = acting.length === 1 && !isEager ? this.#policy.manager.openKnownToken(token) : null;
    if (known === null) return this.#answering(() => this.#lookUp(acting));
    this.#signInByToken(known);
    return undefined;
  }

  /**
   * The outcome of opening it, for a second middleware with the same manager.
   *
   * @internal
   */
  reopen(): Promise<void> | undefined {
    const failure = this.#failure;
    return failure !== null && this.#isRefused ? this.#answering(() => Promise.reject(failure)) : undefined;
  }

  /**
   * Why a request that needs a user can't go on; `null` when one is signed in.
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
   * Why a request that needs a recent proof of its user can't go on; `null` when it may. Asks the store where the near
   * cache has answered.
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
    // A proof of the future was made before the clock was set back: its age is unknown.
    const isRecent = Math.abs(checkedAt.getTime() - authenticatedAt.getTime()) <= seconds * 1000;
    return isRecent ? null : reauthenticationRequired();
  }

  /** Finds the visitor, where no user's token came. Gives nothing when the store need not be asked. */
  #openVisitor(): Promise<void> | undefined {
    const { token, refusal } = this.#visitorThatCame();
    return token === null && refusal === null ? undefined : this.#answering(() => this.#lookUp([]));
  }

  /** The visitor in the cookie. */
  #visitorThatCame(): RequestVisitor {
    this.#visitor ??= judgeVisitor(this.#policy, this.#exchange, this.#tokens);
    return this.#visitor;
  }

  /** Goes on with the visitor that came, if it is live. */
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
      const next = await this.#beginVisit('rotate', await manager.storedData(token, null));
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
  #keptData(userId: string, keys: readonly string[]): Promise<SessionEntries> | undefined {
    if (keys.length === 0) return undefined;
    const isSameUser = this.user === null || this.user.id === userId;
    const token = isSameUser && this.token !== null ? this.token : this.#visitorThatCame().token;
    return token === null ? undefined : this.#policy.manager.storedData(token, keys);
  }

  /** Refuses what would set a cookie, where a page of another origin asks for it or it is too late. */
  #checkCookie(call: string): void {
    const { cookies, trustedOrigins } = this.#policy;
    if (cookies === null) return;
    const refusal = crossOriginRefusal(this.#exchange, trustedOrigins);
    if (refusal !== null) throw refusal;
    if (this.#exchange.isTooLate()) throw headersSent(call);
  }

  /** Ends a session that has begun too late for its cookie. */
  async #checkCookieOf(call: string, { token }: { token: string }): Promise<void> {
    if (this.#policy.cookies === null || !this.#exchange.isTooLate()) return;
    await this.#policy.manager.deleteToken(token);
    throw headersSent(call);
  }

  #watch(): AbortSignal {
    const { id, user } = this;
    if (user === null) return new AbortController().signal;
    const { manager } = this.#policy;
    const signal = manager.watch({ id, user });
    this.#exchange.onClose(() => manager.unwatch(signal));
    return signal;
  }

  /** Signs in with the first of these tokens that is live, else goes on with the visitor that came. */
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
      if (onUnavailable === 'error' || !isUnavailable(error)) throw this.#refuse(error as Error);
    }
  }

  /** Signs in with a token that came, and gives its client a new one where that is due. */
  #signInByToken(session: RequestedSession<Detail>): void {
    const { manager, cookies } = this.#policy;
    const isInCookie = this.#tokens.cookies.includes(session.token);
    this.#signIn(session, isInCookie);
    if (!isInCookie || cookies === null) return;
    const renewed = this.#exchange.isTooLate() ? null : manager.renewedToken(session);
    const header = this.#exchange.header('cookie');
    this.#isPersistent = cookies.user.isPersistent(header, session.token);
    if (renewed === null) return;
    const next = session.withToken(renewed);
    this.#signIn(next, true);
    // A slow answer must not put its token into a browser that has gone on to a later one.
    this.#setCookie(next, Math.max(manager.rotationGraceMs, MIN_FRESH_MS));
  }

  /** Gives the client the token that the manager makes of its own. */
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

  /** The tokens that may act, and the one that the request is signed in with by now. */
  #actingTokens(): string[] {
    const { token } = this.#visitorThatCame();
    const others = [this.token, token].filter((one) => one !== null);
    return [...new Set([...this.#tokens.acting, ...others])];
  }

  #setCookie(session: RequestedSession<Detail>, freshForMs?: number): void {
    const { capAt, checkedAt } = session;
    const maxAge = capAt === 0 ? null : Math.ceil((capAt - checkedAt.getTime()) / 1000);
    const lifetime = { maxAge, isPersistent: this.#isPersistent, ...(freshForMs !== undefined && { freshForMs }) };
    // A renewal changes nothing of what else is there: only a login or logout deletes the others.
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

  /** {@link #answering}, of verbs that change who the session is of: one after the other. */
  #inTurn<Outcome>(act: () => Promise<Outcome>): Promise<Outcome> {
    const before = this.#turn;
    const turn = this.#answering(async () => {
      await before;
      return act();
    });
    this.#turn = turn.catch(() => {});
    return turn;
  }

  /**
   * Runs a verb. Adds the headers of the error that it rejects with to the answer, also to one that the application
   * writes.
   */
  async #answering<Outcome>(act: () => Promise<Outcome>): Promise<Outcome> {
    try {
      return await act();
    } catch (error) {
      throw this.#report(loginError(error, this.#policy.header?.challenge) as Error);
    }
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
