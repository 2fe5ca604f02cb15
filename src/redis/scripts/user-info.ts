import { ANNOUNCE } from './parts';

/**
 * Keeps a user's info, in place of what was there.
 *
 * KEYS[1]  the user's cached info
 * ARGV[1]  the info, JSON
 * ARGV[2]  ms to keep it
 * Returns  1
 */
export const SET_USER_INFO = `${ANNOUNCE}
local key, info, ttl = KEYS[1], ARGV[1], ARGV[2]
local known = redis.pcall('GETEX', key)
redis.call('SET', key, info, 'PX', ttl)
if known ~= info then announce(key) end
return 1
`;

/**
 * Forgets a user's info. Announced also where there was none: somebody may keep a copy of one that has expired meanwhile.
 *
 * KEYS[1]  the user's cached info
 * Returns  1, or 0 when there was none
 */
export const DELETE_USER_INFO = `${ANNOUNCE}
local key = KEYS[1]
local forgotten = redis.call('UNLINK', key)
announce(key)
return forgotten
`;
