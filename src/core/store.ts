import type { SessionAttributes } from './types';

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
  /** Live sessions that this user may have, this one included; the oldest give way. */
  maxSessions: number;
  /** Sessions of this user that end because this one begins. */
  replaces: readonly string[];
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

/**
 * The port between the sessions and where they are kept. `tag` names a user: 22 characters of base64url, a hash of the user id. `sid`,
 * in the same form, names one of the user's sessions.
 *
 * Absence is a value (`null`, `false`, 0, as each method says), failure is a rejection with a `SessionError`: nothing reports
 * "not there" for "I couldn't look". Each method is atomic: another call sees all of it or nothing, and a `create` that is refused has
 * ended nobody's session. One that got no answer in time may have been carried out, and any but a `create` may still be. Expiry is judged
 * by the store's own clock, and an expired session is absent to every method. No method but `create` makes a session, so that none that
 * ended can come back. What is given and what is taken are copies: changing one doesn't change the store.
 */
export interface Store {
  /**
   * Adds a session, then ends those it replaces and the oldest live ones over the limit. `createdAt` is now, or one more than that of
   * the user's newest session, so that logins are in order; `seenAt` is now; `capAt` is now and `absoluteTtlMs`, or 0.
   * `ERR_STORE_CORRUPT`: under this tag is another user.
   */
  create(tag: string, session: NewSession): Promise<{ session: SessionRecord; now: number }>;

  /** Reads a session and changes nothing. `null`: no such live session. */
  check(tag: string, sid: string): Promise<StoredSession | null>;

  /**
   * Reads a session and restarts its clock, unless less than `slideEveryMs` has passed since the last time. A session whose ttl is
   * under twice that slides at half its ttl already, so that one in use never ends by idleness. Gives the session as it is then.
   * `null`: no such live session.
   */
  touch(tag: string, sid: string, slideEveryMs: number): Promise<StoredSession | null>;

  /** Restarts a live session's clock, with a new ttl or, for `null`, the one it has. `false`: no such live session. */
  refresh(tag: string, sid: string, ttlMs: number | null): Promise<boolean>;

  /** Ends a session. `false`: it was not live. */
  end(tag: string, sid: string): Promise<boolean>;

  /** Ends all sessions of a user but `except`, and forgets the cached user info when asked to. Gives how many live ones it ended. */
  endAll(tag: string, options: { except: string | null; forgetUserInfo: boolean }): Promise<number>;

  /** The live sessions of a user, oldest login first, maybe none. `null`: nothing is stored for this user. */
  list(tag: string): Promise<StoredUser | null>;

  /** Keeps the user info for that long, in place of what was there, whether or not the user has sessions. */
  setUserInfo(tag: string, userInfo: string, ttlMs: number): Promise<void>;

  /** Forgets the user info. `false`: there was none. */
  deleteUserInfo(tag: string): Promise<boolean>;

  /** Asks how the store is. Never rejects, and costs no more than a call a second is worth; calls at once share one look. */
  health(): Promise<StoreHealth>;

  /**
   * Closes what the store opened itself. Afterwards it is `down`, and every other method rejects with
   * `ERR_STORE_UNAVAILABLE`. Calling it again does nothing.
   */
  close(): Promise<void>;
}

const METHODS: Record<keyof Store, true> = {
  create: true,
  check: true,
  touch: true,
  refresh: true,
  end: true,
  endAll: true,
  list: true,
  setUserInfo: true,
  deleteUserInfo: true,
  health: true,
  close: true,
};

/** Whether a value has all methods of a store. */
export function isStore(value: unknown): value is Store {
  return (
    typeof value === 'object' &&
    value !== null &&
    Object.keys(METHODS).every((method) => typeof (value as Record<string, unknown>)[method] === 'function')
  );
}
