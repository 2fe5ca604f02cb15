import { isEnded, SessionError } from './errors';
import {
  checkAttributes,
  checkBoolean,
  checkFunction,
  checkInteger,
  checkOptions,
  checkSeconds,
  checkSecondsOrZero,
  checkUserId,
  kindOf,
} from './options';
import { expiryOf, isStore, type SessionRecord, type Store, type StoredSession, type StoreHealth } from './store';
import {
  createToken,
  importSecret,
  isSessionId,
  parseToken,
  type SigningKeys,
  signToken,
  type TokenParts,
  tagOf,
} from './token';
import type { GetUserInfo, Session, SessionAttributes, SessionInfo, User } from './types';
import { UserInfo, userNotFound } from './user-info';

export interface TokenManagerOptions<Detail> {
  /** Where sessions are kept: a `RedisStore`, a `MemoryStore`, or your own. Required. */
  store: Store;
  /**
   * What tokens are signed with: one secret or several, each at least 32 characters. The first signs, all verify, so that a secret
   * is replaced by putting the new one in front and taking the old one away when its sessions have ended. Required.
   */
  secret: string | readonly string[] | undefined;
  /** Seconds a session lives without a request. Default 604,800 (7 days). */
  ttl?: number | undefined;
  /**
   * Seconds between two slides of a session: a request sooner than that after the last slide only reads. Default 0, each request
   * slides. A session whose ttl is under twice this value slides at half its ttl, so that one in use never ends by idleness.
   */
  slideEvery?: number | undefined;
  /** Seconds since login after which a session ends, no matter how busy. Default: none. */
  absoluteTtl?: number | undefined;
  /** Whether a login ends the user's other sessions. Default false. */
  singleMode?: boolean | undefined;
  /** Live sessions a user may have, 1 to 1,000; at a login over that the oldest gives way. Default 100. */
  maxSessions?: number | undefined;
  /** Loads `user.detail`. Default: none, users have no detail but what another service with the same store has cached. */
  getUserInfo?: GetUserInfo<Detail> | undefined;
  /** Seconds for which loaded user info is kept. Default 600. */
  userInfoTtl?: number | undefined;
}

const OPTIONS: Record<keyof TokenManagerOptions<unknown>, true> = {
  store: true,
  secret: true,
  ttl: true,
  slideEvery: true,
  absoluteTtl: true,
  singleMode: true,
  maxSessions: true,
  getUserInfo: true,
  userInfoTtl: true,
};

const DEFAULT_TTL = 7 * 24 * 3600;
const DEFAULT_USER_INFO_TTL = 600;
const DEFAULT_MAX_SESSIONS = 100;
/** A login reads them all: with many more than this, one user's logins would hold up everybody's Redis. */
const MAX_MAX_SESSIONS = 1000;

/** How many users `refreshUser` loads at a time. */
const REFRESH_CONCURRENCY = 16;

export interface CreateSessionOptions {
  /** Seconds the session lives without a request. Default: the manager's `ttl`. */
  ttl?: number | undefined;
  /** Where it was started, to show to the user. Default: none. */
  attributes?: SessionAttributes | undefined;
  /** Tokens that die with this login, whoever they belong to. Default: none. */
  replaces?: readonly string[] | undefined;
}

const CREATE_OPTIONS: Record<keyof CreateSessionOptions, true> = { ttl: true, attributes: true, replaces: true };

export interface DeleteUserTokenOptions {
  /**
   * The token, or the id, of a session to keep: "log out my other devices". One that names no live session of this user keeps none.
   * Default, or `null`: none.
   */
  except?: string | null | undefined;
}

const DELETE_OPTIONS: Record<keyof DeleteUserTokenOptions, true> = { except: true };

/**
 * Issues, checks and ends sign-in sessions.
 *
 * Wherever a token is asked for, any string will do: one that isn't a live token gives `null`, `false` or 0, and one that isn't
 * signed doesn't reach the store. Every method that asks the store rejects with a {@link SessionError} when the store can't answer,
 * and with a TypeError or RangeError, before anything is stored, for an argument of the wrong kind: a `userId` that is not 1 to
 * 1,024 bytes of well-formed text, a ttl that is not a positive whole number of seconds up to a hundred years.
 */
export class TokenManager<Detail = unknown> {
  readonly #store: Store;
  readonly #keys: SigningKeys;
  readonly #ttl: number;
  readonly #slideEveryMs: number;
  readonly #absoluteTtl: number;
  readonly #maxSessions: number;
  readonly #userInfoTtl: number;
  readonly #userInfo: UserInfo<Detail>;

  /** @throws TypeError or RangeError naming the option that is missing, unknown or of the wrong kind. */
  constructor(options: TokenManagerOptions<Detail>) {
    const {
      store,
      secret,
      ttl = DEFAULT_TTL,
      slideEvery = 0,
      absoluteTtl,
      singleMode = false,
      maxSessions = DEFAULT_MAX_SESSIONS,
      getUserInfo,
      userInfoTtl = DEFAULT_USER_INFO_TTL,
    } = checkOptions('TokenManager', options, OPTIONS);
    if (!isStore(store)) {
      throw new TypeError(`option store must be a RedisStore, a MemoryStore or another Store, got ${kindOf(store)}`);
    }
    if (getUserInfo !== undefined) checkFunction('option getUserInfo', getUserInfo);
    const limit = checkInteger('option maxSessions', maxSessions, 1, MAX_MAX_SESSIONS);
    this.#store = store;
    this.#keys = importSecret(secret);
    this.#ttl = checkSeconds('option ttl', ttl);
    this.#slideEveryMs = 1000 * checkSecondsOrZero('option slideEvery', slideEvery);
    this.#absoluteTtl = absoluteTtl === undefined ? 0 : checkSeconds('option absoluteTtl', absoluteTtl);
    this.#maxSessions = checkBoolean('option singleMode', singleMode) ? 1 : limit;
    this.#userInfoTtl = checkSeconds('option userInfoTtl', userInfoTtl);
    this.#userInfo = new UserInfo(store, getUserInfo);
  }

  /** Seconds after login at which the longest session has ended for good; `null` when sliding may go on for ever. */
  get absoluteTtl(): number | null {
    return this.#absoluteTtl === 0 ? null : this.#absoluteTtl;
  }

  /** Whether a value is a token signed with one of these secrets. Asks no store, and so tells nothing of whether its session lives. */
  isToken(token: unknown): token is string {
    return parseToken(token, this.#keys) !== null;
  }

  /**
   * Starts a session, at login, and gives its token. Doesn't ask `getUserInfo` whether there is such a user.
   *
   * @param ttl seconds the session lives without a request. Default: the option `ttl`.
   * @param attributes where it was started, to show to the user. Default: none.
   * @throws SessionError when it was not stored: no token without a session.
   */
  async setToken(userId: string, ttl?: number, attributes?: SessionAttributes): Promise<string> {
    const { token } = await this.#create(userId, { ttl, attributes });
    return token;
  }

  /**
   * Starts a session and gives it whole: what the middleware's `login` calls, and what an integration with another framework
   * wants. With a `getUserInfo`, loads the user first.
   *
   * @throws SessionError `ERR_USER_NOT_FOUND` when `getUserInfo` knows no such user. When a session that this one replaces can't be
   * ended, the new one isn't left behind either.
   */
  async createSession(userId: string, options?: CreateSessionOptions): Promise<Session<Detail>> {
    checkUserId(userId);
    const given = checkOptions('createSession', options, CREATE_OPTIONS);
    if (given.ttl !== undefined) checkSeconds('ttl', given.ttl);
    checkAttributes(given.attributes);
    if (given.replaces !== undefined && !Array.isArray(given.replaces)) {
      throw new TypeError(`replaces must be an array of tokens, got ${kindOf(given.replaces)}`);
    }
    if (!this.#userInfo.hasLoader) return this.#create(userId, given);
    const detail = await this.#userInfo.loadAfresh(userId, this.#userInfoTtl * 1000);
    if (detail === null) throw userNotFound();
    const session = await this.#create(userId, given);
    session.user.detail = detail;
    return session;
  }

  /**
   * Restarts the clock of a live session. Never creates or revives one.
   *
   * @param ttl seconds it lives from now on without a request. Default: the ttl it has.
   * @returns `false` when the token is not live.
   */
  async refreshToken(token: string, ttl?: number): Promise<boolean> {
    const ttlMs = ttl === undefined ? null : checkSeconds('ttl', ttl) * 1000;
    const parts = parseToken(token, this.#keys);
    return parts !== null && this.#store.refresh(parts.tag, parts.sid, ttlMs);
  }

  /** Ends this session. `false` when the token was not live. */
  async deleteToken(token: string): Promise<boolean> {
    const parts = parseToken(token, this.#keys);
    return parts !== null && this.#store.end(parts.tag, parts.sid);
  }

  /** Reads a session: doesn't slide it and gives no user info. */
  async checkToken(token: string): Promise<Session<Detail> | null> {
    const parts = parseToken(token, this.#keys);
    if (parts === null) return null;
    const stored = await this.#store.check(parts.tag, parts.sid);
    return stored === null ? null : this.#sessionOf(token, parts, stored);
  }

  /**
   * Reads a session, with the user info that is cached or that `getUserInfo` loads. Doesn't slide it.
   *
   * @param userInfoTtl seconds to keep the info if it has to be loaded. Default: the option `userInfoTtl`.
   * @returns `null` when the token is not live, or when `getUserInfo` knows no such user: then all their sessions have ended.
   * @throws what `getUserInfo` throws; nothing is cached and no session ends.
   */
  async checkTokenOrUpdateUser(token: string, userInfoTtl?: number): Promise<Session<Detail> | null> {
    const ttlMs = this.#userInfoTtlMs(userInfoTtl);
    const parts = parseToken(token, this.#keys);
    if (parts === null) return null;
    return this.#withDetail(token, parts, await this.#store.check(parts.tag, parts.sid), ttlMs);
  }

  /** What each request calls: {@link checkTokenOrUpdateUser}, and slides the session, in one call to the store. */
  async touchToken(token: string, userInfoTtl?: number): Promise<Session<Detail> | null> {
    const ttlMs = this.#userInfoTtlMs(userInfoTtl);
    const parts = parseToken(token, this.#keys);
    if (parts === null) return null;
    return this.#withDetail(token, parts, await this.#store.touch(parts.tag, parts.sid, this.#slideEveryMs), ttlMs);
  }

  /**
   * A token for each live session of a user, oldest login first, signed with the first secret: after a change of secrets not the very
   * string that the client holds, and as good. For trusted code; a page shows {@link listUserSessions}.
   */
  async listUserToken(userId: string): Promise<string[]> {
    const tag = tagOf(checkUserId(userId));
    return (await this.#list(tag)).sessions.map(({ sid }) => signToken({ tag, sid }, this.#keys));
  }

  /** The live sessions of a user, oldest login first, without what could be signed in with. */
  async listUserSessions(userId: string): Promise<SessionInfo[]> {
    const { sessions, now } = await this.#list(tagOf(checkUserId(userId)));
    return sessions.map((record) => infoOf(record, now));
  }

  /** Ends all sessions of a user, or all but one. Gives how many it ended. */
  async deleteUserToken(userId: string, options?: DeleteUserTokenOptions): Promise<number> {
    const tag = tagOf(checkUserId(userId));
    const { except } = checkOptions('deleteUserToken', options, DELETE_OPTIONS);
    return this.#store.endAll(tag, { except: this.#sidToKeep(tag, except), forgetUserInfo: false });
  }

  /** Ends one session of this user, by its id. `false` when this user has no such live session, whoever else has. */
  async deleteSession(userId: string, sessionId: string): Promise<boolean> {
    const tag = tagOf(checkUserId(userId));
    if (typeof sessionId !== 'string') throw new TypeError(`sessionId must be a string, got ${kindOf(sessionId)}`);
    return isSessionId(sessionId) && this.#store.end(tag, sessionId);
  }

  /**
   * Loads a user's info and caches it.
   *
   * @param userInfoTtl seconds to keep it. Default: the option `userInfoTtl`.
   * @returns `null` when `getUserInfo` knows no such user: then all their sessions have ended.
   * @throws TypeError without a `getUserInfo`; what `getUserInfo` throws.
   */
  async addUser(userId: string, userInfoTtl?: number): Promise<User<Detail> | null> {
    checkUserId(userId);
    const detail = await this.#userInfo.loadAndCache(userId, this.#userInfoTtlMs(userInfoTtl));
    return detail === null ? null : { id: userId, detail };
  }

  /**
   * Loads the info of many users afresh, several at a time.
   *
   * @param userInfoTtl seconds to keep it. Default: the option `userInfoTtl`.
   * @returns how many are cached now; users whom `getUserInfo` doesn't know don't count.
   * @throws AggregateError with all that failed, after every user was tried. TypeError without a `getUserInfo`.
   */
  async refreshUser(userIds: readonly string[], userInfoTtl?: number): Promise<number> {
    if (!Array.isArray(userIds)) throw new TypeError(`userIds must be an array of strings, got ${kindOf(userIds)}`);
    const waiting = new Set(userIds.map((userId, index) => checkUserId(userId, `userIds[${index}]`))).values();
    const ttlMs = this.#userInfoTtlMs(userInfoTtl);
    if (!this.#userInfo.hasLoader) throw new TypeError('refreshUser needs the option getUserInfo');

    let refreshed = 0;
    const errors: unknown[] = [];
    const work = async () => {
      for (const userId of waiting) {
        try {
          if ((await this.#userInfo.loadAndCache(userId, ttlMs)) !== null) refreshed++;
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

  /** Forgets a user's cached info: the next check loads it again. Their sessions go on. `false` when none was cached. */
  async deleteUser(userId: string): Promise<boolean> {
    return this.#userInfo.forget(checkUserId(userId));
  }

  /**
   * How the store is, for a readiness route: `{ status: 'up' | 'degraded' | 'down', latencyMs, reasons }`. Never rejects, and answers within the
   * store's deadline. Cheap enough for one call a second.
   */
  async health(): Promise<StoreHealth> {
    return this.#store.health();
  }

  /** Closes the connections that the store opened itself, never a client that was handed in. */
  async close(): Promise<void> {
    await this.#store.close();
  }

  async #create(userId: string, options: CreateSessionOptions): Promise<Session<Detail>> {
    checkUserId(userId);
    const { ttl = this.#ttl } = options;
    checkSeconds('ttl', ttl);
    const attributes = checkAttributes(options.attributes);
    const { token, tag, sid } = createToken(userId, this.#keys);
    this.#userInfo.ignoreLoadUnderWay(userId);
    const replaced = (options.replaces ?? []).map((old) => parseToken(old, this.#keys)).filter((old) => old !== null);

    const stored = await this.#store.create(tag, {
      userId,
      sid,
      ttlMs: ttl * 1000,
      absoluteTtlMs: this.#absoluteTtl * 1000,
      attributes,
      maxSessions: this.#maxSessions,
      replaces: replaced.filter((old) => old.tag === tag).map((old) => old.sid),
    });
    // Another user's session is on another key, which in a Cluster may be on another node: it can't be part of the same script.
    const others = replaced.filter((old) => old.tag !== tag);
    const ended = await Promise.allSettled(others.map((old) => this.#store.end(old.tag, old.sid)));
    const failure = ended.find((outcome) => outcome.status === 'rejected' && !isEnded(outcome.reason));
    if (failure !== undefined) {
      // Nobody has its token: whether this succeeds is nothing to wait for in an outage.
      void Promise.allSettled([this.#store.end(tag, sid)]);
      throw (failure as PromiseRejectedResult).reason;
    }
    return sessionOf(token, userId, stored.session, stored.now);
  }

  async #withDetail(
    token: string,
    parts: TokenParts,
    stored: StoredSession | null,
    userInfoTtlMs: number,
  ): Promise<Session<Detail> | null> {
    if (stored === null) return null;
    const session = this.#sessionOf(token, parts, stored);
    const cached = this.#userInfo.read(stored.userInfo);
    if (cached !== undefined) {
      session.user.detail = cached;
    } else if (this.#userInfo.hasLoader) {
      const loaded = await this.#userInfo.load(stored.userId, userInfoTtlMs);
      if (loaded === null) return null;
      session.user.detail = loaded;
    }
    return session;
  }

  #sessionOf(token: string, { tag }: TokenParts, { userId, session, now }: StoredSession): Session<Detail> {
    if (tagOf(userId) !== tag) throw foreignRecord();
    return sessionOf(token, userId, session, now);
  }

  async #list(tag: string): Promise<{ sessions: SessionRecord[]; now: number }> {
    const stored = await this.#store.list(tag);
    if (stored === null) return { sessions: [], now: 0 };
    if (tagOf(stored.userId) !== tag) throw foreignRecord();
    return stored;
  }

  #sidToKeep(tag: string, except: unknown): string | null {
    if (except === undefined || except === null) return null;
    if (typeof except !== 'string')
      throw new TypeError(`except must be a token or a session id, got ${kindOf(except)}`);
    if (isSessionId(except)) return except;
    const parts = parseToken(except, this.#keys);
    return parts?.tag === tag ? parts.sid : null;
  }

  #userInfoTtlMs(userInfoTtl: number | undefined): number {
    return 1000 * (userInfoTtl === undefined ? this.#userInfoTtl : checkSeconds('userInfoTtl', userInfoTtl));
  }
}

/** A session without what could be signed in with. */
function infoOf(record: SessionRecord, now: number): SessionInfo {
  const { token: _token, user: _user, ...info } = sessionOf('', '', record, now);
  return info;
}

function sessionOf<Detail>(token: string, userId: string, record: SessionRecord, now: number): Session<Detail> {
  const expiresAt = expiryOf(record);
  return {
    id: record.sid,
    token,
    user: { id: userId },
    createdAt: new Date(record.createdAt),
    lastSeenAt: new Date(record.seenAt),
    expiresAt: new Date(expiresAt),
    ttl: Math.ceil((expiresAt - now) / 1000),
    attributes: record.attributes,
  };
}

/** A reply that belongs to somebody else is an error, not a login: a crossed connection, a proxy, a tampered record. */
function foreignRecord(): SessionError {
  return new SessionError('ERR_STORE_CORRUPT', "the store's answer belongs to another user than the one asked for");
}
