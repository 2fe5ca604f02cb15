/**
 * Marks keys of no user, for ten seconds.
 *
 * KEYS     names in the place of cached info
 * Returns  the mark
 */
export const MARK = `
-- GETEX and MGET, as in the scripts on several sessions. After the GETEX, a full Redis takes the SET.
redis.call('GETEX', KEYS[1])
for i = 1, #KEYS do redis.call('SET', KEYS[i], 'marked', 'PX', 10000) end
redis.call('MGET', unpack(KEYS))
return 'marked'
`;

/**
 * Takes a mark away.
 *
 * KEYS[1]  a name that may be marked
 * Returns  the mark; nil for none
 */
export const TAKE_MARK = `
local mark = redis.call('GETEX', KEYS[1])
redis.call('UNLINK', KEYS[1])
return mark
`;
