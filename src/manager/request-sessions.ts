import type { Ending } from '../errors/session-error';
import type { NewSession, SessionEntries, Store } from '../store/store';
import { parseToken, type TokenClaims } from '../token/token';
import type { CreateSessionOptions } from './call-options';
import type { Logins } from './logins';
import type { ManagerPolicy } from './manager-options';
import { NamedSessions } from './named-sessions';
import { OpenedSession } from './opened-session';
import { Rotations } from './rotations';
import { type DataAccess, type DataOwner, SessionData } from './session-data';
import type { SessionEmitter } from './session-events';
import { ANY_TOKEN, endingOf, liveIn, type SessionLookup } from './session-lookup';
import type { UserInfo } from './user-info';

/** The session that a token opens for a request, or the reason why there is none; `null` for no token of a user. */
type OpenedToken<Detail> = { session: OpenedSession<Detail>; ending: null } | { session: null; ending: Ending | null };

/** The part of a manager that the sessions of requests need, and that applications don't see. */
export class RequestSessions<Detail> {
  readonly #policy: ManagerPolicy<Detail>;
  readonly #lookup: SessionLookup;
  readonly #userInfo: UserInfo<Detail>;
  readonly #logins: Logins<Detail>;
  readonly #data: DataAccess;
  /** Of a session whose token was judged when its request was opened. */
  readonly #dataOfRequests: DataAccess;
  /** Makes the new tokens of sessions. */
  readonly rotations: Rotations;
  /** Sessions by tag and id instead of token, for a host that verifies them in its own way. */
  readonly named: NamedSessions;

  constructor(
    policy: ManagerPolicy<Detail>,
    store: Store,
    lookup: SessionLookup,
    userInfo: UserInfo<Detail>,
    logins: Logins<Detail>,
    events: SessionEmitter,
  ) {
    this.#policy = policy;
    this.#lookup = lookup;
    this.#userInfo = userInfo;
    this.#logins = logins;
    const { reuse, dataLimits: limits } = policy;
    this.#data = { store, lookup, reuse, limits };
    this.#dataOfRequests = { ...this.#data, reuse: ANY_TOKEN };
    this.rotations = new Rotations(policy, lookup, events);
    this.named = new NamedSessions(policy, store, lookup, logins, events);
  }

  /** The claims of a signed token; `null` for any other value. Asks no store. */
  readToken(token: unknown): TokenClaims | null {
    return parseToken(token, this.#policy.keys);
  }

  /** The session that {@link open} would give, if the near cache has all of it; else `null`. Asks no store. */
  openKnown(token: string): OpenedSession<Detail> | null {
    const stored = this.#lookup.known(token, 'use');
    const user = stored === null ? null : this.#userInfo.known(stored.user);
    return stored === null || user === null ? null : new OpenedSession(token, user, stored);
  }

  /** Opens the session of a user's token, and slides it. Asks the store. */
  async open(token: string, withData = false): Promise<OpenedToken<Detail>> {
    const claims = this.#lookup.claimsOf(token);
    if (claims === null) return { session: null, ending: null };
    const found = await (withData
      ? this.#lookup.ask(token, 'use with data', claims)
      : this.#lookup.askOnce(token, 'use', claims));
    const stored = liveIn(found);
    if (stored === null) return { session: null, ending: endingOf(found) };
    const user =
      this.#userInfo.known(stored.user) ?? (await this.#userInfo.load(stored.user, this.#policy.userInfoTtlMs));
    if (user === null) return { session: null, ending: { reason: 'revoked' } };
    return { session: new OpenedSession(token, user, stored), ending: null };
  }

  /** Opens a visitor's session, and slides it; `null` when the token is not live. */
  async openVisitor(token: string, withData: boolean): Promise<OpenedSession<Detail> | null> {
    const live = await this.#lookup.askVisitor(token, withData ? 'use with data' : 'use');
    return live === null ? null : new OpenedSession<Detail>(token, null, live);
  }

  /** Starts a user's session, with a copy of a visitor's data, or with keys that it takes over from another session. */
  async start(
    userId: string,
    options: CreateSessionOptions,
    beginning: Pick<NewSession, 'data' | 'inherits'>,
  ): Promise<OpenedSession<Detail>> {
    const { token, user, ...stored } = await this.#logins.logIn(userId, options, beginning);
    return new OpenedSession(token, user, stored);
  }

  /** Starts a visitor's session, with data. */
  async startVisitor(data: SessionEntries): Promise<OpenedSession<Detail>> {
    const { token, ...stored } = await this.#logins.startVisitor({ data });
    return new OpenedSession<Detail>(token, null, stored);
  }

  /**
   * Ends a visitor's session that `next` has replaced. Writes to `next` what other requests have changed since the data
   * was copied. `keys`: the keys that were copied; `null` for all.
   */
  async endVisitor(
    token: string,
    next: OpenedSession<Detail>,
    copy: SessionEntries,
    keys: readonly string[] | null,
  ): Promise<void> {
    const [former, name] = [this.readToken(token), this.readToken(next.token)];
    if (!former || !name) return;
    const changes = await this.named.endCopied(former, copy);
    const moving = [...(changes ?? [])].filter(([key]) => keys === null || keys.includes(key));
    await this.named.catchUp(name, next.user?.id ?? null, new Map(moving));
  }

  /** The data of a token's session as JSON, under some keys, or all of it for `null`. `null` without a live session. */
  async storedData(token: string, keys: readonly string[] | null): Promise<SessionEntries | null> {
    const { store, reuse } = this.#data;
    const found = await this.#lookup.onData(token, (claims) => store.readData(claims.tag, claims, reuse, keys));
    return found?.data ?? null;
  }

  /** Why the session of an open request has ended, by the store; `null` while it lives. Doesn't judge its token. */
  async endingNow(token: string): Promise<Ending | null> {
    const found = await this.#lookup.ask(token, 'read', undefined, ANY_TOKEN);
    return liveIn(found) === null ? endingOf(found) : null;
  }

  /**
   * Makes a new token for the session of an open request, unless the session has ended meanwhile. Judges the token no
   * second time: another request may have rotated longer ago than the grace.
   */
  rotate(token: string, proof: 'inherited' | 'now'): ReturnType<Rotations['rotate']> {
    return this.rotations.rotate(token, proof, ANY_TOKEN);
  }

  /** The data of the session of an open request, which may change meanwhile. Judges its token no second time. */
  dataOf(owner: DataOwner): SessionData {
    return new SessionData(this.#dataOfRequests, owner);
  }

  /** The data of a token's session, outside of requests. Each call judges the token. */
  dataOfToken(token: string): SessionData {
    const owner: DataOwner = { token: () => token, known: null, startVisitor: null, answering: (act) => act() };
    return new SessionData(this.#data, owner);
  }
}
