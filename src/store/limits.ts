/*
 * The limits of one user's part of a store, for every store. They bound the cost of one user: a login, a list and an
 * end of all sessions read everything of the user.
 */

/** The maximum of the option `maxSessions`. */
export const MAX_SESSIONS = 250;

/**
 * Ended and expired sessions of one user that the store remembers the reasons of. Beyond that, it forgets those first
 * that it would forget soonest.
 */
export const MAX_REMEMBERED = 100;

/**
 * Milliseconds for which the reason of an ended session is remembered: as long as the session would have lived, up to a
 * day. That of a session which came from another store has no such limit: it must not be moved once more.
 */
export const MAX_ENDED_MS = 24 * 3_600_000;

/** Milliseconds for which an expired session is remembered: for another ttl, up to an hour. */
export const MAX_EXPIRED_MS = 3_600_000;

/** Milliseconds for which a ban is remembered after its end, so that no late repetition brings it back. */
export const BAN_REMEMBERED_MS = 3_600_000;

/**
 * Milliseconds that a load of user info may take. The version of the info is remembered for as long, also after the
 * info has expired or was deleted, so that no earlier load can be stored later.
 */
export const MAX_USER_INFO_LOAD_MS = 60_000;

/** The maximum of the option `maxDataKeys`: one call may carry them all. */
export const MAX_DATA_KEYS = 1000;
