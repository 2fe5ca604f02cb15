import type { EndReason, SessionAttributes } from '../manager/types';

/**
 * A session as a store keeps it. Times are milliseconds since the epoch by the store's own clock, durations are milliseconds.
 */
export interface SessionRecord {
  /** The session's id: 22 characters of base64url. */
  sid: string;
  /** When the user logged in. */
  createdAt: number;
  /** When the session's clock was last started. */
  seenAt: number;
  /** How long it lives from then on. */
  ttlMs: number;
  /** The moment this session ends however busy it is; 0 for none. */
  capAt: number;
  /** When the user last proved who they are: at the login, or since. */
  authenticatedAt: number;
  attributes: SessionAttributes;
}

/** When a session ends unless it is seen again. At that very millisecond it is over. */
export function expiryOf({ seenAt, ttlMs, capAt }: SessionRecord): number {
  const idleAt = seenAt + ttlMs;
  return capAt === 0 ? idleAt : Math.min(idleAt, capAt);
}

/** A live session, with what else the same call to the store brought along. */
export interface StoredSession {
  /** The user id in the record, exactly as it was given at login. */
  userId: string;
  session: SessionRecord;
  /** The store's clock when it answered. */
  now: number;
  /** The cached user info, as `setUserInfo` was given it; `null` when there is none. */
  userInfo: string | null;
}

/** Why there is no live session, where that is known. */
export interface EndedSession {
  session: null;
  userId: string;
  /** The session's id: the one it had last, where its token was rotated. */
  sid: string;
  reason: Exclude<EndReason, 'unknown'>;
  /** What whoever ended it had to say; `null` for nothing. */
  message: string | null;
  /**
   * Whether it was this call that found it out: the session has expired, or its token was rotated away and the grace for that is over.
   * What others have ended was known before.
   */
  isDetected: boolean;
  /** Whether it was this call that ended it. */
  isEndedNow: boolean;
}

/** What there is to a session's id: the live session, why there is none, or `null` when nothing is known of it. */
export type Found = StoredSession | EndedSession | null;

/** All live sessions of a user, in order of login. */
export interface StoredUser {
  userId: string;
  sessions: SessionRecord[];
  now: number;
}

/** What {@link Store.create} is told of a login. */
export interface NewSession {
  userId: string;
  sid: string;
  ttlMs: number;
  /** The session's whole life; 0 for unbounded. */
  absoluteTtlMs: number;
  attributes: SessionAttributes;
  /** Live sessions that this user may have, this one included. */
  maxSessions: number;
  /** Live sessions that this user may have with the same `attributes.device`, none being one of them; 0 for any number. */
  maxOnDevice: number;
  /** Over a limit: whether the oldest give way, or this login is refused. */
  onLimit: 'replace' | 'reject';
  /** Sessions of this user that end because this one begins, and so count for no limit. */
  replaces: readonly string[];
}

/** What {@link Store.rotate} is told. */
export interface Rotation {
  /** The session's next id. */
  newSid: string;
  /** Milliseconds for which the old id still stands for the session. */
  graceMs: number;
  /** What becomes of the session when the old id is used after that: it ends, or lives on. */
  onReuse: 'end' | 'keep';
}

/** Why a session is ended that nobody else replaces in the same step. */
export interface EndedFor {
  reason: 'revoked' | 'replaced';
  message: string | null;
}

/** How to take what is found. */
export interface LookOptions {
  /** Whether an id that was rotated away may have come by accident: then its reuse is reported and the session left alone. Default false. */
  forgiving?: boolean;
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

/** Somebody who keeps copies of what a store gave, and wants to know when they hold no more. */
export interface ChangeFollower {
  /** A session of this user has ended or changed, or their info has; or it may have. */
  changed(tag: string): void;
  /** From now on changes may be missed: copies of this source are worth nothing. */
  lost(source: ChangeSource): void;
  /** Whether changes to every user are heard of now; when not, why. Told when that changes, and when trying for the first time has failed. */
  heard(outcome: { isAll: true } | { isAll: false; cause: unknown }): void;
}

/** A place where changes are heard of without a gap, such as one server. One that has been lost never comes back: another takes its place. */
export interface ChangeSource {
  /** Until when, by `performance.now()`, what was heard is known to be all; in the past once it is lost. */
  readonly completeUntil: number;
}

/** What a follower has of a store. */
export interface ChangeFeed {
  /** Where changes to this user are heard of now; `null` when they are not, or may not be. */
  sourceOf(tag: string): ChangeSource | null;
  /** How often an answer has come from elsewhere than the source of its user would say. What was under way meanwhile is of no known source. */
  readonly detours: number;
  /** Ends it. The follower is told nothing more. */
  close(): void;
}

/**
 * The port between the sessions and where they are kept. `tag` names a user: 22 characters of base64url, a hash of the user id. `sid`,
 * in the same form, names one of the user's sessions.
 *
 * Absence is a value (`null`, `false`, an empty list, as each method says), failure is a rejection with a `SessionError`: nothing reports
 * "not there" for "I couldn't look". Each method is atomic: another call sees all of it or nothing (finding a reuse, see `rotate`, and ending the
 * session for it may be two steps), and a `create` that is refused has
 * ended nobody's session. One that got no answer in time may have been carried out; one that makes, changes or bans (`create`, `rotate`,
 * `reauthenticate`, `ban`, `unban`) is not carried out later than that, one that ends, slides or refreshes may be. Expiry is
 * judged by the store's own clock, and an expired session is absent to every method. No method but `create` makes a session, so that none that
 * ended can come back. What is given and what is taken are copies: changing one doesn't change the store.
 *
 * Of a session that a limit, a kick, a ban or a theft has ended, the store remembers why, for whoever still has its token: for as long as it
 * would have lived, a day at most, and of one user the last 100. That may be lost, the ending may not.
 */
export interface Store {
  /**
   * Adds a session, then ends those it replaces and, `'replaced'`, the oldest live ones over a limit. `createdAt` is now, or one more than
   * that of the user's newest session, so that logins are in order; `seenAt` is now; `authenticatedAt` is `createdAt`; `capAt` is now and
   * `absoluteTtlMs`, or 0. Gives also the ids of the live sessions it ended.
   *
   * `ERR_USER_BANNED`, `ERR_TOO_MANY_SESSIONS`: refused. `ERR_STORE_CORRUPT`: under this tag is another user.
   */
  create(tag: string, session: NewSession): Promise<{ session: SessionRecord; now: number; ended: string[] }>;

  /** Reads a session, and changes nothing unless this is the use of a token that was rotated away: see {@link rotate}. */
  check(tag: string, sid: string, options?: LookOptions): Promise<Found>;

  /**
   * Reads a session and restarts its clock, unless less than `slideEveryMs` has passed since the last time. A session whose ttl is
   * under twice that slides at half its ttl already, so that one in use never ends by idleness. Gives the session as it is then.
   */
  touch(tag: string, sid: string, slideEveryMs: number, options?: LookOptions): Promise<Found>;

  /** Restarts a live session's clock, with a new ttl or, for `null`, the one it has. */
  refresh(tag: string, sid: string, ttlMs: number | null): Promise<Found>;

  /** Sets a live session's `authenticatedAt` to now. */
  reauthenticate(tag: string, sid: string): Promise<Found>;

  /**
   * Gives a live session another id. For `graceMs` the old one stands for the session in every method, and rotating it again gives the session
   * under the id that it has by then. Afterwards any of these five methods, called with the old id, finds a reuse, and ends the session,
   * `'reused'`, unless `onReuse` is `'keep'`. Of one user the last 100 old ids are known.
   */
  rotate(tag: string, sid: string, rotation: Rotation): Promise<Found>;

  /** Takes a rotation back that nobody has come to know of: `sid` is the session's id again, `newSid` none. `false`: there was none. */
  unrotate(tag: string, sid: string, newSid: string): Promise<boolean>;

  /**
   * Ends a session, also by an id that it had before a rotation. `why`: what to tell whoever still has its token; `null` when it is they who
   * ended it. Gives whose it was and its id; `null`: it was not live.
   */
  end(tag: string, sid: string, why: EndedFor | null): Promise<{ userId: string; sid: string } | null>;

  /**
   * Ends all sessions of a user, `'revoked'`, but `except`, and forgets the cached user info when asked to. Gives the ids of the live ones it
   * ended.
   */
  endAll(
    tag: string,
    options: { except: string | null; forgetUserInfo: boolean; message: string | null },
  ): Promise<string[]>;

  /**
   * Ends all sessions of a user, `'banned'`, and has `create` refuse others for that long; `null`: until it is lifted. Takes the place of an
   * earlier ban. Gives also the ids of the live sessions it ended.
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

  /** Keeps the user info for that long, in place of what was there, whether or not the user has sessions. */
  setUserInfo(tag: string, userInfo: string, ttlMs: number): Promise<void>;

  /** Forgets the user info. `false`: there was none. */
  deleteUserInfo(tag: string): Promise<boolean>;

  /**
   * Tells of every change that any process makes to a user: of a session that ends, is rotated, refreshed or reauthenticated, and of user info
   * that is kept anew or forgotten. Not of slides, nor of what ends by its time. Each is told no later than the source's `completeUntil` allows.
   * Left out by a store whose answers need not be kept: no near cache is built on it.
   *
   * @param options.heartbeatMs milliseconds between two looks whether changes are still heard of; `completeUntil` is at most twice that ahead.
   */
  follow?(follower: ChangeFollower, options: { heartbeatMs: number }): ChangeFeed;

  /** Asks how the store is. Never rejects, and costs no more than a call a second is worth; calls at once share one look. */
  health(): Promise<StoreHealth>;

  /**
   * Closes what the store opened itself. Afterwards it is `down`, and every other method rejects with
   * `ERR_STORE_UNAVAILABLE`. Calling it again does nothing.
   */
  close(): Promise<void>;
}

const METHODS: Record<Exclude<keyof Store, 'follow'>, true> = {
  create: true,
  check: true,
  touch: true,
  refresh: true,
  reauthenticate: true,
  rotate: true,
  unrotate: true,
  end: true,
  endAll: true,
  ban: true,
  unban: true,
  getBan: true,
  list: true,
  setUserInfo: true,
  deleteUserInfo: true,
  health: true,
  close: true,
};

/** Whether a value has all methods that a store must have. */
export function isStore(value: unknown): value is Store {
  return (
    typeof value === 'object' &&
    value !== null &&
    Object.keys(METHODS).every((method) => typeof (value as Record<string, unknown>)[method] === 'function')
  );
}
