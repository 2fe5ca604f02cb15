import type { EndReason } from '../errors/session-error';
import type { TokenClaims } from '../token/token';

export type { EndReason };

/**
 * Where a session was started, so that its user can recognise it. Each at most 512 characters; `undefined` means none.
 */
export interface SessionAttributes {
  /** The kind or name of the device, in the application's own words. */
  device?: string | undefined;
  /** The address the login came from. */
  ip?: string | undefined;
  /** The User-Agent header the login came with. */
  userAgent?: string | undefined;
}

/** {@link SessionAttributes}, and those that this package adds. */
export interface StoredAttributes extends SessionAttributes {
  /** Who acts as the user. */
  actor?: string | undefined;
  /** The session came from another store: the store remembers its end, even if its holder ended it. */
  moved?: true | undefined;
  /** Of a visitor: the session that replaced it, in a form that the host defines. */
  movedTo?: string | undefined;
}

/**
 * A session as a store keeps it. Times are milliseconds since the epoch by the store's own clock; durations are
 * milliseconds.
 *
 * `gen` to `provedAt` describe the newest used token of the session. The first token counts as used at login.
 */
export interface SessionRecord {
  /** The session's id, for its whole life: 22 characters of base64url. */
  sid: string;
  /** When the user logged in. */
  createdAt: number;
  /** When the session was last slid or refreshed. */
  seenAt: number;
  /** How long the session lives from `seenAt` on. */
  ttlMs: number;
  /** When the session ends, however busy it is; 0 for never. */
  capAt: number;
  /** The token's generation. */
  gen: number;
  /** When the token was made. */
  mintedAt: number;
  /** When the token was first used. */
  confirmedAt: number;
  /** When the token's holder had last proved who they are. */
  provedAt: number;
  attributes: StoredAttributes;
}

/** When a session ends unless it is used again. At that very millisecond it is over. */
export function expiryOf({ seenAt, ttlMs, capAt }: SessionRecord): number {
  const idleAt = seenAt + ttlMs;
  return capAt === 0 ? idleAt : Math.min(idleAt, capAt);
}

/**
 * Judges a token by the record of its live session, as the table at {@link Store} says. The scripts of RedisStore do
 * the same before they write.
 */
export function judge(
  { gen, mintedAt }: TokenClaims,
  record: SessionRecord,
  graceMs: number,
  now: number,
): 'new' | 'known' | 'reuse' {
  if (gen > record.gen) return 'new';
  if (gen === record.gen && Math.abs(mintedAt - record.mintedAt) <= graceMs) return 'known';
  return Math.abs(now - record.confirmedAt) < graceMs ? 'known' : 'reuse';
}

/** A live session, and what the same call to the store reads with it. */
export interface StoredSession {
  /** The user id, exactly as given at login; `''` for a visitor. */
  userId: string;
  session: SessionRecord;
  /** The store's clock when it answered. */
  now: number;
  /** The text that `setUserInfo` cached; `null` for none. */
  userInfo: string | null;
  /** The version of the cached info or of its deletion; 0 when none is known. A load of an earlier one is outdated. */
  userInfoVersion: number;
}

/** The version of a load of user info that begins at this answer. */
export function loadVersionOf({ now, userInfoVersion }: Pick<StoredSession, 'now' | 'userInfoVersion'>): number {
  return Math.max(now, userInfoVersion);
}

/** Why a session is over, where the store remembers it. */
export interface EndedSession {
  session: null;
  userId: string;
  sid: string;
  reason: Exclude<EndReason, 'unknown'>;
  /** The message given at its end; `null` for none. */
  message: string | null;
  /** Whether this call found the end: the session has expired, or a former token of it was used. */
  isDetected: boolean;
  /** Whether this call ended it. */
  isEndedNow: boolean;
}

/** The live session of a token, why it is over, or `null` when the store knows nothing of it. */
export type Found = StoredSession | EndedSession | null;

/** The data of a session: JSON by key. */
export type SessionEntries = ReadonlyMap<string, string>;

/** Limits of the data of one session: bytes of its keys and their JSON in UTF-8, and keys. */
export interface DataLimits {
  maxBytes: number;
  maxKeys: number;
}

/** The outcome of a write of data. Over a limit, nothing was written. */
export type DataWritten = 'done' | 'too-large' | 'too-many';

/** The outcome of a verb on session data, or why there is no live session. */
export type FoundData<Outcome> = { userId: string; data: Outcome } | EndedSession | null;

/** A write of data. */
export interface DataChange {
  /** JSON by key; `null` deletes the key. At least one. */
  entries: ReadonlyMap<string, string | null>;
  /** Writes only if this key still has this JSON; `null`: if there is no such key. */
  condition?: { key: string; json: string | null } | undefined;
}

/** All live sessions of a user, in order of login. */
export interface StoredUser {
  userId: string;
  sessions: SessionRecord[];
  now: number;
}

/** When a live session ends unless it is used again, or why it is over. */
export type SessionState =
  | { isLive: true; expiresAt: number }
  | { isLive: false; reason: EndReason; message: string | null };

/** The outcome of {@link Store.states}. */
export interface SessionStates {
  /** `null`: nothing is stored for this user. */
  userId: string | null;
  /** The store's clock when it answered. */
  now: number;
  /** In the order of the ids. */
  states: SessionState[];
}

/** A login, or a visitor, for {@link Store.create}. */
export interface NewSession {
  /** The user id; `''` for a visitor. The tag of a visitor is the session's id. */
  userId: string;
  sid: string;
  ttlMs: number;
  /** Milliseconds of the session's whole life, from `provedAt` where that is known; 0 for no bound. */
  absoluteTtlMs: number;
  attributes: StoredAttributes;
  /** The first data of the session, written in the same step. Default: none. */
  data?: SessionEntries | undefined;
  /**
   * Data that the session takes over, in the same step, from a live session of this user: the keys that exist. They
   * override those of `data`. Default: none.
   */
  inherits?: { sid: string; keys: readonly string[] } | undefined;
  /**
   * Of a session that came from another store: when its holder last proved who they are; 0 for unknown. The store
   * refuses it if its whole life is over, or if it remembers that a session with this id has ended or expired. With
   * `attributes.moved`, it remembers every end. Default: a new session, proved now.
   */
  provedAt?: number | undefined;
  /** Live sessions this user may have, with this one. */
  maxSessions: number;
  /** Live sessions this user may have with the same `attributes.device`, or with none; 0 for any number. */
  maxOnDevice: number;
  /** Over a limit: ends the oldest sessions, or refuses this login. */
  onLimit: 'replace' | 'reject';
  /** Sessions of this user that end with this login, and count for no limit. */
  replaces: readonly string[];
}

/** How to judge a former token of a session. */
export interface ReusePolicy {
  /** Milliseconds for which a former token stays good once its successor was used. */
  graceMs: number;
  /**
   * What a former token does after that. `'end-session'`: ends the session for all its holders. `'ignore'`: is refused
   * alone.
   */
  onReuse: 'end-session' | 'ignore';
}

/** Why a session ends, where no login replaces it in the same step. */
export interface EndedFor {
  reason: 'revoked' | 'replaced';
  message: string | null;
}

/** Options of {@link Store.endAll}. */
export interface EndAllOptions {
  /** The id of a session to keep; `null` for none. */
  except: string | null;
  message: string | null;
  /**
   * For a user who no longer exists: the version of the load that found this. Deletes the cached user info as well.
   * Does nothing when the info has a later version, or when that load took more than a minute. `null` for any other
   * reason.
   */
  goneAtVersion: number | null;
}

/** A ban as a store keeps it. Times are milliseconds since the epoch by the store's own clock. */
export interface StoredBan {
  userId: string;
  since: number;
  /** When the ban ends; 0 for never. */
  until: number;
  reason: string | null;
}

/** The state of a store, for a readiness route. */
export interface HealthReport {
  /** `up`: serves all calls. `degraded`: some calls fail, or a promise is at risk. `down`: serves no call. */
  status: 'up' | 'degraded' | 'down';
  /** Milliseconds to its answer; `null` without an answer. */
  latencyMs: number | null;
  /** Why it is not `up`, a sentence each. They may name servers, and hold no secret. */
  reasons: string[];
}

/** A near cache or the watches of a manager: is called when sessions may have changed. */
export interface ChangeFollower {
  /** A session of this user, or the user's info, has or may have changed or ended. */
  changed(tag: string): void;
  /** The changes to all users arrive from now on, or no longer do. Also called when the first attempt has failed. */
  completenessChanged(outcome: { isComplete: true } | { isComplete: false; cause: unknown }): void;
}

/**
 * A source whose changes arrive without a gap, such as one server. A lost source never returns: another takes its
 * place. No copy of it counts after `completeUntil`.
 */
export interface ChangeSource {
  /** The time, by `performance.now()`, up to which all changes have arrived; in the past once the source is lost. */
  readonly completeUntil: number;
}

/** The changes of a store, for one follower. */
export interface ChangeFeed {
  /** The source of changes to this user; `null` while changes may be missed. */
  sourceOf(tag: string): ChangeSource | null;
  /**
   * Counts answers that came from another source than that of their user, as after an ASK redirection of a Cluster. An
   * answer that was in flight when this count changed has no known source.
   */
  readonly askRedirections: number;
  /** Stops calling the follower. */
  close(): void;
}

/**
 * The port between sessions and the place that keeps them. `tag` names a user: 22 characters of base64url, a hash of
 * the user id. `sid`, in the same form, names one of the user's sessions.
 *
 * **Absence and failure.** Absence is a value: `null`, `false` or an empty list, as each method says. Failure is a
 * rejection with a `SessionError`. No method reports "not there" when it could not look.
 *
 * **Atomicity.** Another call sees all of a method's effect or none. A refused `create` has ended no session. A call
 * without an answer in time may have been carried out. `create`, `ban`, `unban` and the end of a session for a reuse
 * are not carried out later than that.
 *
 * **Time.** The store's own clock judges expiry, and an expired session is absent to every method. Only `create` makes
 * a session, so that no ended one comes back. Arguments and results are copies: changing one doesn't change the store.
 *
 * **Generations.** `check`, `touch` and `refresh` judge the token *t* by the record *r* of its live session:
 *
 * | | |
 * |---|---|
 * | `t.gen > r.gen` | live: a new token, used for the first time. `touch` and `refresh` move the record on to it |
 * | `t.gen = r.gen`, made within `graceMs` of `r.mintedAt` | live: the same token, or one that a parallel request got |
 * | `r.confirmedAt` is less than `graceMs` away | live: a request in flight |
 * | anything else | a reuse: one of the two tokens is stolen, see {@link ReusePolicy} |
 *
 * **Memory.** The store remembers why a limit, a kick, a ban or a reuse has ended a session, see `limits.ts`. It may
 * lose the reason, never the end. Of a session with `attributes.moved` it also remembers an end without a reason.
 *
 * **Data.** A session's data lives and ends with it. Once a session has ended, no verb reads or writes its data, and no
 * write brings any of it back. The verbs on data judge the token as `check` does, in the same step.
 *
 * **Cost.** `check`, `touch`, `refresh`, `end` and `getBan` read and write a fixed number of fields, whatever else the
 * user has and whatever data the session has. `states` reads one more for each session. `create`, `endAll`, `ban`,
 * `unban` and `list` read everything of the user but data; `limits.ts` bounds that. `endWithData`, and a `create` that
 * inherits, also read the data of one session.
 */
export interface Store {
  /**
   * Adds a session. Then ends those it replaces and, as `'replaced'`, the oldest live ones over a limit. `createdAt` is
   * now, or one millisecond after the user's newest session, so that logins are in order. `seenAt` is now; `capAt` is
   * `absoluteTtlMs` after now, or after an earlier `provedAt`; or 0. The first token has generation 0, and is made,
   * used and proved now. Also gives the ids of the live sessions it ended. If a live session already has this id, gives
   * that one and changes nothing.
   *
   * Refuses with `ERR_USER_BANNED`, `ERR_TOO_MANY_SESSIONS` or, see {@link NewSession.provedAt}, `ERR_NO_SESSION`.
   * `ERR_STORE_CORRUPT`: the tag holds another user.
   */
  create(tag: string, session: NewSession): Promise<{ session: SessionRecord; now: number; ended: string[] }>;

  /** Reads a session. Changes nothing unless the token is a reuse. */
  check(tag: string, claims: TokenClaims, policy: ReusePolicy): Promise<Found>;

  /**
   * Reads a session, moves its record on to a new token, and slides it unless the last slide is less than
   * `slideEveryMs` ago. A session whose ttl is under twice `slideEveryMs` slides at half its ttl, so that a session in
   * use never ends by idleness. Gives the session as it is afterwards.
   */
  touch(tag: string, claims: TokenClaims, policy: ReusePolicy, slideEveryMs: number): Promise<Found>;

  /** Does what {@link touch} does, and reads the session's data. */
  touchWithData(
    tag: string,
    claims: TokenClaims,
    policy: ReusePolicy,
    slideEveryMs: number,
  ): Promise<(StoredSession & { data: SessionEntries }) | EndedSession | null>;

  /** Slides a live session at once, with a new ttl (`null`: the one it has), and moves its record on to a new token. */
  refresh(tag: string, claims: TokenClaims, policy: ReusePolicy, ttlMs: number | null): Promise<Found>;

  /**
   * Ends a session, whatever the generation of the token that named it. `why`: the reason for holders of its tokens;
   * `null` when a holder ended it. Gives the id of its user; `null`: it was not live.
   */
  end(tag: string, sid: string, why: EndedFor | null): Promise<{ userId: string } | null>;

  /** Does what {@link end} does, and gives the data of the session at its end. */
  endWithData(tag: string, sid: string, why: EndedFor | null): Promise<{ userId: string; data: SessionEntries } | null>;

  /** Ends all sessions of a user, as `'revoked'`. Gives the ids of the live ones it ended. */
  endAll(tag: string, options: EndAllOptions): Promise<string[]>;

  /**
   * Ends all sessions of a user, as `'banned'`, and has `create` refuse others for `durationMs`; `null`: until `unban`.
   * Replaces an earlier ban. Also gives the ids of the live sessions it ended.
   */
  ban(
    tag: string,
    ban: { userId: string; durationMs: number | null; reason: string | null },
  ): Promise<{ ban: StoredBan; ended: string[] }>;

  /** Lifts a ban; sessions that it ended stay ended. `false`: there was none. `ERR_STORE_CORRUPT` as {@link create}. */
  unban(tag: string, userId: string): Promise<boolean>;

  /** The ban of a user; `null`: there is none. */
  getBan(tag: string): Promise<StoredBan | null>;

  /** The live sessions of a user, oldest login first, maybe none. `null`: nothing is stored for this user. */
  list(tag: string): Promise<StoredUser | null>;

  /**
   * Gives the states of some sessions of a user, by their ids. Judges no token and changes nothing. A damaged record is
   * `'unknown'`: no token of it signs anyone in.
   */
  states(tag: string, sids: readonly string[]): Promise<SessionStates>;

  /** Reads data: those of the keys that exist; `null` for all. */
  readData(
    tag: string,
    claims: TokenClaims,
    policy: ReusePolicy,
    keys: readonly string[] | null,
  ): Promise<FoundData<SessionEntries>>;

  /** Writes and deletes keys, all or none. `'changed'`: the condition doesn't hold, and nothing was written. */
  writeData(
    tag: string,
    claims: TokenClaims,
    policy: ReusePolicy,
    change: DataChange,
    limits: DataLimits,
  ): Promise<FoundData<DataWritten | 'changed'>>;

  /** Reads a key and deletes it; `null`: there is none. */
  takeData(tag: string, claims: TokenClaims, policy: ReusePolicy, key: string): Promise<FoundData<string | null>>;

  /**
   * Adds to the number under a key and gives the sum. A missing key counts as 0. `'no-number'`: the key has another
   * value. `'no-sum'`: the sum is no finite number. Nothing was written then.
   */
  addToData(
    tag: string,
    claims: TokenClaims,
    policy: ReusePolicy,
    addition: { key: string; by: number },
    limits: DataLimits,
  ): Promise<FoundData<number | Exclude<DataWritten, 'done'> | 'no-number' | 'no-sum'>>;

  /** Deletes all data of a session. */
  clearData(tag: string, claims: TokenClaims, policy: ReusePolicy): Promise<FoundData<'done'>>;

  /**
   * Gives the user info a version beyond that of every load that has begun, and keeps its value. Gives that version,
   * for a load that begins now.
   */
  renewUserInfo(tag: string): Promise<number>;

  /**
   * Replaces the user info, whether or not the user has sessions. `version` is that of `renewUserInfo`; or that of a
   * check at the start of the load, the later of `now` and `userInfoVersion`. The info lives until `ttlMs` after that.
   * `false`, and nothing was changed: that time is over, the load took more than a minute, or the cached info has a
   * later version.
   */
  setUserInfo(tag: string, userInfo: string, ttlMs: number, version: number): Promise<boolean>;

  /** Deletes the user info; a load that began earlier can no longer store its result. `false`: there was none. */
  deleteUserInfo(tag: string): Promise<boolean>;

  /**
   * Reports every change that any process makes to a user: a session that ends, is refreshed or moves on to a new
   * token, and user info that is replaced or deleted. Reports no slides and no expiries. Each report comes no later
   * than the source's `completeUntil` allows. Optional: without it, no near cache is built on the store, and the
   * manager asks for watched sessions every few seconds.
   *
   * @param options.heartbeatMs milliseconds between two checks that changes still arrive; `completeUntil` is at most
   *   twice that ahead.
   */
  follow?(follower: ChangeFollower, options: { heartbeatMs: number }): ChangeFeed;

  /**
   * Lists the tags of all stored users and visitors, in batches. A tag may come twice. One that is stored or removed
   * during the listing may be missing. A store that can't list its tags leaves this method out.
   */
  tags?(): AsyncIterable<readonly string[]>;

  /**
   * Gives the state of the store. Never rejects. One call a second is no noticeable load; simultaneous calls share one
   * check.
   */
  health(): Promise<HealthReport>;

  /**
   * Closes the connections that the store opened. Afterwards it is `down`, and every other method rejects with
   * `ERR_STORE_UNAVAILABLE`. A second call does nothing.
   */
  close(): Promise<void>;
}

/** The methods that are about one user. */
export type Verb = Exclude<keyof Store, 'follow' | 'tags' | 'health' | 'close'>;

/** Whether each verb changes what a near cache may hold. Slides and data do not count. */
export const VERBS: Readonly<Record<Verb, boolean>> = {
  create: true,
  check: false,
  touch: false,
  touchWithData: false,
  refresh: true,
  end: true,
  endWithData: true,
  endAll: true,
  ban: true,
  unban: false,
  getBan: false,
  list: false,
  states: false,
  readData: false,
  writeData: false,
  takeData: false,
  addToData: false,
  clearData: false,
  renewUserInfo: false,
  setUserInfo: true,
  deleteUserInfo: true,
};

/** Whether a value has all methods that a store must have. */
export function isStore(value: unknown): value is Store {
  return (
    typeof value === 'object' &&
    value !== null &&
    [...Object.keys(VERBS), 'health', 'close'].every(
      (method) => typeof (value as Record<string, unknown>)[method] === 'function',
    )
  );
}
