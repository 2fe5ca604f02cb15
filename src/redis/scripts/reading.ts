import { LUA } from '../schema';
import { BANS, CHECK_LAYOUT, CLOCK, REFUSE_ON_REPLICA, USER } from './parts';

/**
 * Lists the live sessions of a user. Changes nothing.
 *
 * KEYS[1]  the user's sessions
 * Returns  { user id, now, then for each session: its id, record, attributes or nil }; nil when nothing is stored for
 *          this user
 */
export const LIST = `${CLOCK}${USER}
${REFUSE_ON_REPLICA}
local user, refusal = read_user(KEYS[1])
if refusal then return refusal end
if next(user.corrupt) then return redis.error_reply('TOKENSESSION ERR_STORE_CORRUPT session') end
if not user.id then return false end

local reply = { user.id, now }
for sid, session in pairs(user.sessions) do
  if expiry(session) > now then
    table.insert(reply, sid)
    table.insert(reply, encode(session))
    table.insert(reply, user.attributes[sid] or false)
  end
end
return reply
`;

/**
 * Reads a user's ban. Changes nothing.
 *
 * KEYS[1]  the user's sessions
 * Returns  { user id, the ban as 'since:until:reason' }; nil when there is none
 */
export const GET_BAN = `${CLOCK}${BANS}
local found = redis.call('HMGET', KEYS[1], 'v', 'id', 'ban')
local layout, user_id, record = found[1], found[2], found[3]
${CHECK_LAYOUT}
${REFUSE_ON_REPLICA}
local ban = decode_ban(record)
if record and not ban then return redis.error_reply('TOKENSESSION ERR_STORE_CORRUPT ban') end
if not is_banned(ban) then return false end
return { user_id, record }
`;

/**
 * Reads the states of sessions. Judges no token, and changes nothing.
 *
 * KEYS[1]  the user's sessions
 * ARGV     session ids
 * Returns  { now, user id or nil, then for each id: when the session expires, ms; or 'reason:message'; or '' when
 *          nothing is known of it, or its record is damaged }
 */
export const STATES = `${CLOCK}${USER}
local key = KEYS[1]
local found = redis.call('HMGET', key, 'v', 'id')
local layout, user_id = found[1], found[2]
local records = {}
-- Any of them, for the check of the layout.
local record
-- In parts: there may be more ids than Lua can pass at once.
for first = 1, #ARGV, 1000 do
  local some = redis.call('HMGET', key, unpack(ARGV, first, math.min(first + 999, #ARGV)))
  for i = 1, #some do
    records[first + i - 1] = some[i]
    record = record or some[i]
  end
end
${CHECK_LAYOUT}
${REFUSE_ON_REPLICA}

local reply = { now, user_id }
for i = 1, #ARGV do
  local session = decode(records[i] or '')
  local remembered, reason, message = string.match(records[i] or '', '${LUA.ended}')
  local state = ''
  if session and expiry(session) > now then state = string.format('%.0f', expiry(session))
  elseif session then state = 'expired:'
  elseif (time_of(remembered) or 0) > now then state = reason .. ':' .. message
  end
  table.insert(reply, state)
end
return reply
`;
