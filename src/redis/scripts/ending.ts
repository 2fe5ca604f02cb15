import { BAN_REMEMBERED_MS, MAX_USER_INFO_LOAD_MS } from '../../store/limits';
import { LAYOUT_VERSION } from '../schema';
import { CLOCK, REFUSE_ON_REPLICA, USER, USER_INFO } from './parts';

/**
 * Ends all sessions of a user, or all but one. Also ends all of a damaged record, since no other script would.
 *
 * KEYS[1]  the user's sessions
 * KEYS[2]  the user's cached info
 * ARGV[1]  session id to keep; '' = none
 * ARGV[2]  a message to holders of their tokens; '' = none
 * ARGV[3]  for a user who no longer exists, the version of the load that found this: also forgets the info. Does
 *          nothing if the info has a later version, or if that load took too long to be kept; '' = for another reason
 * Returns  { now, the ids of the live sessions it ended, the ended ones that began now or later (each id and when it
 *          began), the session id that it kept; '' = none }, both lists joined by commas; { now } when there are sessions
 *          and it can't see the info of ARGV[3], without KEYS[2]
 */
export const END_ALL = `${CLOCK}${USER}${USER_INFO}
local key, except, message, gone_at = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3])
local user, refusal = read_user(key)
if refusal and (user.is_newer or except ~= '') then return refusal end
if refusal or gone_at then ${REFUSE_ON_REPLICA} end
if gone_at then
  local is_empty = not next(user.sessions) and not next(user.corrupt)
  if not KEYS[2] then return is_empty and { now, '', '', '' } or { now } end
  local version, _, unreadable = read_info(KEYS[2])
  if not version then return unreadable end
  if version > gone_at or now - gone_at > ${MAX_USER_INFO_LOAD_MS} then return { now, '', '', '' } end
  forget_info(KEYS[2], version)
  -- Services with other session keys may share the info.
  announce(KEYS[2])
end
announce(key)

-- Another server may still have a session that is not here: a repetition must end it there.
local kept = user.sessions[except] and except or ''
local ended, not_before = end_all(key, user, except, 'revoked', message)
-- A node whose slot moves refuses to delete a key that has lost its last field.
if refusal then redis.pcall('UNLINK', key) else settle(key, user) end
return { now, ended, not_before, kept }
`;

/**
 * Bans a user: ends all sessions, and has every login refused until the ban is over. A later ban takes the place of an
 * earlier one.
 *
 * KEYS[1]  the user's sessions
 * ARGV[1]  the user id
 * ARGV[2]  ms that the ban lasts; 0 = until it is lifted
 * ARGV[3]  its reason, for holders of their tokens; '' = none
 * ARGV[4]  the moment, ms, after which the caller has given up: the script then does nothing
 * Returns  { now } when it came too late; else { now, the ban as 'since:until:reason', the ids of the live sessions it
 *          ended, the ended ones that began now or later (each id and when it began) }, both lists joined by commas
 */
export const BAN = `${CLOCK}${USER}
local key, user_id, duration, reason = KEYS[1], ARGV[1], tonumber(ARGV[2]), ARGV[3]
if now > tonumber(ARGV[4]) then return { now } end

-- A record without its id or layout gets both, with the ban. No UNLINK comes first: while a Cluster moves the slot,
-- Redis refuses a script that writes a key which it has deleted.
local user, refusal = read_user(key)
if user.is_newer then return refusal end
if not refusal and user.id and user.id ~= user_id then return redis.error_reply('TOKENSESSION ERR_STORE_CORRUPT id') end

-- The field since orders the bans of a user: a later ban needs a later one, even if the clock was set back.
local since = math.max(now, user.ban and user.ban.since + 1 or 0)
local ends = duration > 0 and now + duration or 0
local ban = string.format('%.0f:%.0f:', since, ends) .. reason
-- After the HDEL, Redis accepts the HSET even without free memory.
redis.call('HDEL', key, '')
redis.call('HSET', key, 'id', user_id, 'v', '${LAYOUT_VERSION}', 'ban', ban)
user.ban, user.corrupt.ban = decode_ban(ban), nil

announce(key)
local ended, not_before = end_all(key, user, '', 'banned', reason)
settle(key, user)
return { now, ban, ended, not_before }
`;

/**
 * Lifts a user's ban. The sessions that it ended stay ended. Remembers that for an hour, also without a ban: after a
 * failover, another process may have yet to repeat one that it set before.
 *
 * KEYS[1]  the user's sessions
 * ARGV[1]  the user id
 * ARGV[2]  the moment, ms, after which the caller has given up: the script then does nothing
 * Returns  { now, the lifting as 'since:1:', 'banned' when there was a ban or '' }; { now } when it came too late
 */
export const UNBAN = `${CLOCK}${USER}
local key, user_id = KEYS[1], ARGV[1]
if now > tonumber(ARGV[2]) then return { now } end

local user, refusal = read_user(key)
if refusal then return refusal end
if user.id and user.id ~= user_id then return redis.error_reply('TOKENSESSION ERR_STORE_CORRUPT id') end

local was_banned = is_banned(user.ban)
-- Since now, to be remembered for an hour whenever the ban began. Not until now: a clock that is set back would bring
-- the ban back.
local lifting = string.format('%.0f:1:', math.max(now, user.ban and user.ban.since or 0))
-- After the HDEL, Redis accepts the HSET even without free memory.
redis.call('HDEL', key, '')
redis.call('HSET', key, 'id', user_id, 'v', '${LAYOUT_VERSION}', 'ban', lifting)
user.ban, user.corrupt.ban = decode_ban(lifting), nil
settle(key, user)
return { now, lifting, was_banned and 'banned' or '' }
`;

/**
 * Repeats ends of sessions, and the setting or lifting of a ban, on a Redis that may not have received them. Always
 * writes, because WAIT waits only for the writes of its own connection.
 *
 * KEYS[1]  the user's sessions
 * ARGV[1]  end those that began before this moment, ms; 0 = none
 * ARGV[2]  but not this session id; '' = no exception
 * ARGV[3]  the user id, where there is a ban to set or to lift; '' = there is none
 * ARGV[4]  the ban, as 'since:until:reason'. Ignored if Redis has a later ban, or has this one as lifted. Where Redis
 *          lacked it, it ends all sessions
 * ARGV[5…] sessions to end in any case: each id and a moment, ms. A session of this id that began later is another one
 * Returns  1
 */
export const REVOKE = `${CLOCK}${USER}
local key, before, except, user_id, ban = KEYS[1], tonumber(ARGV[1]), ARGV[2], ARGV[3], ARGV[4]

local user, refusal = read_user(key)
if refusal then return refusal end
${REFUSE_ON_REPLICA}
announce(key)
local bans_now = false
if user_id ~= '' then
  local known, repeated = user.ban, decode_ban(ban)
  -- An old ban that is not stored may have been lifted, and the lifting forgotten.
  local is_later = not known and now - repeated.since < ${BAN_REMEMBERED_MS} or known and known.since < repeated.since
  if is_later or known and known.since == repeated.since and not is_banned(repeated) then
    redis.call('HSET', key, 'id', user_id, 'v', '${LAYOUT_VERSION}', 'ban', ban)
    user.id, user.ban, user.corrupt.ban = user_id, repeated, nil
    bans_now = is_banned(repeated)
  end
end

-- A server that lacked the ban may have accepted logins since it began.
for sid, session in pairs(user.sessions) do
  if bans_now or session.created < before and sid ~= except then
    if is_banned(user.ban) then end_session(key, user, sid, 'banned', user.ban.reason)
    else end_session(key, user, sid, 'revoked', '')
    end
  end
end
for i = 5, #ARGV, 2 do
  local sid, moment = ARGV[i], tonumber(ARGV[i + 1])
  local session = user.sessions[sid]
  if not session or session.created <= moment then end_session(key, user, sid, '', '') end
end

if user.id then redis.call('HSET', key, 'v', '${LAYOUT_VERSION}') else redis.call('SET', key, '', 'PX', 1) end
settle(key, user)
return 1
`;
