import { checkText } from '../errors/arguments';

/*
 * The keys, fields and channels of this package in Redis:
 *
 *   HGETALL session-token:{<tag>}     all that is kept of a user; PTTL at least until the last of it is forgotten
 *     id        <the user id, exactly as at login>
 *     v         1, the version of this layout
 *     <sid>     created:seen:ttl:cap[:gen:minted:confirmed:proved]
 *               a session; expiry = min(seen + ttl, cap), cap 0 = none. Of the newest of its tokens that was used: its
 *               generation, when it was made, when it was first used, when its holder had last proved who they are;
 *               left out while all that is as at a login at `created`
 *     <sid>.a   {"device":…,"ip":…,"userAgent":…}   a session's attributes, only when there are any; also the actor,
 *               and of a session that was kept elsewhere before, `moved`
 *     <sid>.d   the session's data, only when there is any: a MessagePack map of keys to JSON texts
 *     <sid>     ended:until:reason:message          why a session has ended, remembered until then. Of one that was
 *               moved also `unknown`, where its holder ended it, and `expired`, where it was over or damaged by then
 *     ban       since:until:reason                  a ban, and for an hour one that is over; until 0 = for ever,
 *               1 = lifted, and since when
 *   GET session-user:{<tag>}          version:until:json   the cached user info; the version alone, `version:0:`, after
 *                                     a deletion
 *   GET session-user:{<random>}       marked: of no user, for ten seconds at most, see scripts/mark.ts
 *
 *   SUBSCRIBE session-token:changes   the user's tag when a session has ended or changed, in the same step; not for a
 *                                     slide
 *   SUBSCRIBE session-user:changes    the tag of a user whose cached info is another, or gone
 *
 * All times are milliseconds; so is a version, which is the moment at which the load of the info began. The key
 * outlives an info that expires within a minute, so that its version counts against loads that began earlier. The
 * braces are a hash tag: in a Cluster both keys of a user are in one slot.
 */

export const LAYOUT_VERSION = '1';

/** Milliseconds since the epoch beyond the range of a Date: such a number is damage, no time. */
export const NO_TIME = 4e15;

const RECORD = ['created', 'seen', 'ttl', 'cap'];
const TOKEN = ['gen', 'minted', 'confirmed', 'proved'];

/**
 * The values above as Lua patterns, each field captured. Of a record the part about its token is captured as a whole,
 * with its colon.
 */
export const LUA = {
  record: `^${luaNumbers(RECORD)}(.*)$`,
  token: `^:${luaNumbers(TOKEN)}$`,
  ended: '^ended:(%d+):(%a+):(.*)$',
  ban: '^(%d+):(%d+):(.*)$',
  userInfo: '^(%d+):(%d+):(.*)$',
} as const;

export const REGEXP = {
  record: `${regExpNumbers(RECORD)}(?::${regExpNumbers(TOKEN)})?`,
  ended: 'ended:(\\d{1,15}):([a-zA-Z]+):(.*)',
  ban: '(\\d{1,15}):(\\d{1,15}):(.*)',
  userInfo: '(\\d{1,15}):(\\d{1,15}):([^\\n]*)',
} as const;

function luaNumbers(fields: readonly string[]): string {
  return fields.map(() => '(%d+)').join(':');
}

function regExpNumbers(fields: readonly string[]): string {
  return fields.map(() => '(\\d{1,15})').join(':');
}

export interface RedisKeys {
  sessions: (tag: string) => string;
  userInfo: (tag: string) => string;
  /**
   * Where changes of either are announced: the scripts find each by the key they change, as `announce` in
   * scripts/parts.ts does.
   */
  channels: readonly [sessions: string, userInfo: string];
}

/** @throws RangeError for prefixes that can't keep these keys apart. */
export function redisKeys(tokenKeyPrefix: string, userKeyPrefix: string): RedisKeys {
  if (tokenKeyPrefix === userKeyPrefix) {
    throw new RangeError('option userKeyPrefix must differ from tokenKeyPrefix: their keys would be the same');
  }
  return {
    sessions: (tag) => `${tokenKeyPrefix}:{${tag}}`,
    userInfo: (tag) => `${userKeyPrefix}:{${tag}}`,
    channels: [`${tokenKeyPrefix}:changes`, `${userKeyPrefix}:changes`],
  };
}

export function checkPrefix(name: string, value: unknown): string {
  const prefix = checkText(name, value);
  if (!/[{}]/.test(prefix)) return prefix;
  throw new RangeError(
    `${name} must not hold braces: they would put every user into one Cluster slot, or a user's keys into two`,
  );
}
