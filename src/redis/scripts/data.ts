import { MAX_EXPIRED_MS } from '../../store/limits';
import { CLOCK, REFUSE_ON_REPLICA } from './parts';
import { SESSION } from './session';

/*
 * The verbs on the data of a live session. Each judges the token as `check` does, in the same step, so that nothing is read or written of a
 * session that has ended.
 *
 * Each has these in common:
 *
 * KEYS[1]     the user's sessions
 * KEYS[2]     the session's data
 * ARGV[1…3]   the token, and what becomes of a former one: as for `check`
 * Returns     { '', user id, the outcome }; without a live session what `check` returns, see SESSION
 */

/**
 * Writes values, '' to delete, and keeps count of the bytes. Gives 'done', or what forbids it. ARGV[4] is 'bytes:keys' that the session may have.
 * The HSET comes first: a Redis without memory refuses it as a whole.
 */
const WRITE = `
local data = KEYS[2]
local function write_data(names, values)
  local max_bytes, max_keys = string.match(ARGV[4], '^(%d+):(%d+)$')
  local known = redis.call('HMGET', data, '', unpack(names))
  local bytes = tonumber(known[1] or 0)
  local keys = known[1] and redis.call('HLEN', data) - 1 or 0
  local written, deleted = {}, {}
  for i, name in ipairs(names) do
    local before, value = known[i + 1], values[i]
    if before then bytes, keys = bytes - #name - #before, keys - 1 end
    if value ~= '' then
      bytes, keys = bytes + #name + #value, keys + 1
      table.insert(written, name)
      table.insert(written, value)
    elseif before then table.insert(deleted, name)
    end
  end
  if #written > 0 and bytes > tonumber(max_bytes) then return 'too-large' end
  if #written > 0 and keys > tonumber(max_keys) then return 'too-many' end
  if #written > 0 then redis.call('HSET', data, '', bytes, unpack(written)) end
  if #deleted > 0 then redis.call('HDEL', data, unpack(deleted)) end
  if keys == 0 then redis.call('UNLINK', data)
  else
    if #written == 0 then redis.call('HSET', data, '', bytes) end
    local expires = cap == '0' and seen + ttl or math.min(seen + ttl, cap)
    redis.call('PEXPIRE', data, string.format('%.0f', expires - now + math.min(ttl, ${MAX_EXPIRED_MS})))
  end
  return 'done'
end
`;

/**
 * Reads data.
 *
 * ARGV[4…]  keys; none = all
 * Returns   { '', user id, then each key that is there and its JSON }
 */
export const READ_DATA = `${CLOCK}${SESSION}${REFUSE_ON_REPLICA}
local reply = { '', user_id }
if #ARGV == 3 then
  local all = redis.call('HGETALL', KEYS[2])
  for i = 1, #all, 2 do
    if all[i] ~= '' then
      table.insert(reply, all[i])
      table.insert(reply, all[i + 1])
    end
  end
  return reply
end
local names = { unpack(ARGV, 4) }
local values = redis.call('HMGET', KEYS[2], unpack(names))
for i, name in ipairs(names) do
  if values[i] then
    table.insert(reply, name)
    table.insert(reply, values[i])
  end
end
return reply
`;

/**
 * Writes and deletes keys, all or none.
 *
 * ARGV[4]   'bytes:keys' that the session may have
 * ARGV[5]   a key that must have the value ARGV[6]; '' = none
 * ARGV[6]   that value, JSON; '' = it must be absent
 * ARGV[7…]  each key and its JSON, '' to delete it
 * Outcome   'done'; 'changed' when the key has another value; 'too-large', 'too-many'
 */
export const WRITE_DATA = `${CLOCK}${SESSION}${REFUSE_ON_REPLICA}${WRITE}
if ARGV[5] ~= '' and (redis.call('HGET', data, ARGV[5]) or '') ~= ARGV[6] then return { '', user_id, 'changed' } end
local names, values = {}, {}
for i = 7, #ARGV, 2 do
  table.insert(names, ARGV[i])
  table.insert(values, ARGV[i + 1])
end
return { '', user_id, write_data(names, values) }
`;

/**
 * Reads a key and deletes it.
 *
 * ARGV[4]  '0:0'
 * ARGV[5]  the key
 * Outcome  its JSON; nil when it is not there
 */
export const TAKE_DATA = `${CLOCK}${SESSION}${REFUSE_ON_REPLICA}${WRITE}
local value = redis.call('HGET', data, ARGV[5])
if value then write_data({ ARGV[5] }, { '' }) end
return { '', user_id, value }
`;

/**
 * Adds to a number. A key that is not there counts as 0.
 *
 * ARGV[4]  'bytes:keys' that the session may have
 * ARGV[5]  the key
 * ARGV[6]  what to add
 * Outcome  'done' and the sum, JSON; 'no-number' when the value is another one, 'no-sum' when the sum is none; 'too-large', 'too-many'
 */
export const ADD_TO_DATA = `${CLOCK}${SESSION}${REFUSE_ON_REPLICA}${WRITE}
local before = redis.call('HGET', data, ARGV[5]) or '0'
if not string.match(before, '^%-?%d') then return { '', user_id, 'no-number' } end
local sum = tonumber(before) + tonumber(ARGV[6])
if sum ~= sum or math.abs(sum) == math.huge then return { '', user_id, 'no-sum' } end
local is_whole = sum == math.floor(sum) and math.abs(sum) < 2 ^ 53
local text = string.format(is_whole and '%.0f' or '%.17g', sum)
return { '', user_id, write_data({ ARGV[5] }, { text }), text }
`;

/** Deletes all data of a session. */
export const CLEAR_DATA = `${CLOCK}${SESSION}${REFUSE_ON_REPLICA}
redis.call('UNLINK', KEYS[2])
return { '', user_id, 'done' }
`;
