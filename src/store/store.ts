import type { EndReason } from '../errors/end-reason';
import type { TokenClaims } from '../token/token';

export type { EndReason };

/** Where a session was started, for people to recognise it by. Each at most 512 characters; `undefined` means none. */
export interface SessionAttributes {
  /** The kind or name of the device, in the application's own words. */
  device?: string | undefined;
  /** The address the login came from. */
  ip?: string | undefined;
  /** The User-Agent header the login came with. */
  userAgent?: string | undefined;
}

/** {@link SessionAttributes}, and what no caller gives as one: who acts as the user. */
export interface StoredAttributes extends SessionAttributes {
  actor?: string | undefined;
  /** Of a visitor: what took its place, in the words of the host that moved it. */
  movedTo?: string | undefined;
}

/**
 * A session as a store keeps it. Times are milliseconds since the epoch by the store's own clock, durations are
 * milliseconds.
 *
 * `gen` to `provedAt` describe the newest of the session's tokens that was used: at the login its first one, which
 * counts as used.
 */
export interface SessionRecord {
  /** The session's id, for its whole life: 22 characters of base64url. */
  sid: string;
  /** When the user logged in. */
  createdAt: number;
  /** When the session was last slid or refreshed. */
  seenAt: number;
  /** How long it lives from then on. */
  ttlMs: number;
  /** The moment this session ends however busy it is; 0 for none. */
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

/** When a session ends unless it is seen again. At that very millisecond it is over. */
export function expiryOf({ seenAt, ttlMs, capAt }: SessionRecord): number {
  const idleAt = seenAt + ttlMs;
  return capAt === 0 ? idleAt : Math.min(idleAt, capAt);
}

/** A live session, with what else the same call to the store brought along. */
export interface StoredSession {
  /** The user id in the record, exactly as it was given at login; `''` for a visitor. */
  userId: string;
  session: SessionRecord;
  /** The store's clock when it answered. */
  now: number;
  /** The cached user info, as `setUserInfo` was given it; `null` when there is none. */
  userInfo: string | null;
  /**
   * What a load of the user info that begins now gives to `setUserInfo`: the time, or the version of what is cached if
   * that is later.
   */
  userInfoVersion: number;
}

/** Why there is no live session, where that is known. */
export interface EndedSession {
  session: null;
  userId: string;
  sid: string;
  reason: Exclude<EndReason, 'unknown'>;
  /** The message given when it was ended; `null` for none. */
  message: string | null;
  /** Whether this call found it out: the session has expired, or a former token of it was used. */
  isDetected: boolean;
  /** Whether this call ended it. */
  isEndedNow: boolean;
}

/** What there is to a token: its live session, why there is none, or `null` when nothing is known of it. */
export type Found = StoredSession | EndedSession | null;

/** The data of a session: JSON by key. */
export type SessionEntries = ReadonlyMap<string, string>;

/**
 * What the data of one session may be, at most: bytes of UTF-8 of its keys and its JSON, and the number of its keys.
 */
export interface DataLimits {
  maxBytes: number;
  maxKeys: number;
}

/** How a write of data went: where a limit forbids it, nothing was written. */
export type DataWritten = 'done' | 'too-large' | 'too-many';

/** What a verb on the data of a live session gives, or why there is no live session. */
export type FoundData<Outcome> = { userId: string; data: Outcome } | EndedSession | null;

/** A write of data. */
export interface DataChange {
  /** JSON by key; `null` deletes the key. At least one. */
  entries: ReadonlyMap<string, string | null>;
  /** Only if this key still has this JSON, or for `null` is absent. */
  condition?: { key: string; json: string | null } | undefined;
}

/** All live sessions of a user, in order of login. */
export interface StoredUser {
  userId: string;
  sessions: SessionRecord[];
  now: number;
}

/** How a session is: until when it lives unless it is seen again, or why it does not. */
export type SessionState =
  | { isLive: true; expiresAt: number }
  | { isLive: false; reason: EndReason; message: string | null };

/** What {@link Store.states} gives. */
export interface SessionStates {
  /** `null`: nothing is stored for this user. */
  userId: string | null;
  /** The store's clock when it answered. */
  now: number;
  /** In the order of the ids. */
  states: SessionState[];
}

/** What {@link Store.create} is given of a login, or of a visitor. */
export interface NewSession {
  /** `''` for a visitor, who has a tag of their own: the session's id. */
  userId: string;
  sid: string;
  ttlMs: number;
  /** The session's whole life; 0 for unbounded. */
  absoluteTtlMs: number;
  attributes: StoredAttributes;
  /** The data that it begins with, to be kept in the same step. Default: none. */
  data?: SessionEntries | undefined;
  /**
   * Of a session that was kept elsewhere before: when its holder last proved who they are, 0 for unknown. It is not
   * started where the store remembers that one of this id has ended or expired. Default: a new session, proved now.
   */
  provedAt?: number | undefined;
  /** Live sessions that this user may have, this one included. */
  maxSessions: number;
  /**
   * Live sessions that this user may have with the same `attributes.device`, none being one of them; 0 for any number.
   */
  maxOnDevice: number;
  /** Over a limit: whether the oldest give way, or this login is refused. */
  onLimit: 'replace' | 'reject';
  /** Sessions of this user that end because this one begins, and so count for no limit. */
  replaces: readonly string[];
}

/** How to judge a former token of a session. */
export interface ReusePolicy {
  /** Milliseconds for which a former token stays good once its successor was used. */
  graceMs: number;
  /**
   * What its use does after that: `'end'` ends the session for all its holders, `'refuse'` refuses that token alone.
   */
  onReuse: 'end' | 'refuse';
}

/** Why a session is ended that no other replaces in the same step. */
export interface EndedFor {
  reason: 'revoked' | 'replaced';
  message: string | null;
}

/** What {@link Store.endAll} is given. */
export interface EndAllOptions {
  /** The id of a session to keep; `null` for none. */
  except: string | null;
  message: string | null;
  /**
   * For a user who is gone, the version of the load that found it: forgets the cached user info as well. Does nothing
   * at all when the info has a later version, or that load took more than a minute. `null` for any other reason.
   */
  goneAtVersion: number | null;
}

/** A ban as a store keeps it. Times are milliseconds since the epoch by the store's own clock. */
export interface StoredBan {
  userId: string;
  since: number;
  /** When it is over; 0 for never. */
  until: number;
  reason: string | null;
}

/** How a store is, for a readiness route. */
export interface StoreHealth {
  /** `up`: it serves all. `degraded`: some calls fail, or a promise is at risk. `down`: it serves nobody. */
  status: 'up' | 'degraded' | 'down';
  /** Milliseconds that it took to answer; `null` when it did not. */
  latencyMs: number | null;
  /** Why it is not `up`, a sentence each. They may name servers, but hold no secret. */
  reasons: string[];
}

/** Keeps copies of a store's answers or watches sessions, and is called when they may have changed. */
export interface ChangeFollower {
  /** A session of this user has ended or changed, or their info has; or it may have. */
  changed(tag: string): void;
  /** From now on changes may be missed: copies of this source are worth nothing. */
  lost(source: ChangeSource): void;
  /**
   * The changes to every user begin, or cease, to arrive. Called when that changes, and when the first attempt has
   * failed.
   */
  completenessChanged(outcome: { isComplete: true } | { isComplete: false; cause: unknown }): void;
}

/**
 * A place whose changes arrive without a gap, such as one server. One that has been lost never comes back: another
 * takes its place.
 */
export interface ChangeSource {
  /** Until when, by `performance.now()`, all changes are known to have arrived; in the past once it is lost. */
  readonly completeUntil: number;
}

/** What a follower has of a store. */
export interface ChangeFeed {
  /** The source of changes to this user; `null` while some may be missed. */
  sourceOf(tag: string): ChangeSource | null;
  /**
   * How often an answer has come from elsewhere than the source of its user would say. An answer that was in flight
   * meanwhile is of no known source.
   */
  readonly detours: number;
  /** Ends it. The follower is not called any more. */
  close(): void;
}

/**
 * The port between the sessions and where they are kept. `tag` names a user: 22 characters of base64url, a hash of the
 * user id. `sid`, in the same form, names one of the user's sessions.
 *
 * Absence is a value (`null`, `false`, an empty list, as each method says), failure is a rejection with a
 * `SessionError`: nothing reports "not there" for "I couldn't look". Each method is atomic: another call sees all of it
 * or nothing, and a `create` that is refused has ended nobody's session. One that got no answer in time may have been
 * carried out; one that makes or bans (`create`, `ban`, `unban`), or ends a session for a reuse, is not carried out
 * later than that. Expiry is judged by the store's own clock, and an expired session is absent to every method. No
 * method but `create` makes a session, so that none that ended can come back. What is given and what is taken are
 * copies: changing one doesn't change the store.
 *
 * **Generations.** `check`, `touch` and `refresh` judge the token *t* by the record *r* of its live session:
 *
 * | | |
 * |---|---|
 * | `t.gen > r.gen` | live: a new token, used for the first time. `touch` and `refresh` move the record on to it |
 * | `t.gen = r.gen`, made within `graceMs` of `r.mintedAt` | live: the same token, or one that a parallel request was given |
 * | `r.confirmedAt` is less than `graceMs` away | live: a request in flight |
 * | anything else | a reuse: one of the two tokens is in the wrong hands, see {@link ReusePolicy} |
 *
 * **Memory.** Of a session that a limit, a kick, a ban or a reuse has ended, the store remembers why, see `limits.ts`.
 * That may be lost, the ending may not.
 *
 * **Data.** A session's data lives and ends with it: from the moment a session has ended no verb reads or writes data
 * of it, and no write brings any of it back. The verbs on data judge the token as `check` does, in the same step.
 *
 * **Cost.** `check`, `touch`, `refresh`, `end` and `getBan` read and write a fixed number of fields, whatever else the
 * user has, and whatever data the session has; `states` reads one more for each session that is asked for. `create`, `endAll`, `ban`, `unban` and `list` read everything that is
 * kept of the user but data, which `limits.ts` bounds.
 */
export interface Store {
  /**
   * Adds a session, then ends those it replaces and, `'replaced'`, the oldest live ones over a limit. `createdAt` is
   * now, or one more than that of the user's newest session, so that logins are in order; `seenAt` is now; `capAt` is
   * now and `absoluteTtlMs`, or 0. Its first token is of generation 0, and made, used and proved at `createdAt`. Gives
   * also the ids of the live sessions it ended. Where a live session has this id already, gives that one and changes
   * nothing.
   *
   * `ERR_USER_BANNED`, `ERR_TOO_MANY_SESSIONS`, `ERR_NO_SESSION` (see {@link NewSession.provedAt}): refused. `ERR_STORE_CORRUPT`: under this tag is another user.
   */
  create(tag: string, session: NewSession): Promise<{ session: SessionRecord; now: number; ended: string[] }>;

  /** Reads a session. Changes nothing unless the token is a reuse. */
  check(tag: string, claims: TokenClaims, policy: ReusePolicy): Promise<Found>;

  /**
   * Reads a session, moves its record on to a new token, and slides it, unless less than `slideEveryMs` has passed
   * since the last time. A session whose ttl is under twice that slides at half its ttl already, so that one in use
   * never ends by idleness. Gives the session as it is then.
   */
  touch(tag: string, claims: TokenClaims, policy: ReusePolicy, slideEveryMs: number): Promise<Found>;

  /** {@link touch}, and reads the session's data. */
  touchWithData(
    tag: string,
    claims: TokenClaims,
    policy: ReusePolicy,
    slideEveryMs: number,
  ): Promise<(StoredSession & { data: SessionEntries }) | EndedSession | null>;

  /**
   * Slides a live session at once, with a new ttl or, for `null`, the one it has, and moves its record on to a new
   * token.
   */
  refresh(tag: string, claims: TokenClaims, policy: ReusePolicy, ttlMs: number | null): Promise<Found>;

  /**
   * Ends a session, whatever generation the token is of that named it. `why`: the reason to give to holders of its
   * tokens; `null` when its holder ended it. Gives the id of its user; `null`: it was not live.
   */
  end(tag: string, sid: string, why: EndedFor | null): Promise<{ userId: string } | null>;

  /** Ends all sessions of a user, `'revoked'`. Gives the ids of the live ones it ended. */
  endAll(tag: string, options: EndAllOptions): Promise<string[]>;

  /**
   * Ends all sessions of a user, `'banned'`, and has `create` refuse others for that long; `null`: until it is lifted.
   * Takes the place of an earlier ban. Gives also the ids of the live sessions it ended.
   */
  ban(
    tag: string,
    ban: { userId: string; durationMs: number | null; reason: string | null },
  ): Promise<{ ban: StoredBan; ended: string[] }>;

  /** Lifts a ban; what it ended stays ended. `false`: there was none. */
  unban(tag: string): Promise<boolean>;

  /** The ban of a user; `null`: there is none. */
  getBan(tag: string): Promise<StoredBan | null>;

  /** The live sessions of a user, oldest login first, maybe none. `null`: nothing is stored for this user. */
  list(tag: string): Promise<StoredUser | null>;

  /**
   * Looks how some sessions of a user are, by their ids. Judges no token, and changes nothing. A damaged record is
   * `'unknown'`: no token of it signs anybody in.
   */
  states(tag: string, sids: readonly string[]): Promise<SessionStates>;

  /** Reads data: the keys that are there of those asked for; `null` for all. */
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

  /** Reads a key and deletes it; `null`: it is not there. */
  takeData(tag: string, claims: TokenClaims, policy: ReusePolicy, key: string): Promise<FoundData<string | null>>;

  /**
   * Adds to the number under a key; one that is not there counts as 0. Gives the sum. `'no-number'`: the key has
   * another value. `'no-sum'`: the sum is no finite number. Nothing was written then.
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
   * Gives the user info a version beyond that of every load that has begun, and leaves its value as it is. Gives the
   * version, for a load that begins now.
   */
  renewUserInfo(tag: string): Promise<number>;

  /**
   * Keeps the user info in place of what was there, whether or not the user has sessions. `version`: the moment the
   * load began, as `userInfoVersion` or `renewUserInfo` gave it; the info is kept until `ttlMs` after that. `false`,
   * and nothing was changed: that is over, the load took more than a minute, or what was there last has a later
   * version.
   */
  setUserInfo(tag: string, userInfo: string, ttlMs: number, version: number): Promise<boolean>;

  /** Forgets the user info; a load that began before can't be kept any more. `false`: there was none. */
  deleteUserInfo(tag: string): Promise<boolean>;

  /**
   * Reports every change that any process makes to a user: a session that ends, is refreshed or moves on to a new
   * token, and user info that is kept anew or forgotten. Not slides, nor what ends by its time. Each is reported no
   * later than the source's `completeUntil` allows. Left out by a store that can't: no near cache is built on it, and
   * watched sessions are asked for every few seconds.
   *
   * @param options.heartbeatMs milliseconds between two looks whether changes still arrive; `completeUntil` is at most
   *   twice that ahead.
   */
  follow?(follower: ChangeFollower, options: { heartbeatMs: number }): ChangeFeed;

  /**
   * The tags of all users and visitors of whom something is kept, some at a time; the same one may come twice, and one
   * that comes or goes meanwhile may be missing. Left out by a store that can't tell.
   */
  tags?(): AsyncIterable<readonly string[]>;

  /**
   * Asks how the store is. Never rejects, and costs no more than a call a second is worth; calls at once share one
   * look.
   */
  health(): Promise<StoreHealth>;

  /**
   * Closes what the store opened itself. Afterwards it is `down`, and every other method rejects with
   * `ERR_STORE_UNAVAILABLE`. Calling it again does nothing.
   */
  close(): Promise<void>;
}

/** The methods that are about one user. */
export type Verb = Exclude<keyof Store, 'follow' | 'tags' | 'health' | 'close'>;

/**
 * What each verb does to the sessions and the info of its user, for whatever wraps a store: it only reads, it slides or
 * moves a record on as it reads, or it changes what may be cached. Data is never cached.
 */
export const VERBS: Readonly<Record<Verb, 'read' | 'use' | 'change'>> = {
  create: 'change',
  check: 'read',
  touch: 'use',
  touchWithData: 'use',
  refresh: 'change',
  end: 'change',
  endAll: 'change',
  ban: 'change',
  unban: 'read',
  getBan: 'read',
  list: 'read',
  states: 'read',
  readData: 'read',
  writeData: 'read',
  takeData: 'read',
  addToData: 'read',
  clearData: 'read',
  renewUserInfo: 'read',
  setUserInfo: 'change',
  deleteUserInfo: 'change',
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
