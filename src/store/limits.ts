/*
 * The bounds of what a store keeps of one user, for every store alike. They bound what one user can cost it: a login, a
 * list and an end of all sessions read everything that is kept of the user.
 */

/** Live sessions that one user may be allowed, see the option `maxSessions`. */
export const MAX_SESSIONS = 250;

/** Ended and expired sessions of one user that the store remembers the reasons of; those forgotten soonest give way. */
export const MAX_REMEMBERED = 100;

/**
 * Milliseconds for which the reason of an ended session is remembered, at most: as long as it would have lived, up to a
 * day.
 */
export const MAX_ENDED_MS = 24 * 3_600_000;

/** Milliseconds for which an expired session is remembered, at most: as long again as its ttl, up to an hour. */
export const MAX_EXPIRED_MS = 3_600_000;

/** Milliseconds for which a ban is remembered once it is over, so that no late repetition brings it back. */
export const BAN_REMEMBERED_MS = 3_600_000;

/**
 * Milliseconds that a load of user info may take to be kept. The version of the info is remembered for as long, also
 * when the info itself has expired or was deleted: no load that began before it can be kept later.
 */
export const MAX_USER_INFO_LOAD_MS = 60_000;

/** Keys that the data of one session may have, at most: one call may carry them all. See the option `maxDataKeys`. */
export const MAX_DATA_KEYS = 1000;

/** Bytes that `maxDataBytes` counts: the UTF-8 of each key that has JSON, and of that. */
export function bytesOfData(entries: ReadonlyMap<string, string | null>): number {
  let bytes = 0;
  for (const [key, json] of entries) if (json !== null) bytes += Buffer.byteLength(key) + Buffer.byteLength(json);
  return bytes;
}

/** Milliseconds since the epoch from which on a number is no time, but damage: beyond what a Date can be. */
export const NO_TIME = 4e15;
