import { MAX_EXPIRED_MS, NO_TIME } from '../../store/limits';
import { LUA } from '../schema';
import { ANNOUNCE, CHECK_LAYOUT, CLOCK, CORRUPT, DATA, END_RECORD, REFUSE_ON_REPLICA } from './parts';

/** What a script answers, with the time, when it found a reuse after its deadline. */
export const LATE = 'late';

/*
 * The verbs on one session. `check` and `touch` are what requests pay for: on the way of a live session they read no
 * more than they need, and make neither functions nor tables, which took a third of their time.
 *
 * Each has these in common:
 *
 * KEYS[1]  the user's sessions
 * KEYS[2]  the user's cached info; may be left out
 * ARGV[1]  session id
 * ARGV[2]  the token, as 'generation:when it was made, ms:when its holder last proved who they are, ms'
 * ARGV[3]  what becomes of a former token, as 'grace, ms:'end' the session or 'refuse' the token:the moment, ms, after
 *          which the caller has given up and a reuse does nothing'
 * Returns  the session, see REPLY; or why there is none, see SESSION
 */

/**
 * Reads a session and judges the token, as the table at `Store` says. Leaves key, sid, record and attributes as they
 * are stored, created, seen, ttl, cap and token (the parts of the record, as text), user_id, and is_new: whether the
 * record has to move on to the token. When there is no such live session it ends the script:
 *
 * Returns  { reason, message, user id, 1 when this call has found it out, 1 when it has ended it }; 'late <now>' for a
 *          reuse that came after the deadline; nil when nothing is known of the session
 */
export const SESSION = `
local key, sid = KEYS[1], ARGV[1]
local found = redis.call('HMGET', key, 'v', 'id', sid, sid .. '.a')
local layout, user_id, record, attributes = found[1], found[2], found[3], found[4]
${CHECK_LAYOUT}
local created, seen, ttl, cap, token = string.match(record or '', '${LUA.record}')
local gen, minted, confirmed, proved = '0', created, created, created
if created and token ~= '' then
  gen, minted, confirmed, proved = string.match(token, '${LUA.token}')
  if not gen or gen + minted + confirmed + proved >= ${NO_TIME} then created = nil end
end
if created and created + seen + ttl + cap >= ${NO_TIME} then created = nil end

if not created or seen + ttl <= now or cap ~= '0' and tonumber(cap) <= now then
  ${REFUSE_ON_REPLICA}
  if created then return { 'expired', '', user_id, 1, 0 } end
  if not record then return false end
  local remembered, reason, message = string.match(record, '${LUA.ended}')
  if not remembered or tonumber(remembered) >= ${NO_TIME} then return redis.error_reply('${CORRUPT} session') end
  if tonumber(remembered) <= now then return false end
  return { reason, message, user_id, 0, 0 }
end

local is_new = false
if ARGV[2] ~= gen .. ':' .. minted .. ':' .. proved then
  local given_gen, given_minted = string.match(ARGV[2], '^(%d+):(%d+):%d+$')
  local grace, on_reuse, deadline = string.match(ARGV[3], '^(%d+):(%a+):(%d+)$')
  grace = tonumber(grace)
  is_new = tonumber(given_gen) > tonumber(gen)
  local is_sibling = given_gen == gen and math.abs(given_minted - minted) <= grace
  local is_in_flight = math.abs(now - confirmed) < grace
  if not (is_new or is_sibling or is_in_flight) then
    ${REFUSE_ON_REPLICA}
    if on_reuse == 'refuse' then return { 'reused', '', user_id, 1, 0 } end
    if now > tonumber(deadline) then return string.format('${LATE} %.0f', now) end
    ${ANNOUNCE}${END_RECORD}
    local expires = cap == '0' and seen + ttl or math.min(seen + ttl, cap)
    end_record(key, sid, expires, 'reused', '')
    announce(key)
    return { 'reused', '', user_id, 1, 1 }
  end
end
`;

/**
 * What the verbs on one session give, as one string of lines: `record;now`, the attributes, what is in KEYS[2], the
 * user id. The first three can't hold a line break, the last may. (ioredis takes longer to decode an array than for all
 * else of a check.)
 */
const REPLY = `
local info = KEYS[2] and redis.pcall('GETEX', KEYS[2])
if not KEYS[2] then ${REFUSE_ON_REPLICA} end
if type(info) == 'table' and not string.find(info.err, 'WRONGTYPE', 1, true) then return info end
if type(info) ~= 'string' or string.find(info, '\\n', 1, true) then info = '' end
return record .. string.format(';%.0f\\n', now) .. (attributes or '') .. '\\n' .. info .. '\\n' .. user_id
`;

/**
 * Writes the record back: slid where is_due says so, moved on to the token where is_new says so. Announces what
 * is_change says is one.
 */
const USE = `
if is_due or is_new then
  -- A session that has expired is remembered for as long again, an hour at most, less a sixtieth: so a busy session
  -- extends its key once a minute, not at each use. An expiry is never shortened here.
  local remembered = math.min(ttl, ${MAX_EXPIRED_MS})
  local wanted = remembered + (cap == '0' and tonumber(ttl) or math.min(ttl, cap - now))
  local key_left = redis.call('PTTL', key)
  if key_left >= 0 and key_left < wanted - remembered / 60 then redis.call('PEXPIRE', key, wanted)
  else
    -- A write of nothing: only after another write does a full Redis take the HSET.
    redis.call('HDEL', key, '')
  end
  if is_due then seen = string.format('%.0f', now) end
  if is_new then token = string.gsub(ARGV[2], '^(%d+):(%d+):(%d+)$', string.format(':%%1:%%2:%.0f:%%3', now)) end
  if is_change then
    ${ANNOUNCE}
    announce(key)
  end
  record = created .. ':' .. seen .. ':' .. ttl .. ':' .. cap .. token
  redis.call('HSET', key, sid, record)
end
`;

/** Reads a session. */
export const CHECK = `${CLOCK}${SESSION}${REPLY}`;

const SLIDE_WHEN_DUE = `
local age = now - seen
local is_due, is_change = age < 0 or age >= math.min(ARGV[4], ttl / 2), is_new
`;

/**
 * Reads a session, slides it, and moves its record on to a new token. Slides it also where it was last slid by a clock
 * that was ahead.
 *
 * ARGV[4]  ms that must have passed since it was last slid, but at most half its ttl
 */
export const TOUCH = `${CLOCK}${SESSION}${SLIDE_WHEN_DUE}${USE}${REPLY}`;

/**
 * Does what TOUCH does, and reads the session's data.
 *
 * ARGV[4]  as of TOUCH
 * Returns  for a live session { what TOUCH returns, then each key and its JSON }
 */
export const TOUCH_WITH_DATA = `${CLOCK}${SESSION}${SLIDE_WHEN_DUE}${USE}
local function reply()${REPLY}end
local session = reply()
if type(session) == 'table' then return session end
${DATA}
local entries = read_data(sid)
if not entries then return redis.error_reply('${CORRUPT} data') end
return with_entries({ session }, entries)
`;

/**
 * Slides a live session at once, with a new ttl or the one it has, and moves its record on to a new token.
 *
 * ARGV[4]  the new ttl, ms; 0 = the one it has
 */
export const REFRESH = `${CLOCK}${SESSION}
local is_due, is_change = true, true
if ARGV[4] ~= '0' then ttl = ARGV[4] end
${USE}${REPLY}`;

/*
 * The ends of one session.
 *
 * KEYS[1]  the user's sessions
 * ARGV[1]  session id
 * ARGV[2]  the reason for holders of its tokens, 'revoked' or 'replaced'; '' for none, where its holder ended it
 * ARGV[3]  a message to them; '' = none
 */

const FIND_TO_END = `${CLOCK}${ANNOUNCE}${END_RECORD}
local key, sid, reason, message = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local found = redis.call('HMGET', key, 'v', 'id', sid)
local layout, user_id, record = found[1], found[2], found[3]
${CHECK_LAYOUT}
${REFUSE_ON_REPLICA}
announce(key)
if not record or string.match(record, '${LUA.ended}') then return false end

local _, seen, ttl, cap = string.match(record, '${LUA.record}')
local expires = seen and seen + ttl or 0
if seen and cap ~= '0' then expires = math.min(expires, cap) end
`;

const END_FOUND = `
end_record(key, sid, expires, reason, message)
-- Nothing is left but the id and the version.
if redis.call('HLEN', key) == 2 then redis.call('UNLINK', key) end
if expires <= now then return false end
`;

/**
 * Ends a session.
 *
 * Returns  { user id }; nil when it was not live
 */
export const END = `${FIND_TO_END}${END_FOUND}return { user_id }`;

/**
 * Ends a session, and gives its data: none where that is damaged, which must not keep the session from ending.
 *
 * Returns  { user id, then each key and its JSON }; nil when it was not live
 */
export const END_WITH_DATA = `${FIND_TO_END}${DATA}
local entries = read_data(sid) or {}
${END_FOUND}return with_entries({ user_id }, entries)`;
