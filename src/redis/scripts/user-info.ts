import { MAX_USER_INFO_LOAD_MS } from '../../store/limits';
import { ANNOUNCE, CLOCK, USER_INFO } from './parts';

/**
 * Gives a user's info a version beyond that of every load that has begun, and leaves its value as it is.
 *
 * KEYS[1]  the user's cached info
 * Returns  the version, ms
 */
export const RENEW_USER_INFO = `${CLOCK}${USER_INFO}
local key = KEYS[1]
local version, text, expires = read_info(key)
if not version then return expires end
if text == '' then return forget_info(key, version) end
version = math.max(now, version) + 1
write_info(key, version, expires, text)
return version
`;

/**
 * Replaces the cached info of a user.
 *
 * KEYS[1]  the user's cached info
 * ARGV[1]  the info, JSON
 * ARGV[2]  ms to keep it, from the moment its load began
 * ARGV[3]  that moment, which is its version
 * Returns  1; 0 when what is there has a later version, or the info is too old to keep
 */
export const SET_USER_INFO = `${CLOCK}${ANNOUNCE}${USER_INFO}
local key, info, version = KEYS[1], ARGV[1], tonumber(ARGV[3])
-- This first write keeps nothing: a Redis without memory refuses it, and the script ends before it changes the info.
redis.call('SET', key, '', 'NX', 'PX', 1)
-- A version in the future is from before the clock was set back.
local expires = math.min(version, now) + ARGV[2]
local known_version, known, refusal = read_info(key)
if not known_version then return refusal end
if known_version > version or expires <= now or now - version > ${MAX_USER_INFO_LOAD_MS} then return 0 end
write_info(key, version, expires, info)
if known ~= info then announce(key) end
return 1
`;

/**
 * Forgets a user's info. Announces that even if there was none: caches may still hold info that has expired.
 *
 * KEYS[1]  the user's cached info
 * Returns  1, or 0 when there was none
 */
export const DELETE_USER_INFO = `${CLOCK}${ANNOUNCE}${USER_INFO}
local key = KEYS[1]
local version, text, refusal = read_info(key)
if not version then return refusal end
forget_info(key, version)
announce(key)
return text == '' and 0 or 1
`;
