import { DEFAULT_HEARTBEAT_MS } from '../cache/cache-options';
import { type CacheStats, type FollowableStore, NearCache } from '../cache/near-cache';
import { checkSeconds, checkString, kindOf, readOptions } from '../errors/arguments';
import { SessionError } from '../errors/session-error';
import { observeStore } from '../store/observed-store';
import { checkAttributes } from '../store/session-attributes';
import { userOf } from '../store/shared-user';
import type { HealthReport, SessionAttributes, SessionRecord, Store } from '../store/store';
import { isSessionId, parseToken, signToken, tagOf } from '../token/token';
import {
  BAN_OPTIONS,
  type BanUserOptions,
  type CreateSessionOptions,
  DELETE_OPTIONS,
  type DeleteUserTokenOptions,
  INSPECT_OPTIONS,
  type InspectTokenOptions,
  REVOKE_OPTIONS,
  type RevokeOptions,
} from './call-options';
import { Logins } from './logins';
import { type ManagerPolicy, managerPolicy, type TokenManagerOptions } from './manager-options';
import { reportOutcome } from './report-outcome';
import { RequestSessions } from './request-sessions';
import type { SessionData } from './session-data';
import { SessionEmitter, type SessionEvents, type SessionListener } from './session-events';
import { endingOf, foreignRecord, type LiveToken, liveIn, SessionLookup } from './session-lookup';
import { banOf, infoOf, LiveSession } from './session-view';
import type { Ban, Inspection, Session, SessionInfo, User } from './types';
import { UserInfo } from './user-info';
import { type WatchableSession, type WatchedSession, Watches, watchTarget } from './watches';

/** Users that `refreshUser` loads at a time. */
const REFRESH_CONCURRENCY = 16;

/**
 * What the sessions of requests need of a manager. Lets this package, not applications, reach the private state.
 *
 * @internal
 */
export let requestSessionsOf: <Detail>(manager: TokenManager<Detail>) => RequestSessions<Detail>;

/**
 * Issues, checks and ends sign-in sessions.
 *
 * A token may be any value. One that is not live gives `null`, `false` or 0; one that is not signed never reaches the
 * store.
 *
 * Every method that asks the store rejects with a {@link SessionError} when the store can't answer. An argument of the
 * wrong kind is a TypeError or RangeError, before anything is stored. A `userId` is 1 to 1,024 bytes of well-formed
 * text. A ttl is a whole number of seconds, from 1 to a hundred years.
 */
export class TokenManager<Detail = unknown> {
  readonly #policy: ManagerPolicy<Detail>;
  readonly #events = new SessionEmitter();
  readonly #cache: NearCache | null;
  readonly #store: Store;
  readonly #lookup: SessionLookup;
  readonly #userInfo: UserInfo<Detail>;
  readonly #logins: Logins<Detail>;
  readonly #requests: RequestSessions<Detail>;
  readonly #watches: Watches;

  static {
    requestSessionsOf = (manager) => manager.#requests;
  }

  /** @throws TypeError or RangeError naming the option that is missing, unknown or of the wrong kind. */
  constructor(options: TokenManagerOptions<Detail>) {
    const policy = managerPolicy(options);
    const events = this.#events;
    const watcher = {
      down: (cause: unknown) => events.emit('cache-down', { error: cacheDown(cause) }),
      up: () => events.emit('cache-up', {}),
    };
    const onGone = (userId: string, ended: string[]) => this.#emitRevoked(userId, ended, null);
    const heartbeatMs = policy.cache?.heartbeatMs ?? DEFAULT_HEARTBEAT_MS;
    this.#policy = policy;
    const cache =
      policy.cache && new NearCache(policy.store as FollowableStore, policy.cache, policy.slideEveryMs, watcher);
    this.#cache = cache;
    this.#store = observeStore(policy.store, {
      down: (error) => events.emit('store-down', { error }),
      up: () => events.emit('store-up', {}),
      changed: cache && ((tag) => cache.changed(tag)),
    });
    this.#lookup = new SessionLookup(policy, this.#store, this.#cache, events);
    this.#userInfo = new UserInfo(this.#store, policy.getUserInfo, onGone);
    this.#logins = new Logins(policy, this.#store, this.#userInfo, events);
    this.#requests = new RequestSessions(policy, this.#store, this.#lookup, this.#userInfo, this.#logins, events);
    this.#watches = new Watches({ store: this.#store, heartbeatMs, events });
  }

  /**
   * Adds a listener of an event of {@link SessionEvents}. A listener that throws breaks nothing: it becomes a process
   * warning.
   */
  on<Name extends keyof SessionEvents>(name: Name, listener: SessionListener<Name>): this {
    this.#events.on(name, listener);
    return this;
  }

  /** Adds a listener for the next such event only. */
  once<Name extends keyof SessionEvents>(name: Name, listener: SessionListener<Name>): this {
    this.#events.once(name, listener);
    return this;
  }

  /** Removes a listener that {@link on} or {@link once} added. */
  off<Name extends keyof SessionEvents>(name: Name, listener: SessionListener<Name>): this {
    this.#events.off(name, listener);
    return this;
  }

  /**
   * Whether a value is a token signed with one of the secrets. Asks no store, and so says nothing about the session.
   */
  isToken(token: unknown): token is string {
    return parseToken(token, this.#policy.keys) !== null;
  }

  /**
   * Starts a session and returns its token. Doesn't ask `getUserInfo` whether the user exists.
   *
   * @param ttl seconds the session lives without a request. Default: the option `ttl`.
   * @param attributes where the session was started, to show to the user. Default: none.
   * @throws SessionError when the session could not be stored; `ERR_USER_BANNED`; `ERR_TOO_MANY_SESSIONS` with
   *   `onLimit: 'reject'`.
   */
  async setToken(userId: string, ttl?: number, attributes?: SessionAttributes): Promise<string> {
    const { token } = await this.#logins.start(userId, { ttl, attributes: checkAttributes('attributes', attributes) });
    return token;
  }

  /**
   * Starts a session, for an integration with a framework: the middleware's `login` calls it. With a `getUserInfo`,
   * loads the user first. Ends the sessions of the tokens in `replaces`.
   *
   * @throws SessionError `ERR_USER_NOT_FOUND` when `getUserInfo` knows no such user; `ERR_USER_BANNED`;
   *   `ERR_TOO_MANY_SESSIONS` with `onLimit: 'reject'`. When a replaced session can't be ended, the new one is ended as
   *   well.
   */
  async createSession(userId: string, options?: CreateSessionOptions): Promise<Session<Detail>> {
    const { token, user, session, now } = await this.#logins.logIn(userId, options);
    return new LiveSession(token, user, session, session.provedAt, now);
  }

  /**
   * Slides a live session at once. Never creates or revives one.
   *
   * @param ttl seconds the session lives from now on without a request. Default: the ttl it has.
   * @returns `false` when the token is not live.
   */
  async refreshToken(token: string, ttl?: number): Promise<boolean> {
    const ttlMs = ttl === undefined ? null : checkSeconds('ttl', ttl) * 1000;
    return this.#lookup.refresh(token, ttlMs);
  }

  /**
   * The data of a token's session: outside of requests, what `req.session.data` is inside. Asks no store by itself.
   * Each of its methods judges the token: a former one that comes after `rotationGrace` is a reuse here as well, see
   * the option `onReuse`.
   *
   * @example
   * await manager.sessionData(token).set('theme', 'dark');
   */
  sessionData(token: string): SessionData {
    return this.#requests.dataOfToken(token);
  }

  /** Ends this session, as its holder does at a logout. `false` when the token was not live. */
  async deleteToken(token: string): Promise<boolean> {
    const claims = parseToken(token, this.#policy.keys);
    return claims !== null && this.#requests.named.end(claims);
  }

  /**
   * Reads a session. Doesn't slide it, and gives no user info. A former token that comes after `rotationGrace` is a
   * reuse here as well, see the option `onReuse`.
   */
  async checkToken(token: string): Promise<Session<Detail> | null> {
    const stored = this.#lookup.known(token, 'read') ?? liveIn(await this.#lookup.askOnce(token, 'read'));
    return stored === null ? null : viewOf(token, stored);
  }

  /**
   * Reads a session, with user info from the cache or from `getUserInfo`. Doesn't slide it.
   *
   * @param userInfoTtl seconds to cache info that has to be loaded. Default: the option `userInfoTtl`.
   * @returns `null` when the token is not live, or when `getUserInfo` knows no such user. All sessions of that user
   *   have then ended.
   * @throws the error of `getUserInfo`; nothing is cached and no session ends.
   */
  checkTokenOrUpdateUser(token: string, userInfoTtl?: number): Promise<Session<Detail> | null> {
    return this.#findWithDetail(token, 'read', userInfoTtl);
  }

  /** Does what a request does: {@link checkTokenOrUpdateUser}, and slides the session, in one call to the store. */
  touchToken(token: string, userInfoTtl?: number): Promise<Session<Detail> | null> {
    return this.#findWithDetail(token, 'use', userInfoTtl);
  }

  /**
   * Gives the session of a token, or the reason why there is none. Makes the same one call to the store as {@link
   * checkToken}, or with `touch` as {@link touchToken}.
   */
  async inspectToken(token: string, options?: InspectTokenOptions): Promise<Inspection<Detail>> {
    const { touch, userInfoTtl, cache } = readOptions('inspectToken', options, INSPECT_OPTIONS, '');
    const ttlMs = this.#userInfoTtlMs(userInfoTtl);
    const purpose = touch ? 'use' : 'read';
    const known = cache ? this.#lookup.known(token, purpose) : null;
    const view = known === null ? null : touch ? this.#viewWithDetail(token, known) : viewOf<Detail>(token, known);
    if (view !== null) return { session: view };
    const found = cache ? await this.#lookup.askOnce(token, purpose) : await this.#lookup.ask(token, purpose);
    const stored = liveIn(found);
    if (stored === null) return { session: null, ...endingOf(found) };
    const session = touch ? await this.#loadDetail(token, stored, ttlMs) : viewOf<Detail>(token, stored);
    return session === null ? { session: null, reason: 'revoked' } : { session };
  }

  /**
   * Gives a live session a new token. Writes nothing: the old token stays good until the new one is used, and for
   * `rotationGrace` seconds after that. A later use of the old token is a reuse, see the option `onReuse`. Id, login
   * time, whole life, attributes and the last proof stay.
   *
   * @returns `null` when the token is not live.
   */
  async rotateToken(token: string): Promise<string | null> {
    return (await this.#requests.rotations.rotate(token, 'inherited')).token;
  }

  /**
   * Gives a live session a new token that proves its user at this moment: after a password was asked for again, for
   * example (OWASP ASVS 7.2.4). The old token stays valid as in {@link rotateToken}, and proves no more than before.
   *
   * @returns the session with its new token; `null` when the token is not live.
   */
  async reauthenticateToken(token: string): Promise<Session<Detail> | null> {
    const rotated = await this.#requests.rotations.rotate(token, 'now');
    return rotated.token === null ? null : viewOf(rotated.token, rotated);
  }

  /**
   * Gives a token for each live session of a user, oldest login first. It has the newest used generation and is signed
   * with the first secret. After a change of secrets, it differs from the client's token, and is equally valid. For
   * trusted code; show users {@link listUserSessions}.
   */
  async listUserToken(userId: string): Promise<string[]> {
    const tag = tagOf(this.#logins.checkUserId(userId));
    return (await this.#list(tag)).sessions.map((record) => signToken({ tag, ...record }, this.#policy.keys));
  }

  /** Lists the live sessions of a user, oldest login first, without their tokens. */
  async listUserSessions(userId: string): Promise<SessionInfo[]> {
    const { sessions, now } = await this.#list(tagOf(this.#logins.checkUserId(userId)));
    return sessions.map((record) => infoOf(record, now));
  }

  /** Ends all sessions of a user, or all but one. Returns the number of sessions it ended. */
  async deleteUserToken(userId: string, options?: DeleteUserTokenOptions): Promise<number> {
    const tag = tagOf(this.#logins.checkUserId(userId));
    const { except, message } = readOptions('deleteUserToken', options, DELETE_OPTIONS, '');
    const kept = except === null ? null : this.#sidToKeep(tag, except);
    const call = this.#store.endAll(tag, { except: kept, message, goneAtVersion: null });
    const ended = await reportOutcome(call, (sids) => this.#emitRevoked(userId, sids, message));
    return ended.length;
  }

  /**
   * Ends one session of this user, by its id. `false` when this user has no such live session; another user's session
   * stays.
   */
  async deleteSession(userId: string, sessionId: string, options?: RevokeOptions): Promise<boolean> {
    const tag = tagOf(this.#logins.checkUserId(userId));
    checkString('sessionId', sessionId);
    const { message } = readOptions('deleteSession', options, REVOKE_OPTIONS, '');
    if (!isSessionId(sessionId)) return false;
    const ended = await reportOutcome(this.#store.end(tag, sessionId, { reason: 'revoked', message }), (session) => {
      if (session !== null) this.#emitRevoked(userId, [sessionId], message);
    });
    return ended !== null;
  }

  /**
   * Bans a user: ends all their sessions, and has every login reject with `ERR_USER_BANNED` until the ban is over.
   * Replaces an earlier ban. Keep bans in your database as well: the store is no archive.
   *
   * @returns the number of sessions it ended.
   */
  async banUser(userId: string, options?: BanUserOptions): Promise<number> {
    const tag = tagOf(this.#logins.checkUserId(userId));
    const { seconds, reason } = readOptions('banUser', options, BAN_OPTIONS, '');
    const durationMs = seconds === null ? null : 1000 * seconds;
    const { ended } = await reportOutcome(this.#store.ban(tag, { userId, durationMs, reason }), (outcome) => {
      const { until } = banOf(outcome.ban);
      this.#events.emit('banned', {
        userId,
        sessionIds: [...outcome.ended],
        until,
        ...(reason !== null && { reason }),
      });
    });
    return ended.length;
  }

  /** Lifts a ban. The sessions it ended stay ended. `false` when there was no ban. */
  async unbanUser(userId: string): Promise<boolean> {
    return this.#store.unban(tagOf(this.#logins.checkUserId(userId)), userId);
  }

  /** The ban of a user; `null` when there is none or it is over. */
  async getBan(userId: string): Promise<Ban | null> {
    const tag = tagOf(this.#logins.checkUserId(userId));
    const ban = await this.#store.getBan(tag);
    if (ban === null) return null;
    if (tagOf(ban.userId) !== tag) throw foreignRecord();
    return banOf(ban);
  }

  /**
   * Loads a user's info and caches it.
   *
   * @param userInfoTtl seconds to cache it. Default: the option `userInfoTtl`.
   * @returns `null` when `getUserInfo` knows no such user. All sessions of that user have then ended.
   * @throws TypeError without a `getUserInfo`; the error of `getUserInfo`.
   */
  async addUser(userId: string, userInfoTtl?: number): Promise<User<Detail> | null> {
    this.#logins.checkUserId(userId);
    const { detail } = await this.#userInfo.loadAndCache(userId, this.#userInfoTtlMs(userInfoTtl));
    return detail === null ? null : userOf(userId, detail);
  }

  /**
   * Loads the info of many users again, 16 at a time.
   *
   * @param userInfoTtl seconds to cache it. Default: the option `userInfoTtl`.
   * @returns the number of users whose info it has cached. Users that `getUserInfo` doesn't know don't count, nor do
   *   those whose info a later load or `deleteUser` has overtaken.
   * @throws AggregateError with all failures, after every user was tried. TypeError without a `getUserInfo`.
   */
  async refreshUser(userIds: readonly string[], userInfoTtl?: number): Promise<number> {
    if (!Array.isArray(userIds)) throw new TypeError(`userIds must be an array of strings, got ${kindOf(userIds)}`);
    // Not map, which leaves holes out.
    const waiting = new Set(
      Array.from(userIds, (userId, index) => this.#logins.checkUserId(userId, `userIds[${index}]`)),
    ).values();
    const ttlMs = this.#userInfoTtlMs(userInfoTtl);
    this.#userInfo.checkLoader();

    let refreshed = 0;
    const errors: unknown[] = [];
    const work = async () => {
      for (const userId of waiting) {
        try {
          if ((await this.#userInfo.loadAndCache(userId, ttlMs)).isCached) refreshed++;
        } catch (error) {
          errors.push(error);
        }
      }
    };
    await Promise.all(Array.from({ length: REFRESH_CONCURRENCY }, work));
    if (errors.length > 0)
      throw new AggregateError(errors, `the info of ${errors.length} users could not be refreshed`);
    return refreshed;
  }

  /** Deletes the cached info of a user; the next check loads it again. Sessions go on. `false` when none was cached. */
  async deleteUser(userId: string): Promise<boolean> {
    return this.#userInfo.forget(this.#logins.checkUserId(userId));
  }

  /**
   * The state of the store, for a readiness route: `{ status: 'up' | 'degraded' | 'down', latencyMs, reasons }`. Never
   * rejects, and settles within the store's `timeoutMs`. One call a second is no noticeable load for the store.
   */
  async health(): Promise<HealthReport> {
    return this.#store.health();
  }

  /** The counts of the near cache, for a metric; `null` without a cache. */
  get cacheStats(): CacheStats | null {
    return this.#cache?.stats ?? null;
  }

  /**
   * Watches a session. The signal aborts once the session has ended, in any process and for any reason, expiry
   * included. Its `reason` is a {@link SessionError} `ERR_SESSION_ENDED` with `endReason`, and `endMessage` if one was
   * given. Pass the signal to {@link unwatch} when you no longer need it, unless the session has ended.
   *
   * The store announces an end within milliseconds. While announcements may be missed (event `watch-down`), the manager
   * asks the store every five seconds. A store that is out of reach aborts no signal. An expiry is noticed within two
   * seconds. Closing the manager ends the watch and aborts nothing.
   *
   * @param session a session of `createSession`, `checkToken` or a request; or a token. The signal of one that is not
   *   live aborts at once, or as soon as the store has answered.
   * @throws TypeError for any other value. SessionError `ERR_STORE_UNAVAILABLE` after {@link close}.
   * @example
   * const signal = manager.watch(session);
   * signal.addEventListener('abort', () => socket.close(4401, signal.reason.endReason));
   * socket.once('close', () => manager.unwatch(signal));
   */
  watch(session: WatchableSession | string): AbortSignal {
    return this.#watches.watch(watchTarget(session, this.#policy.keys));
  }

  /** Ends the watch of a signal of {@link watch}: it no longer aborts. `false` when it was not watched. */
  unwatch(signal: AbortSignal): boolean {
    return this.#watches.unwatch(signal);
  }

  /** The live sessions that this process watches: who is online here. */
  watched(): WatchedSession[] {
    return this.#watches.list();
  }

  /** Closes the connections that the store opened, never a client that was handed in. */
  async close(): Promise<void> {
    this.#watches.close();
    this.#cache?.close();
    await this.#store.close();
  }

  #emitRevoked(userId: string, ended: readonly string[], message: string | null): void {
    for (const sessionId of ended) {
      this.#events.emit('revoked', { userId, sessionId, ...(message !== null && { message }) });
    }
  }

  async #findWithDetail(token: string, purpose: 'read' | 'use', userInfoTtl?: number): Promise<Session<Detail> | null> {
    const ttlMs = this.#userInfoTtlMs(userInfoTtl);
    const known = this.#lookup.known(token, purpose);
    const view = known === null ? null : this.#viewWithDetail(token, known);
    if (view !== null) return view;
    const stored = liveIn(await this.#lookup.askOnce(token, purpose));
    return stored === null ? null : this.#loadDetail(token, stored, ttlMs);
  }

  /** A session with its user info; `null` when that must be loaded. A version from memory is too old for a load. */
  #viewWithDetail(token: string, live: LiveToken): Session<Detail> | null {
    const user = this.#userInfo.known(live.user);
    return user === null ? null : viewOf(token, live, user);
  }

  /** A session with its user info, loaded if there is none; `null` when there is no such user. */
  async #loadDetail(token: string, stored: LiveToken, ttlMs: number): Promise<Session<Detail> | null> {
    const user = this.#userInfo.known(stored.user) ?? (await this.#userInfo.load(stored.user, ttlMs));
    return user === null ? null : viewOf(token, stored, user);
  }

  async #list(tag: string): Promise<{ sessions: SessionRecord[]; now: number }> {
    const stored = await this.#store.list(tag);
    if (stored === null) return { sessions: [], now: 0 };
    if (tagOf(stored.userId) !== tag) throw foreignRecord();
    return stored;
  }

  #sidToKeep(tag: string, except: string): string | null {
    if (isSessionId(except)) return except;
    const parts = parseToken(except, this.#policy.keys);
    return parts?.tag === tag ? parts.sid : null;
  }

  #userInfoTtlMs(userInfoTtl: number | undefined): number {
    return userInfoTtl === undefined ? this.#policy.userInfoTtlMs : 1000 * checkSeconds('userInfoTtl', userInfoTtl);
  }
}

function viewOf<Detail>(token: string, live: LiveToken, user: User<Detail> = userOf(live.user.id)): Session<Detail> {
  return new LiveSession(token, user, live.session, live.provedAt, live.now);
}

function cacheDown(cause: unknown): SessionError {
  const message = 'changes to sessions may be missed: the near cache is bypassed';
  return new SessionError('ERR_STORE_UNAVAILABLE', message, { cause });
}
