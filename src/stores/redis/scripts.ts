/*
 * One script a verb, each atomic, each on the keys of one user (keys.ts says what is in them). All times are milliseconds by
 * the clock of the Redis that runs the script. `check` and `touch` are what requests pay for: they read no more than they need, and make
 * neither functions nor tables, which took a third of their time.
 *
 * A script that only ends sessions never needs memory, so that ending works on a Redis that is full: UNLINK, HDEL and PEXPIRE are
 * not refused there, and after one of these neither is an HSET of the same script. That is why PEXPIRE comes before HSET where a
 * session is slid, and HSET before all else at a login: a refused login has ended nobody's session.
 *
 * A replica may know less than its master did. So a script answers only where it may write: each calls a command that a replica refuses
 * (READONLY), also when it finds nothing to change.
 */

/** Raises what is wrong with a user's record, as the first word of an error reply. */
export const CORRUPT = 'TOKENSESSION_CORRUPT';
export const LAYOUT = 'TOKENSESSION_LAYOUT';

const CLOCK = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
`;

/** A write that changes nothing: no session has an empty id. */
const REFUSE_ON_REPLICA = `redis.call('HDEL', KEYS[1], '')`;

/** For the verbs on one session: reads session ARGV[1] of user KEYS[1], and ends the script when there is no such live one. */
const READ = `
local found = redis.call('HMGET', KEYS[1], 'v', 'id', ARGV[1], ARGV[1] .. '.a')
local layout, user_id, record, attributes = found[1], found[2], found[3], found[4]
if layout and layout ~= '1' then return redis.error_reply('${LAYOUT} ' .. layout) end
if not record then ${REFUSE_ON_REPLICA} return false end

local created, seen, ttl, cap = string.match(record, '^(%d+):(%d+):(%d+):(%d+)$')
if not layout or not user_id or not created then return redis.error_reply('${CORRUPT} session') end
if seen + ttl <= now or cap ~= '0' and tonumber(cap) <= now then ${REFUSE_ON_REPLICA} return false end
`;

/**
 * What `check` and `touch` give, as one string of lines: `created:seen:ttl:cap:now`, the attributes, the cached info in KEYS[2], the user
 * id. The first three can't hold a line break, the last may. (ioredis takes longer to decode an array than for all else of a check.)
 * GETEX without options is a GET that replicas refuse.
 */
const REPLY = `
local info = KEYS[2] and redis.pcall('GETEX', KEYS[2])
if type(info) == 'table' and not string.find(info.err, 'WRONGTYPE', 1, true) then return info end
if type(info) ~= 'string' or string.find(info, '\\n', 1, true) then info = '' end
return record .. string.format(':%.0f', now) .. '\\n' .. (attributes or '') .. '\\n' .. info .. '\\n' .. user_id
`;

/** For the verbs on all sessions of a user. */
const READ_ALL = `
-- 'created:seen:ttl:cap' as a table; nil for anything else
local function decode(value)
  local created, seen, ttl, cap = string.match(value, '^(%d+):(%d+):(%d+):(%d+)$')
  if not created then return nil end
  return { created = tonumber(created), seen = tonumber(seen), ttl = tonumber(ttl), cap = tonumber(cap) }
end

local function encode(session)
  return string.format('%.0f:%.0f:%.0f:%.0f', session.created, session.seen, session.ttl, session.cap)
end

local function expiry(session)
  local idle = session.seen + session.ttl
  if session.cap == 0 then return idle end
  return math.min(idle, session.cap)
end

-- A user's whole hash: { id, layout, sessions = { [sid] = session }, attributes = { [sid] = json }, corrupt = { [sid] = true } }, empty
-- for a user without a hash; and an error reply when it is not ours to touch.
local function read_all(key)
  local user = { sessions = {}, attributes = {}, corrupt = {} }
  local fields = redis.call('HGETALL', key)
  for i = 1, #fields, 2 do
    local field, value = fields[i], fields[i + 1]
    if field == 'id' then user.id = value
    elseif field == 'v' then user.layout = value
    elseif #field == 22 then
      user.sessions[field] = decode(value)
      if not user.sessions[field] then user.corrupt[field] = true end
    elseif #field == 24 and string.sub(field, 23) == '.a' then user.attributes[string.sub(field, 1, 22)] = value
    end
  end
  if user.layout and user.layout ~= '1' then return user, redis.error_reply('${LAYOUT} ' .. user.layout) end
  if #fields > 0 and not user.layout then return user, redis.error_reply('${CORRUPT} layout') end
  if #fields > 0 and not user.id then return user, redis.error_reply('${CORRUPT} id') end
  return user
end

local function forget(key, user, sid)
  redis.call('HDEL', key, sid, sid .. '.a')
  user.sessions[sid], user.corrupt[sid] = nil, nil
end

-- Gives the key the latest expiry among its sessions, and ends it with the last of them.
local function settle(key, user)
  local latest = 0
  for _, session in pairs(user.sessions) do latest = math.max(latest, expiry(session)) end
  if latest > now then redis.call('PEXPIRE', key, latest - now)
  elseif not next(user.corrupt) then redis.call('UNLINK', key)
  end
end
`;

/**
 * Starts a session; then ends those it replaces, the expired ones, and the oldest ones over the limit.
 *
 * KEYS[1]  the user's sessions
 * ARGV[1]  the user id
 * ARGV[2]  the new session's id
 * ARGV[3]  ttl, ms
 * ARGV[4]  whole life, ms; 0 = unbounded
 * ARGV[5]  attributes, JSON; '' = none
 * ARGV[6]  live sessions this user may have, the new one included
 * ARGV[7]  the moment, ms, after which nobody waits for the answer: then it does nothing
 * ARGV[8…] ids of sessions of this user that the new one replaces
 * Returns  { now, the session's record, then the ids of those it ended }; { now } when it came too late
 */
const CREATE = `${CLOCK}${READ_ALL}
local key = KEYS[1]
local user_id, sid, attributes = ARGV[1], ARGV[2], ARGV[5]
local ttl, life, limit, deadline = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[6]), tonumber(ARGV[7])
if now > deadline then return { now } end

local user, refusal = read_all(key)
if refusal then return refusal end
if user.id and user.id ~= user_id then return redis.error_reply('${CORRUPT} id') end
if next(user.corrupt) then return redis.error_reply('${CORRUPT} session') end
-- A client that sends again what it had no answer to has started it already.
if user.sessions[sid] then return { now, encode(user.sessions[sid]) } end

-- Logins of one user are put in order by created-time: two of one millisecond must differ.
local newest = 0
for _, session in pairs(user.sessions) do newest = math.max(newest, session.created) end
local session = { created = math.max(now, newest + 1), seen = now, ttl = ttl, cap = life > 0 and now + life or 0 }

redis.call('HSET', key, 'id', user_id, 'v', '1', sid, encode(session))
if attributes ~= '' then redis.call('HSET', key, sid .. '.a', attributes) end

local reply = { now, encode(session) }
local function replace(other)
  if not user.sessions[other] then return end
  forget(key, user, other)
  table.insert(reply, other)
end

for i = 8, #ARGV do replace(ARGV[i]) end
local oldest_first = {}
for other, record in pairs(user.sessions) do
  if expiry(record) <= now then forget(key, user, other)
  else table.insert(oldest_first, other)
  end
end
table.sort(oldest_first, function(a, b) return user.sessions[a].created < user.sessions[b].created end)
for i = 1, #oldest_first + 1 - limit do replace(oldest_first[i]) end

user.sessions[sid] = session
settle(key, user)
return reply
`;

/**
 * Reads a session. Changes nothing.
 *
 * KEYS[1]  the user's sessions
 * KEYS[2]  the user's cached info; may be left out
 * ARGV[1]  session id
 * Returns  the session, see REPLY; nil when there is no such live session
 */
const CHECK = `${CLOCK}${READ}${REPLY}`;

/**
 * Reads a session and restarts its clock.
 *
 * KEYS[1]  the user's sessions
 * KEYS[2]  the user's cached info; may be left out
 * ARGV[1]  session id
 * ARGV[2]  ms that must have passed since the clock was last started, but at most half the session's ttl
 * Returns  the session, see REPLY; nil when there is no such live session
 */
const TOUCH = `${CLOCK}${READ}
local key, sid, slide_every = KEYS[1], ARGV[1], tonumber(ARGV[2])

if now - seen >= math.min(slide_every, ttl / 2) then
  local left = cap == '0' and tonumber(ttl) or math.min(ttl, cap - now)
  record = created .. string.format(':%.0f:', now) .. ttl .. ':' .. cap
  local key_left = redis.call('PTTL', key)
  if key_left >= 0 then redis.call('PEXPIRE', key, math.max(key_left, left)) end
  redis.call('HSET', key, sid, record)
end
${REPLY}`;

/**
 * Restarts a live session's clock, with a new ttl or the one it has.
 *
 * KEYS[1]  the user's sessions
 * ARGV[1]  session id
 * ARGV[2]  the new ttl, ms; 0 = the one it has
 * Returns  1; nil when there is no such live session
 */
const REFRESH = `${CLOCK}${READ}${READ_ALL}
local key, sid, new_ttl = KEYS[1], ARGV[1], tonumber(ARGV[2])

-- What isn't ours has been refused; all sessions are read for the expiry of their key.
local user = read_all(key)
local session = user.sessions[sid]
session.seen = now
if new_ttl > 0 then session.ttl = new_ttl end
settle(key, user)
redis.call('HSET', key, sid, encode(session))
return 1
`;

/**
 * Ends a session.
 *
 * KEYS[1]  the user's sessions
 * ARGV[1]  session id
 * Returns  1, or 0 when it was not live
 */
const END = `${CLOCK}${READ_ALL}
local key, sid = KEYS[1], ARGV[1]

local user, refusal = read_all(key)
if refusal then return refusal end
local session = user.sessions[sid]
forget(key, user, sid)
settle(key, user)
return session and expiry(session) > now and 1 or 0
`;

/**
 * Ends all sessions of a user, or all but one. Ends all of a damaged record, too: nobody else would.
 *
 * KEYS[1]  the user's sessions
 * KEYS[2]  the user's cached info, to be deleted; left out, it stays
 * ARGV[1]  session id to keep; '' = none
 * Returns  { how many live sessions it ended, now, then the ids of those among them that did not begin before now }
 */
const END_ALL = `${CLOCK}${READ_ALL}
local key, except = KEYS[1], ARGV[1]
if KEYS[2] then redis.call('UNLINK', KEYS[2]) end

local user, refusal = read_all(key)
local is_newer = user.layout and user.layout ~= '1'
if refusal and (is_newer or except ~= '') then return refusal end

local reply = { 0, now }
for sid, session in pairs(user.sessions) do
  if sid ~= except then
    if expiry(session) > now then reply[1] = reply[1] + 1 end
    if session.created >= now then table.insert(reply, sid) end
    forget(key, user, sid)
  end
end
for sid in pairs(user.corrupt) do forget(key, user, sid) end
settle(key, user)
return reply
`;

/**
 * Ends again what had been ended, where the Redis that answers now may never have heard of it. Always writes: WAIT waits for no other
 * writes than those of its own connection.
 *
 * KEYS[1]  the user's sessions
 * ARGV[1]  end those that began before this moment, ms; 0 = none
 * ARGV[2]  but not this session id; '' = no exception
 * ARGV[3…] ids of sessions to end in any case
 * Returns  1
 */
const REVOKE = `${CLOCK}${READ_ALL}
local key, before, except = KEYS[1], tonumber(ARGV[1]), ARGV[2]

local user, refusal = read_all(key)
if refusal then return refusal end
for sid, session in pairs(user.sessions) do
  if session.created < before and sid ~= except then forget(key, user, sid) end
end
for i = 3, #ARGV do forget(key, user, ARGV[i]) end
settle(key, user)

if not user.id then
  redis.call('SET', key, '', 'PX', 1)
  redis.call('UNLINK', key)
end
return 1
`;

/**
 * Lists the live sessions of a user. Changes nothing.
 *
 * KEYS[1]  the user's sessions
 * Returns  { user id, now, then for each session: its id, record, attributes or nil }; nil when nothing is stored for this user
 */
const LIST = `${CLOCK}${READ_ALL}
${REFUSE_ON_REPLICA}
local user, refusal = read_all(KEYS[1])
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

export type ScriptName = 'create' | 'check' | 'touch' | 'refresh' | 'end' | 'endAll' | 'revoke' | 'list';

export const SCRIPTS: Record<ScriptName, string> = {
  create: CREATE,
  check: CHECK,
  touch: TOUCH,
  refresh: REFRESH,
  end: END,
  endAll: END_ALL,
  revoke: REVOKE,
  list: LIST,
};
