import { type Ending, isUnavailable, SessionError } from '../../errors/session-error';
import type { OpenedSession } from '../../manager/opened-session';
import type { SessionData } from '../../manager/session-data';
import type { User } from '../../manager/types';
import { sessionIdIn, tagIn } from '../../token/token';
import type { Exchange } from '../exchange/exchange';
import { crossOriginRefusal } from '../tokens/origin-check';
import {
  headerTokenOf,
  judgeTokens,
  judgeVisitor,
  NO_VISITOR,
  type RequestTokens,
  type RequestVisitor,
} from '../tokens/request-tokens';
import type { SessionPolicy } from './middleware-options';

/** The least number of milliseconds for which an answer may set a token unasked, even with a shorter grace. */
const MIN_FRESH_MS = 1000;

/**
 * The state of a request's session: who is signed in, and the cookies that the answer sets for it. The verbs of
 * `RequestSession` change it.
 */
export class CurrentSession<Detail> {
  readonly policy: SessionPolicy<Detail>;
  readonly exchange: Exchange;
  readonly tokens: RequestTokens;
  /** The live session of a user or visitor; `null` for none. */
  session: OpenedSession<Detail> | null = null;
  /** The access to its data; `null` until the application asks for it. */
  data: SessionData | null = null;
  /** Whether the cookie of users carries the session's token: it came there, or this answer sets it. */
  isInCookie = false;
  /** Whether the browser keeps that cookie when it is closed. */
  isPersistent = true;
  /** Why the token that came opens no session; `null` without one. */
  ending: Ending | null = null;
  /** Whether the session turned out to have ended during the request, by another. Later writes then start no other. */
  hasEnded = false;
  /** Why the user of the request could not be determined; `null` otherwise. */
  failure: Error | null = null;
  /** Gives a token of the user's session that the host has verified itself, beside this one; `null` for none. */
  tokenBeside: (() => string | null) | null = null;
  /** The visitor of the request; `null` until it is looked for. */
  #visitor: RequestVisitor | null = null;
  /** The login, logout, rotation or start of a visit in flight. */
  #turn: Promise<unknown> | null = null;

  constructor(policy: SessionPolicy<Detail>, exchange: Exchange) {
    this.policy = policy;
    this.exchange = exchange;
    this.tokens = judgeTokens(policy, exchange);
  }

  get user(): User<Detail> | null {
    return this.session === null ? null : this.session.user;
  }

  get token(): string | null {
    return this.session === null ? null : this.session.token;
  }

  get #cookies() {
    return this.policy.cookies?.(this.exchange.isSecure);
  }

  get visitor(): RequestVisitor {
    this.#visitor ??= judgeVisitor(this.policy, this.exchange, this.tokens);
    return this.#visitor;
  }

  /** Milliseconds after which an answer is too late to set a token unasked: it must not replace a later one. */
  get freshForMs(): number {
    return Math.max(this.policy.sessions.rotations.graceMs, MIN_FRESH_MS);
  }

  /**
   * Whether a session counts that the host has verified itself, by a cookie of express-session: not beside a token in
   * the header, and not for a page of another origin.
   */
  get acceptsBeside(): boolean {
    const { policy, exchange, tokens } = this;
    return headerTokenOf(policy, tokens) === null && crossOriginRefusal(exchange, policy.trustedOrigins) === null;
  }

  /**
   * One token of each session that the request may act on: of those that came, {@link tokenBeside} and those that it has
   * now. A signed one takes the place of one that came, whose signature is unknown.
   */
  get actingTokens(): string[] {
    const beside = this.tokenBeside !== null && this.acceptsBeside ? this.tokenBeside() : null;
    const tokens = [...this.tokens.acting, beside, this.token, this.visitor.token].filter((one) => one !== null);
    return [...new Map(tokens.map((token) => [tagIn(token) + sessionIdIn(token), token])).values()];
  }

  /** Whether the request has cookies of several users, so that none of them signs in. */
  get isConflict(): boolean {
    return this.failure instanceof SessionError && this.failure.code === 'ERR_TOKEN_CONFLICT';
  }

  /** @throws the failure that leaves it unknown whose session this is. A conflict signs no one in. */
  checkKnown(): void {
    if (this.session === null && this.failure !== null && !this.isConflict) throw this.failure;
  }

  signIn(session: OpenedSession<Detail>, isInCookie: boolean): void {
    this.session = session;
    this.isInCookie = isInCookie;
    this.ending = null;
    this.failure = null;
  }

  /** @param ending why the session has ended meanwhile; `null` when this request has ended it. */
  signOut(ending: Ending | null): void {
    this.hasEnded = ending !== null;
    this.session = null;
    this.isInCookie = false;
    this.ending = ending;
  }

  /** Goes on as a visitor, with the token in the visitor's cookie or not. `freshForMs`: as of {@link setCookie}. */
  visitAs(visitor: OpenedSession<Detail>, isInCookie: boolean, freshForMs: number | null = null): void {
    const { cookies } = this.visitor;
    this.session = visitor;
    this.#visitor = { token: visitor.token, isInCookie, refusal: null, cookies };
    if (!isInCookie) return;
    const lifetime = { maxAge: null, isPersistent: false };
    const hasOtherCookies = this.#mayConflict(cookies, visitor.token);
    this.#cookies?.visitor.set(this.exchange, visitor.token, lifetime, hasOtherCookies, freshForMs);
  }

  /**
   * @param freshForMs milliseconds until the answer is too late, where no verb asked for it. Default `null`: never.
   * @param leavesOthers whether other cookies of the name stay. Default: they are deleted.
   */
  setCookie(session: OpenedSession<Detail>, freshForMs: number | null = null, leavesOthers = false): void {
    const { capAt, checkedAt } = session;
    const maxAge = capAt === 0 ? null : Math.ceil((capAt - checkedAt.getTime()) / 1000);
    const lifetime = { maxAge, isPersistent: this.isPersistent };
    const hasOtherCookies = !leavesOthers && this.#mayConflict(this.tokens.cookies, session.token);
    this.#cookies?.user.set(this.exchange, session.token, lifetime, hasOtherCookies, freshForMs);
  }

  /**
   * Whether cookies that came may stay beside the new one, and count against it: several, or one of another user or
   * visitor. Even a single one may have another domain or path: a planted one, or one from before a change of options.
   */
  #mayConflict(cookies: readonly string[], token: string): boolean {
    if (cookies.length > 1) return true;
    const tag = tagIn(token);
    return cookies.some((other) => (this.policy.sessions.readToken(other)?.tag ?? tag) !== tag);
  }

  clearCookie(): void {
    if (this.exchange.isTooLate()) return;
    this.#cookies?.user.clear(this.exchange, this.tokens.cookies.length > 1, null);
  }

  /**
   * Clears the visitor's cookie, if the request brought or started a visitor. Clears all of them if several came.
   * `freshForMs`: as of {@link setCookie}.
   */
  clearVisitorCookie(freshForMs: number | null = null): void {
    const { isInCookie, cookies } = this.visitor;
    const hasOtherCookies = cookies.length > 1;
    this.#visitor = { ...NO_VISITOR, cookies };
    if ((!hasOtherCookies && !isInCookie) || this.exchange.isTooLate()) return;
    this.#cookies?.visitor.clear(this.exchange, hasOtherCookies, freshForMs);
  }

  /**
   * @param what will set a cookie, for errors.
   * @throws SessionError for a page of another origin, or when it is too late.
   */
  checkMaySetCookie(what: string): void {
    const { cookies, trustedOrigins } = this.policy;
    if (cookies === null) return;
    const refusal = crossOriginRefusal(this.exchange, trustedOrigins);
    if (refusal !== null) throw refusal;
    if (this.exchange.isTooLate()) throw headersSent(what);
  }

  /** Ends a session that started too late for its cookie. */
  async endIfTooLate(what: string, { token }: { token: string }): Promise<void> {
    if (this.policy.cookies === null || !this.exchange.isTooLate()) return;
    await this.policy.manager.deleteToken(token);
    throw headersSent(what);
  }

  /** The error that opening rejects with; `null` where the request goes on, with or without a failure. */
  openingError(): Error | null {
    const { failure } = this;
    if (failure === null || this.isConflict) return null;
    const isServed = this.policy.onUnavailable === 'anonymous' && isUnavailable(failure);
    return isServed ? null : this.withErrorHeaders(failure);
  }

  /** Runs a verb that changes the session of the request after all such verbs before it, as {@link answering}. */
  inTurn<Outcome>(act: () => Promise<Outcome>): Promise<Outcome> {
    const before = this.#turn;
    const turn = this.answering(async () => {
      await before;
      return act();
    });
    this.#turn = turn.catch(() => {});
    return turn;
  }

  /** Runs a verb. Its error gets {@link withErrorHeaders}. */
  async answering<Outcome>(act: () => Promise<Outcome>): Promise<Outcome> {
    try {
      return await act();
    } catch (error) {
      throw this.withErrorHeaders(error as Error);
    }
  }

  /**
   * The error for an answer; a 401 gets the challenge (RFC 9110, 15.5.2), which the core doesn't know. Its headers go
   * to the answer that has its status, also if the application writes that.
   */
  withErrorHeaders(error: Error): Error {
    if (!(error instanceof SessionError)) return error;
    const { code, message } = error;
    const headers = error.status === 401 && error.headers === undefined ? this.policy.header?.challenge : undefined;
    const answer = headers === undefined ? error : new SessionError(code, message, { cause: error, headers });
    if (answer.headers !== undefined) this.exchange.reply()?.addErrorHeaders(answer);
    return answer;
  }
}

/** @param what would have set the cookie. */
export function headersSent(what: string): SessionError {
  const reason = 'the response had begun, or its client had gone: its cookie could not be set (an await missing?)';
  return new SessionError('ERR_HEADERS_SENT', `${what} came after ${reason}`);
}
