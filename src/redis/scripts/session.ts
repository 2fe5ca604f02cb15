import { MAX_EXPIRED_MS } from '../../store/limits';
import { LUA, NO_TIME } from '../schema';
import { ANNOUNCE, CHECK_LAYOUT, CLOCK, DATA, END_RECORD, REFUSE_ON_REPLICA, TIME } from './parts';

/*
 * The verbs on one session. They return what is stored, and replies.ts derives the outcome from it. A script judges
 * only whether it may write.
 *
 * Each has these in common. CHECK and TOUCH take them for several sessions, see forEachSession:
 *
 * KEYS[1]  the user's sessions
 * KEYS[2]  the user's cached info; may be left out
 * ARGV[1]  session id
 * ARGV[2]  the token: when it was made, ms. For a generation above 0: 'generation:when it was made, ms:when its holder
 *          last proved who they are, ms'
 * ARGV[3]  the grace of a former token, ms
 * Returns  what is stored, see RETURN_FOUND; nil for nothing
 */

/** Names KEYS and ARGV for the parts below, as forEachSession does. */
const ONE_SESSION = `
${CLOCK}
local key, sid, presented, grace = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
`;

/** Reads the session `sid` of `key`: user_id, record and attributes, as they are stored; nil for none. */
const READ_RECORD = `
local found = redis.pcall('HMGET', key, 'v', 'id', sid, sid .. '.a')
if found.err then return found end
local layout, user_id, record, attributes = found[1], found[2], found[3], found[4]
${CHECK_LAYOUT}
`;

/** Reads the info of the first user. A replica refuses that, and a full Redis takes an HSET after it. */
const READ_INFO = `
local sessions = #KEYS / 2
local info = KEYS[2] and redis.pcall('GETEX', KEYS[sessions + 1])
if not KEYS[2] then ${REFUSE_ON_REPLICA} end
if info and type(info) == 'table' then
  if not string.find(info.err, 'WRONGTYPE', 1, true) then return info end
  info = false
end
`;

/** In a reply the info has one line. */
const CHECK_INFO = `if info and string.find(info, '\\n', 1, true) then info = false end`;

/**
 * Makes a script on any number of sessions. A process asks for the sessions of all its requests at once, because most
 * of the cost of a script is to start it.
 *
 * KEYS     of each session, the user's sessions; then of each, the user's cached info. Of one session, the info may be
 *          left out
 * ARGV     of each session in turn, its arguments of the verb; then those that all have in common
 * Returns  of one session, what the verb returns; of several, that of each, which may be an error. An error of the
 *          whole script may be about one session: it can be run again for each
 *
 * @param begin Lua that runs once, and sets time.
 * @param own the number of arguments that each session has of its own.
 * @param verb Lua that returns the reply for one session, from key, info and its arguments, ARGV[first] and later.
 */
function forEachSession(begin: string, own: number, verb: string) {
  const body = `${CHECK_INFO}
${verb}`;
  const lua = `
${begin}${READ_INFO}
if sessions <= 1 then
  -- The same as below, without the cost of a function: mostly there is one session.
  local key, first = KEYS[1], 1
  ${body}
end

local infos = redis.call('MGET', unpack(KEYS, sessions + 1))
local function ask(key, info, first)
  ${body}
end
local replies = {}
for i = 1, sessions do replies[i] = ask(KEYS[i], infos[i], ${own} * (i - 1) + 1) end
return replies
`;
  return { lua, own };
}

/**
 * What is stored of a session, as one string of lines: `record;seconds microseconds`, the attributes, what is in
 * KEYS[2], the user id. The first three can't hold a line break, the last may. (ioredis takes longer to decode an array
 * than for all else of a check.)
 */
const STORED = `record .. ';' .. time[1] .. ' ' .. time[2] .. '\\n' .. (attributes or '')
  .. '\\n' .. (info or '') .. '\\n' .. user_id`;

/**
 * Returns what is stored. For a session that was ended, which may have a message of several lines: { seconds,
 * microseconds, user id, record }.
 */
const RETURN_FOUND = `
if not record then return false end
if string.sub(record, 1, 6) == 'ended:' then return { time[1], time[2], user_id, record } end
return ${STORED}
`;

/**
 * Judges the token, as the table at `Store` says. Sets is_live, is_reuse, and is_new: whether the record has to move on
 * to the token. Sets created, seen, ttl, cap and token, the parts of the record, as text.
 */
const JUDGE = `
local created, seen, ttl, cap, token = string.match(record or '', '${LUA.record}')
local expires = created and seen + ttl
local is_live = created and expires > now and expires < ${NO_TIME} and (tonumber(cap) == 0 or tonumber(cap) > now)
local is_reuse, is_new = false, false
if is_live and (token ~= '' or presented ~= created) then
  local gen, minted, confirmed, proved = '0', created, created, created
  if token ~= '' then gen, minted, confirmed, proved = string.match(token, '${LUA.token}') end
  is_live = gen and gen + minted + confirmed + proved < ${NO_TIME}
  if is_live then
    local given_gen, given_minted = string.match(presented, '^(%d+):(%d+):%d+$')
    if not given_gen then given_gen, given_minted = '0', presented end
    local grace = tonumber(grace)
    local is_sibling = tonumber(given_gen) == tonumber(gen) and math.abs(given_minted - minted) <= grace
    is_new = tonumber(given_gen) > tonumber(gen)
    is_reuse = not (is_new or is_sibling or math.abs(now - confirmed) < grace)
  end
end
`;

/** Returns what is stored, unless the session is live and the token may use it. Sets age, ms since the last slide. */
const RETURN_UNLESS_LIVE = `${READ_RECORD}${JUDGE}
if not is_live or is_reuse then ${RETURN_FOUND} end
local age = now - seen
`;

/**
 * Writes the record back: slid where is_due says so, moved on to the token where is_new says so. Announces a change
 * where is_change says so.
 */
const USE = `
if is_due then
  -- An expired session is remembered for another ttl, an hour at most. The key may last a sixtieth less than that, so
  -- that a busy session extends it once a minute, not at each use: when a new step begins. No expiry is shortened here.
  local remembered = math.min(ttl, ${MAX_EXPIRED_MS})
  local step = remembered / 60
  if is_change or age < 0 or age >= step or now % step < seen % step then
    local wanted = remembered + (tonumber(cap) == 0 and tonumber(ttl) or math.min(ttl, cap - now))
    local key_left = redis.call('PTTL', key)
    if key_left >= 0 and key_left < wanted then redis.call('PEXPIRE', key, wanted) end
  end
  seen = now
end
if is_new then token = string.gsub(presented, '^(%d+):(%d+):(%d+)$', ':%1:%2:' .. now .. ':%3') end
if is_change then
  ${ANNOUNCE}
  announce(key)
end
if is_due or is_new then
  record = created .. ':' .. seen .. ':' .. ttl .. ':' .. cap .. token
  redis.call('HSET', key, sid, record)
end
`;

/** Reads a session. Its only argument is the session id. */
export const CHECK = forEachSession(TIME, 1, `local sid = ARGV[first]${READ_RECORD}${RETURN_FOUND}`);

const SLIDE_WHEN_DUE = `
local is_due, is_change = slide_every == '0' or age < 0 or age >= math.min(slide_every, ttl / 2), is_new
`;

/**
 * Reads a session, slides it, and moves its record on to a new token. Slides it also where it was last slid by a clock
 * that was ahead.
 *
 * ARGV[4]  ms that must have passed since it was last slid, but at most half its ttl
 */
export const TOUCH = forEachSession(
  `${CLOCK}local grace, slide_every = ARGV[#ARGV - 1], ARGV[#ARGV]`,
  2,
  `local sid, presented = ARGV[first], ARGV[first + 1]
${RETURN_UNLESS_LIVE}${SLIDE_WHEN_DUE}${USE}return ${STORED}`,
);

/**
 * Does what TOUCH does, and reads the session's data.
 *
 * ARGV[4]  as of TOUCH
 * Returns  for a live session { '', what TOUCH returns, then each key and its JSON }
 */
export const TOUCH_WITH_DATA = `${ONE_SESSION}${READ_INFO}${CHECK_INFO}
local slide_every = ARGV[4]
${RETURN_UNLESS_LIVE}${SLIDE_WHEN_DUE}${USE}${DATA}
local entries = read_data(sid)
if not entries then return redis.error_reply('TOKENSESSION ERR_STORE_CORRUPT data') end
return with_entries({ '', ${STORED} }, entries)
`;

/**
 * Slides a live session at once, with a new ttl or the one it has, and moves its record on to a new token.
 *
 * ARGV[4]  the new ttl, ms; 0 = the one it has
 */
export const REFRESH = `${ONE_SESSION}${READ_INFO}${CHECK_INFO}${RETURN_UNLESS_LIVE}
local is_due, is_change = true, true
if ARGV[4] ~= '0' then ttl = ARGV[4] end
${USE}return ${STORED}`;

/** {@link RETURN_UNLESS_LIVE}, for a script on one session that reads no user info. */
export const LIVE_SESSION = `${ONE_SESSION}${READ_RECORD}${JUDGE}
local info
if not is_live or is_reuse then
  ${REFUSE_ON_REPLICA}
  ${RETURN_FOUND}
end
`;

/**
 * Ends a session for the reuse of a former token.
 *
 * ARGV[4]  the moment, ms, after which the caller has given up: the script then does nothing
 * Returns  { now, 'ended', the moment for REVOKE }; { now, 'kept' } for a token that is not, or no longer, a reuse;
 *          { now } when it came too late
 */
export const END_REUSED = `${REFUSE_ON_REPLICA}${ONE_SESSION}${READ_RECORD}${JUDGE}
if not is_reuse then return { now, 'kept' } end
if now > tonumber(ARGV[4]) then return { now } end
${ANNOUNCE}${END_RECORD}
end_record(key, sid, tonumber(cap) == 0 and expires or math.min(expires, cap), 'reused', '')
announce(key)
return { now, 'ended', string.format('%.0f', math.max(now, created)) }
`;

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
-- A session may have begun later than now: see CREATE.
local moment = now
if not record or string.match(record, '${LUA.ended}') then return { moment } end

local created, seen, ttl, cap = string.match(record, '${LUA.record}')
moment = math.max(now, math.min(tonumber(created) or 0, ${NO_TIME}))
local expires = seen and seen + ttl or 0
if seen and tonumber(cap) ~= 0 then expires = math.min(expires, cap) end
`;

const END_FOUND = `
local remembered = end_record(key, sid, expires, reason, message)
if remembered and expires <= now then
  -- The end of an expired session from another store is remembered for longer than its expiry.
  local key_left = redis.call('PTTL', key)
  if key_left >= 0 and key_left < remembered - now then redis.call('PEXPIRE', key, remembered - now) end
end
-- Nothing is left but the id and the version.
if redis.call('HLEN', key) == 2 then redis.call('UNLINK', key) end
if expires <= now then return { moment } end
`;

/**
 * Ends a session.
 *
 * Returns  { the moment for REVOKE, user id }; the moment alone when it was not live
 */
export const END = `${FIND_TO_END}${END_FOUND}return { moment, user_id }`;

/**
 * Ends a session, and gives its data. Gives none if it is damaged, because the session must end in any case.
 *
 * Returns  as END, then each key and its JSON
 */
export const END_WITH_DATA = `${FIND_TO_END}${DATA}
local entries = read_data(sid) or {}
${END_FOUND}return with_entries({ moment, user_id }, entries)`;
