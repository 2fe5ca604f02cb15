import { ANNOUNCE, ASKED, CLOCK, HOUR_MS, LATE, REFUSE_ON_REPLICA, SESSION, SESSION_REPLY, USER } from './parts';

const REFUSE_WHEN_LATE = `
if now > tonumber(ARGV[2]) then return string.format('${LATE} %.0f', now) end
`;

/*
 * The verbs on one session. `check` and `touch` are what requests pay for: on the way of a live session they read no more than they need, and
 * make neither functions nor tables, which took a third of their time.
 *
 * Each has these in common:
 *
 * KEYS[1]  the user's sessions
 * KEYS[2]  the user's cached info; may be left out
 * ARGV[1]  session id
 * Returns  the session, see SESSION_REPLY; or why there is none, see SESSION
 */

/** Reads a session. */
export const CHECK = `${CLOCK}${ASKED}${SESSION}${SESSION_REPLY}`;

/**
 * Reads a session and restarts its clock.
 *
 * ARGV[2]  ms that must have passed since the clock was last started, but at most half the session's ttl
 */
export const TOUCH = `${CLOCK}${ASKED}${SESSION}
local slide_every = tonumber(ARGV[2])

if now - seen >= math.min(slide_every, ttl / 2) then
  local left = cap == '0' and tonumber(ttl) or math.min(ttl, cap - now)
  record = created .. string.format(':%.0f:', now) .. ttl .. ':' .. cap .. proof
  local key_left = redis.call('PTTL', key)
  -- A session whose time was up is known for as long again, an hour at most.
  if key_left >= 0 then redis.call('PEXPIRE', key, math.max(key_left, left + math.min(ttl, ${HOUR_MS}))) end
  redis.call('HSET', key, sid, record)
end
${SESSION_REPLY}`;

/**
 * Restarts a live session's clock, with a new ttl or the one it has.
 *
 * ARGV[2]  the new ttl, ms; 0 = the one it has
 */
export const REFRESH = `${CLOCK}${ASKED}${SESSION}${USER}
local new_ttl = tonumber(ARGV[2])

-- What isn't ours has been refused; all sessions are read for the expiry of their key.
local user = read_user(key)
local session = user.sessions[sid]
session.seen = now
if new_ttl > 0 then session.ttl = new_ttl end
announce(key)
record = encode(session)
settle(key, user)
redis.call('HSET', key, sid, record)
${SESSION_REPLY}`;

/**
 * Notes that the user has just proved who they are.
 *
 * ARGV[2]  the moment, ms, after which nobody waits for the answer: then it does nothing
 * Returns  as the others; or 'late <now>' when it came too late
 */
export const REAUTHENTICATE = `${CLOCK}${REFUSE_WHEN_LATE}${ASKED}${SESSION}${ANNOUNCE}
announce(key)
record = created .. ':' .. seen .. ':' .. ttl .. ':' .. cap .. string.format(':%.0f', now)
-- Never refused for want of memory, see parts.ts.
redis.call('HDEL', key, '')
redis.call('HSET', key, 'v', '2', sid, record)
${SESSION_REPLY}`;

/**
 * Gives a session a new id, and so a new token. The old id answers for the new one until the grace is over; then its use is taken for a
 * theft. An id that has been rotated already, within its grace, gives the session as it is: all rotations of one token at once have one outcome.
 *
 * ARGV[2]  the moment, ms, after which nobody waits for the answer: then it does nothing
 * ARGV[3]  the new id
 * ARGV[4]  grace, ms
 * ARGV[5]  what a later use of the old id does to the session: 'end' or 'keep'
 * Returns  as the others; or 'late <now>' when it came too late
 */
export const ROTATE = `${CLOCK}${REFUSE_WHEN_LATE}
local old_sid, new_sid, grace_ms, policy = ARGV[1], ARGV[3], tonumber(ARGV[4]), ARGV[5]
-- A client that sends again what it had no answer to has rotated it already, be the grace over or not.
local known = redis.call('HMGET', KEYS[1], old_sid)[1] or ''
local is_sent_again = string.find(known, 'rotated:', 1, true) == 1 and string.find(known, ':' .. new_sid .. ':', 1, true)
local asked = is_sent_again and new_sid or old_sid
${SESSION}${USER}
if sid ~= old_sid then
  ${REFUSE_ON_REPLICA}
else
  sid = new_sid
  local user = read_user(key)
  rotate(key, user, old_sid, sid, now + grace_ms, policy)
  settle(key, user)
end
${SESSION_REPLY}`;

/**
 * Takes a rotation back whose new id nobody has come to know: the old id is the session's again. Does nothing when there was none.
 *
 * KEYS[1]  the user's sessions
 * ARGV[1]  the old id
 * ARGV[2]  the new one
 * Returns  1, or 0 when there was none
 */
export const UNROTATE = `${CLOCK}${USER}
local key, sid, new_sid = KEYS[1], ARGV[1], ARGV[2]
${REFUSE_ON_REPLICA}

local user, refusal = read_user(key)
if refusal then return refusal end
if current(user, sid) ~= new_sid or not user.sessions[new_sid] then return 0 end
user.rotated[sid] = nil
rename(key, user, new_sid, sid)
return 1
`;

/**
 * Ends a session whose token was used after it had been rotated and its grace was over. When that was found out there may have been another
 * call before this one; and nobody may wait for it any more.
 *
 * KEYS[1]  the user's sessions
 * ARGV[1]  the id that was rotated away
 * ARGV[2]  the moment, ms, after which nobody waits for the answer: then it does nothing
 * Returns  { now, the ids of the session, '' for none }, joined by commas; { now } when it came too late
 */
export const END_REUSED = `${CLOCK}${USER}
local key, sid = KEYS[1], ARGV[1]
if now > tonumber(ARGV[2]) then return { now } end

local user, refusal = read_user(key)
if refusal then return refusal end
local rotated = user.rotated[sid]
local session = rotated and rotated.grace <= now and user.sessions[rotated.successor]
local ids = {}
if session and expiry(session) > now then
  table.insert(ids, rotated.successor)
  add_former(ids, user, rotated.successor)
  end_session(key, user, rotated.successor, 'reused', '')
end
settle(key, user)
return { now, table.concat(ids, ',') }
`;
