/*
 * The users of the scale part, for both contestants. Of each 70 users, 49 have one session, 12 have two and 9 have
 * three: 100 sessions.
 */

const USERS = 70;
const SESSIONS = 100;

export const DISTRIBUTION = '70 % of the users have one session, 17 % two, 13 % three';

/** The number of users with this many sessions, a multiple of a hundred. */
export function usersWith(sessions: number): number {
  return (sessions / SESSIONS) * USERS;
}

export function sessionsOf(user: number): number {
  const place = user % USERS;
  if (place < 49) return 1;
  return place < 61 ? 2 : 3;
}

export function userId(user: number): string {
  return `user-${String(user).padStart(7, '0')}`;
}
