import { DATA, REFUSE_ON_REPLICA } from './parts';
import { LIVE_SESSION } from './session';

/*
 * The verbs on the data of a live session. Each judges the token as `touch` does, in the same step: no data of an ended
 * session is read or written.
 *
 * Each has these in common:
 *
 * KEYS[1]     the user's sessions
 * ARGV[1…3]   the token and the grace of a former one: as for `touch`
 * Returns     { '', user id, the outcome }; without a live session what is stored, see RETURN_FOUND
 */

const BEGIN = `${LIVE_SESSION}${DATA}
local entries = read_data(sid)
if not entries then
  ${REFUSE_ON_REPLICA}
  return redis.error_reply('TOKENSESSION ERR_STORE_CORRUPT data')
end
`;

/**
 * Reads data.
 *
 * ARGV[4…]  keys; none = all
 * Returns   { '', user id, then each key that is there and its JSON }
 */
export const READ_DATA = `${BEGIN}${REFUSE_ON_REPLICA}
local wanted = #ARGV == 3 and entries or {}
for i = 4, #ARGV do wanted[ARGV[i]] = entries[ARGV[i]] end
return with_entries({ '', user_id }, wanted)
`;

/**
 * Writes and deletes keys, all or none.
 *
 * ARGV[4]   bytes that the session may have
 * ARGV[5]   keys that it may have
 * ARGV[6]   a key that must have the value ARGV[7]; '' = none
 * ARGV[7]   that value, JSON; '' = it must be absent
 * ARGV[8…]  each key and its JSON, '' to delete it
 * Outcome   'done'; 'changed' when the key has another value; 'too-large', 'too-many'
 */
export const WRITE_DATA = `${BEGIN}
local max_bytes, max_keys, condition, expected = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6], ARGV[7]
if condition ~= '' and (entries[condition] or '') ~= expected then
  ${REFUSE_ON_REPLICA}
  return { '', user_id, 'changed' }
end
local is_growing = false
for i = 8, #ARGV, 2 do
  if ARGV[i + 1] == '' then entries[ARGV[i]] = nil
  else entries[ARGV[i]], is_growing = ARGV[i + 1], true
  end
end
if is_growing then return { '', user_id, write_data(sid, entries, max_bytes, max_keys) } end
shrink_data(sid, entries)
return { '', user_id, 'done' }
`;

/**
 * Reads a key and deletes it.
 *
 * ARGV[4]  the key
 * Outcome  its JSON; nil when it is not there
 */
export const TAKE_DATA = `${BEGIN}${REFUSE_ON_REPLICA}
local name = ARGV[4]
local json = entries[name]
if not json then return { '', user_id } end
entries[name] = nil
shrink_data(sid, entries)
return { '', user_id, json }
`;

/**
 * Adds to a number. A key that is not there counts as 0.
 *
 * ARGV[4]  bytes that the session may have
 * ARGV[5]  keys that it may have
 * ARGV[6]  the key
 * ARGV[7]  what to add
 * Outcome  'done' and the sum, JSON; 'no-number' when the value is no number; 'no-sum' when the sum is not finite;
 *          'too-large', 'too-many'
 */
export const ADD_TO_DATA = `${BEGIN}
local max_bytes, max_keys, name, addend = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6], tonumber(ARGV[7])
local before = entries[name] or '0'
local is_number = string.match(before, '^%-?%d')
local sum = is_number and tonumber(before) + addend
if not sum or math.abs(sum) == math.huge then
  ${REFUSE_ON_REPLICA}
  return { '', user_id, is_number and 'no-sum' or 'no-number' }
end
local is_whole = sum == math.floor(sum) and math.abs(sum) < 2 ^ 53
local text = is_whole and string.format('%.0f', sum)
-- As few digits as give the number again.
for digits = 15, 17 do
  if not text or tonumber(text) ~= sum then text = string.format('%.' .. digits .. 'g', sum) end
end
entries[name] = text
return { '', user_id, write_data(sid, entries, max_bytes, max_keys), text }
`;

/** Deletes all data of a session. */
export const CLEAR_DATA = `${LIVE_SESSION}
redis.call('HDEL', key, sid .. '.d')
return { '', user_id, 'done' }
`;
