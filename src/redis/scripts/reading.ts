import { BANS, CHECK_LAYOUT, CLOCK, CORRUPT, REFUSE_ON_REPLICA, USER } from './parts';

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
if next(user.corrupt) then return redis.error_reply('${CORRUPT} session') end
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
if record and not ban then return redis.error_reply('${CORRUPT} ban') end
if not is_banned(ban) then return false end
return { user_id, record }
`;
