import { checkText } from '../errors/arguments';

/*
 * All that this package keeps in Redis, as Redis shows it:
 *
 *   HGETALL session-token:{<tag>}     what there is to a user; PTTL until the last of it is forgotten
 *     id        <the user id, exactly as at login>
 *     v         1 while there are only sessions and attributes; 2 from the first ban, ended, rotated or proof on
 *     ban       since:until:reason            a ban, and for an hour one that is over; until 0 = for ever
 *     <sid>     created:seen:ttl:cap[:proof]  a session; expiry = min(seen + ttl, cap); cap 0 = none; proof = reauthenticated, if ever
 *     <sid>     ended:until:reason:message    why there is no such session any more, told for so long
 *     <sid>     rotated:grace:<next sid>:policy   the session that this one is now; until grace it may be used; then 'end' it or 'keep' it
 *     <sid>.a   {"device":…,"ip":…,"userAgent":…}   a session's attributes, only when there are any
 *   GET session-user:{<tag>}          the cached user info, JSON, with a TTL of its own
 *
 *   SUBSCRIBE session-token:changes   the tag of a user of whom a session has ended or changed, in the same step; of a slide nothing
 *   SUBSCRIBE session-user:changes    the tag of a user whose cached info is another, or gone
 *
 * All times are milliseconds. The braces are a hash tag: in a Cluster both keys of a user are in one slot.
 */

export interface RedisKeys {
  /** The hash of a user's sessions. */
  sessions: (tag: string) => string;
  /** The string with a user's cached info. */
  userInfo: (tag: string) => string;
  /** Where changes of either are announced: the scripts find each by the key they change, as `announce` in lua/parts.ts does. */
  channels: readonly [sessions: string, userInfo: string];
}

/** @throws TypeError or RangeError for a prefix that can't keep these keys apart and in one slot. */
export function redisKeys(tokenKeyPrefix: string, userKeyPrefix: string): RedisKeys {
  checkPrefix('option tokenKeyPrefix', tokenKeyPrefix);
  checkPrefix('option userKeyPrefix', userKeyPrefix);
  if (tokenKeyPrefix === userKeyPrefix) {
    throw new RangeError('option userKeyPrefix must differ from tokenKeyPrefix: their keys would be the same');
  }
  return {
    sessions: (tag) => `${tokenKeyPrefix}:{${tag}}`,
    userInfo: (tag) => `${userKeyPrefix}:{${tag}}`,
    channels: [`${tokenKeyPrefix}:changes`, `${userKeyPrefix}:changes`],
  };
}

function checkPrefix(name: string, prefix: string): void {
  if (/[{}]/.test(checkText(name, prefix))) {
    throw new RangeError(
      `${name} must not hold braces: they would put every user into one Cluster slot, or a user's keys into two`,
    );
  }
}
