import { CLOCK, CORRUPT, REFUSE_ON_REPLICA, USER } from './parts';

/**
 * Ends a session.
 *
 * KEYS[1]  the user's sessions
 * ARGV[1]  session id, also one it had before a rotation
 * ARGV[2]  the reason for whoever has its token, 'revoked' or 'replaced'; '' for none, where it is they who ended it
 * ARGV[3]  a message to them; '' = none
 * Returns  { user id, session id, then the ids it had before }; nil when it was not live
 */
export const END = `${CLOCK}${USER}
local key, reason, message = KEYS[1], ARGV[2], ARGV[3]

local user, refusal = read_user(key)
if refusal then return refusal end
announce(key)
local sid = current(user, ARGV[1])
local session = user.sessions[sid]
local reply = session and expiry(session) > now and { user.id, sid } or false
if reply then add_former(reply, user, sid) end
end_session(key, user, sid, reason, message)
settle(key, user)
return reply
`;

/**
 * Ends all sessions of a user, or all but one. Ends all of a damaged record, too: nobody else would.
 *
 * KEYS[1]  the user's sessions
 * KEYS[2]  the user's cached info, to be deleted; left out, it stays
 * ARGV[1]  session id to keep, also one it had before a rotation; '' = none
 * ARGV[2]  a message to whoever has their tokens; '' = none
 * Returns  { now, the ids of the live ones it ended, the ids of those of them that did not begin before now and the ids they had before },
 *          the latter two joined by commas
 */
export const END_ALL = `${CLOCK}${USER}
local key, message = KEYS[1], ARGV[2]
if KEYS[2] then redis.call('UNLINK', KEYS[2]) end

local user, refusal = read_user(key)
local except = current(user, ARGV[1])
if refusal and (user.is_newer or except ~= '') then return refusal end
announce(key)

local ended, no_older = end_all(key, user, except, 'revoked', message)
settle(key, user)
if refusal then redis.call('UNLINK', key) end
return { now, ended, no_older }
`;

/**
 * Bans a user: ends all sessions, and has every login refused until the ban is over. A later ban takes the place of an earlier one.
 *
 * KEYS[1]  the user's sessions
 * ARGV[1]  the user id
 * ARGV[2]  ms that the ban lasts; 0 = until it is lifted
 * ARGV[3]  its reason, for whoever has a token of theirs; '' = none
 * ARGV[4]  the moment, ms, after which nobody waits for the answer: then it does nothing
 * Returns  { now } when it came too late; else { now, the ban as 'since:until:reason', the ids of the live sessions it ended, the ids of those of them that did not begin before
 *          now and the ids they had before }, the latter two joined by commas
 */
export const BAN = `${CLOCK}${USER}
local key, user_id, duration, reason = KEYS[1], ARGV[1], tonumber(ARGV[2]), ARGV[3]
if now > tonumber(ARGV[4]) then return { now } end

local user, refusal = read_user(key)
if user.is_newer then return refusal end
if not refusal and user.id and user.id ~= user_id then return redis.error_reply('${CORRUPT} id') end
if refusal then redis.call('UNLINK', key) end

-- Bans of one user are put in order by since: a clock that was set back must not make a later one the earlier.
local since = math.max(now, user.ban and user.ban.since + 1 or 0)
local over = duration > 0 and now + duration or 0
local ban = string.format('%.0f:%.0f:', since, over) .. reason
-- The HDEL has Redis take the HSET also when it has no memory left.
redis.call('HDEL', key, '')
redis.call('HSET', key, 'id', user_id, 'v', '2', 'ban', ban)
user.ban, user.corrupt.ban = decode_ban(ban), nil

announce(key)
local ended, no_older = end_all(key, user, '', 'banned', reason)
settle(key, user)
return { now, ban, ended, no_older }
`;

/**
 * Lifts a user's ban. The sessions that it ended stay ended.
 *
 * KEYS[1]  the user's sessions
 * ARGV[1]  the moment, ms, after which nobody waits for the answer: then it does nothing
 * Returns  { now, user id, the ban as 'since:now:', which is how it is remembered for an hour }; { now, '' } when there was none; { now } when it
 *          came too late
 */
export const UNBAN = `${CLOCK}${USER}
local key = KEYS[1]
if now > tonumber(ARGV[1]) then return { now } end

local user, refusal = read_user(key)
if refusal then return refusal end
${REFUSE_ON_REPLICA}
if user.corrupt.ban then end_session(key, user, 'ban', '', '') end
if not is_banned(user.ban) then return { now, '' } end
user.ban = decode_ban(string.format('%.0f:%.0f:', user.ban.since, now))
redis.call('HSET', key, 'ban', user.ban.text)
settle(key, user)
return { now, user.id, user.ban.text }
`;

/**
 * Ends again what had been ended, bans again who had been banned and rotates again what had been rotated, where the Redis that answers now
 * may never have heard of it. Always writes: WAIT waits for no other writes than those of its own connection.
 *
 * KEYS[1]  the user's sessions
 * ARGV[1]  end those that began before this moment, ms; 0 = none
 * ARGV[2]  but not this session id; '' = no exception
 * ARGV[3]  the user id, where there is a ban to set or to lift; '' = there is none
 * ARGV[4]  the ban, as 'since:until:reason', which does not count against a later one, nor against its own end
 * ARGV[5…] in their order: ids of sessions to end in any case; rotations, as 'old id:new id:grace, ms:policy'
 * Returns  1
 */
export const REVOKE = `${CLOCK}${USER}
local key, before, except, user_id, ban = KEYS[1], tonumber(ARGV[1]), ARGV[2], ARGV[3], ARGV[4]

local user, refusal = read_user(key)
if refusal then return refusal end
${REFUSE_ON_REPLICA}
announce(key)
if user_id ~= '' then
  local known, repeated = user.ban, decode_ban(ban)
  -- One that is old and not known may have been lifted, and that forgotten.
  local is_later = not known and now - repeated.since < HOUR or known and known.since < repeated.since
  if is_later or known and known.since == repeated.since and not is_banned(repeated) then
    redis.call('HSET', key, 'id', user_id, 'v', '2', 'ban', ban)
    user.layout = '2'
    user.id, user.ban, user.corrupt.ban = user_id, repeated, nil
  end
end

except = current(user, except)
for sid, session in pairs(user.sessions) do
  if session.created < before and sid ~= except then
    if is_banned(user.ban) then end_session(key, user, sid, 'banned', user.ban.reason)
    else end_session(key, user, sid, 'revoked', '')
    end
  end
end
for i = 5, #ARGV do
  local sid, new_sid, grace, policy = string.match(ARGV[i], '^([%w_-]+):([%w_-]+):(%d+):(%a+)$')
  if not sid then end_session(key, user, current(user, ARGV[i]), '', '')
  elseif user.sessions[sid] and not user.sessions[new_sid] and not user.ended[new_sid] then
    rotate(key, user, sid, new_sid, tonumber(grace), policy)
  end
end

if user.id then redis.call('HSET', key, 'v', user.layout) else redis.call('SET', key, '', 'PX', 1) end
settle(key, user)
return 1
`;
