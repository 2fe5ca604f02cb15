/*
 * The shared parts of the scripts: they read and write the fields of a user's hash (schema.ts has the table). All times
 * are milliseconds by the clock of the Redis that runs the script.
 *
 * A replica may know less than its master. So a script answers only where it may write: each calls a command that a
 * replica refuses (READONLY), also when it changes nothing.
 *
 * Ending a session never needs memory, so that it works on a full Redis. A full Redis accepts UNLINK, HDEL, GETEX,
 * PERSIST and PEXPIRE, and after one of these also a SET or HSET of the same script. It refuses a script that begins
 * with a SET or HSET as a whole: a login, new data, user info.
 *
 * An error about a user's record or a login is `TOKENSESSION`, then the code of the SessionError, then perhaps the part
 * of the record.
 */
import {
  BAN_REMEMBERED_MS,
  MAX_ENDED_MS,
  MAX_EXPIRED_MS,
  MAX_REMEMBERED,
  MAX_USER_INFO_LOAD_MS,
} from '../../store/limits';
import { LAYOUT_VERSION, LUA, NO_TIME } from '../schema';

export const TIME = `local time = redis.call('TIME')`;

/** A number of 13 digits, which Lua writes in full. */
export const CLOCK = `
${TIME}
local now = time[1] * 1000 + math.floor(time[2] / 1000)
`;

/** A write that changes nothing: no session has an empty id. */
export const REFUSE_ON_REPLICA = `redis.call('HDEL', KEYS[1], '')`;

/**
 * Announces in the same step, on the channel of schema.ts, that a user's sessions or info have changed. In a Cluster
 * every node passes the message on, the node of the script first. A Redis that refuses PUBLISH must not keep sessions
 * from ending. An end by name is announced for an unknown session, too: caches may hold one that was evicted or deleted
 * by hand.
 */
export const ANNOUNCE = `
local announced = ''
local function announce(key)
  if announced == key then return end
  announced = key
  local prefix, tag = string.match(key, '^(.*):{(.*)}$')
  redis.pcall('PUBLISH', prefix .. ':changes', tag)
end
`;

/**
 * Deletes a session that would have lived until `expires`, and remembers the reason; '' for no reason. If the session
 * came from another store, remembers the end in any case, also of one that had expired, and for all that time: the
 * other store may still have it, and CREATE must not start it again.
 */
export const END_RECORD = `
local function end_record(key, sid, expires, reason, message)
  local is_expired = expires <= now
  local attributes = redis.call('HMGET', key, sid .. '.a')[1] or ''
  local is_moved = string.find(attributes, '"moved":true', 1, true)
  redis.call('HDEL', key, sid, sid .. '.a', sid .. '.d')
  local remembered = math.min(expires, now + ${MAX_ENDED_MS})
  if is_expired and is_moved then
    -- The record of one that would have lived until 0 was damaged.
    reason, message, remembered = 'expired', '', (expires > 0 and expires or now) + ${MAX_EXPIRED_MS}
  elseif is_moved then
    if reason == '' then reason = 'unknown' end
    if expires < ${NO_TIME} then remembered = expires end
  end
  if reason == '' or remembered <= now then return nil end
  redis.pcall('HSET', key, sid, string.format('ended:%.0f:', remembered) .. reason .. ':' .. message)
  return remembered
end
`;

/** Refuses a hash of another layout, and a session in a hash without a user. */
export const CHECK_LAYOUT = `
if layout and layout ~= '${LAYOUT_VERSION}' then
  return redis.error_reply('TOKENSESSION ERR_STORE_LAYOUT ' .. layout)
end
if record and not (layout and user_id) then return redis.error_reply('TOKENSESSION ERR_STORE_CORRUPT session') end
`;

export const BANS = `
-- digits as a number; nil for a number too large for a time, which Redis refuses as an expiry
local function time_of(digits)
  local number = tonumber(digits)
  return number and number < ${NO_TIME} and number or nil
end

-- 'since:until:reason' as a table; nil for anything else
local function decode_ban(value)
  local since, ends, reason = string.match(value or '', '${LUA.ban}')
  since, ends = time_of(since), time_of(ends)
  if not since or not ends then return nil end
  return { text = value, since = since, ends = ends, reason = reason }
end

local function is_banned(ban)
  return ban ~= nil and (ban.ends == 0 or ban.ends > now)
end
`;

/** For the verbs on a user: reads the whole hash, and changes parts of it. */
export const USER = `${ANNOUNCE}${END_RECORD}${BANS}
-- 'created:seen:ttl:cap', then what is known of its token as it stands, as a table; nil for anything else
local function decode(value)
  local created, seen, ttl, cap, token = string.match(value, '${LUA.record}')
  if not created or created + seen + ttl + cap >= ${NO_TIME} then return nil end
  if token ~= '' then
    local gen, minted, confirmed, proved = string.match(token, '${LUA.token}')
    if not gen or gen + minted + confirmed + proved >= ${NO_TIME} then return nil end
  end
  return { created = tonumber(created), seen = tonumber(seen), ttl = tonumber(ttl), cap = tonumber(cap), token = token }
end

local function encode(session)
  local times = string.format('%.0f:%.0f:%.0f:%.0f', session.created, session.seen, session.ttl, session.cap)
  return times .. session.token
end

local function expiry(session)
  local idle = session.seen + session.ttl
  if session.cap == 0 then return idle end
  return math.min(idle, session.cap)
end

-- When it is forgotten that a session has expired.
local function forgotten_at(session)
  return expiry(session) + math.min(session.ttl, ${MAX_EXPIRED_MS})
end

-- All of a user's hash but the data of sessions, { id, ban, sessions, attributes, ended, corrupt }, the latter four by
-- session id, and a damaged ban as corrupt.ban; empty for a user without a hash. The second result is an error reply if
-- the hash must not be changed; is_newer: a later version wrote it.
local function read_user(key)
  local user = { sessions = {}, attributes = {}, ended = {}, corrupt = {} }
  local fields = {}
  for _, field in ipairs(redis.call('HKEYS', key)) do
    if not (#field == 24 and string.sub(field, 23) == '.d') then table.insert(fields, field) end
  end
  local values = {}
  -- Not all at once: of a damaged hash there may be more than Lua can pass.
  for first = 1, #fields, 1000 do
    local some = redis.call('HMGET', key, unpack(fields, first, math.min(first + 999, #fields)))
    for i = 1, #some do values[first + i - 1] = some[i] end
  end
  local layout
  for i, field in ipairs(fields) do
    local value = values[i]
    if field == 'id' then user.id = value
    elseif field == 'v' then layout = value
    elseif field == 'ban' then
      user.ban = decode_ban(value)
      if not user.ban then user.corrupt.ban = true end
    elseif #field == 22 then
      local session = decode(value)
      local remembered = time_of(string.match(value, '${LUA.ended}'))
      if session then user.sessions[field] = session
      elseif remembered then user.ended[field] = remembered
      else user.corrupt[field] = true
      end
    elseif #field == 24 and string.sub(field, 23) == '.a' then user.attributes[string.sub(field, 1, 22)] = value
    end
  end
  user.is_newer = layout ~= nil and layout ~= '${LAYOUT_VERSION}'
  if user.is_newer then return user, redis.error_reply('TOKENSESSION ERR_STORE_LAYOUT ' .. layout) end
  if #fields > 0 and not layout then return user, redis.error_reply('TOKENSESSION ERR_STORE_CORRUPT layout') end
  if #fields > 0 and not user.id then return user, redis.error_reply('TOKENSESSION ERR_STORE_CORRUPT id') end
  return user
end

-- Ends a session, if there is one, and remembers the reason; '' for none. Also deletes a damaged field: a session's
-- record, or the ban.
local function end_session(key, user, sid, reason, message)
  local session = user.sessions[sid]
  if not session and not user.corrupt[sid] then return end
  local expires = session and expiry(session) or 0
  user.sessions[sid], user.corrupt[sid] = nil, nil
  if not session or expires > now then announce(key) end
  user.ended[sid] = end_record(key, sid, expires, reason, message)
end

-- Ends all sessions but one, and clears away what is damaged. Gives the ids of the live ones; and for REVOKE the ended
-- ones that did not begin before now, each id and when it began. Both are joined by commas.
local function end_all(key, user, except, reason, message)
  local ended, not_before = {}, {}
  for sid, session in pairs(user.sessions) do
    if sid ~= except then
      if expiry(session) > now then table.insert(ended, sid) end
      if session.created >= now then table.insert(not_before, string.format('%s,%.0f', sid, session.created)) end
      end_session(key, user, sid, reason, message)
    end
  end
  for field in pairs(user.corrupt) do end_session(key, user, field, '', '') end
  return table.concat(ended, ','), table.concat(not_before, ',')
end

-- Forgets what is over. Beyond the limit, also forgets the ended and expired sessions that would be forgotten first.
local function forget_old(key, user)
  local remembered = {}
  for sid, forgotten in pairs(user.ended) do table.insert(remembered, { sid = sid, forgotten = forgotten }) end
  for sid, session in pairs(user.sessions) do
    if expiry(session) <= now then table.insert(remembered, { sid = sid, forgotten = forgotten_at(session) }) end
  end
  table.sort(remembered, function(a, b) return a.forgotten > b.forgotten end)
  for i, entry in ipairs(remembered) do
    if i > ${MAX_REMEMBERED} or entry.forgotten <= now then
      redis.call('HDEL', key, entry.sid, entry.sid .. '.a', entry.sid .. '.d')
      user.ended[entry.sid], user.sessions[entry.sid] = nil, nil
    end
  end
end

-- Makes the key expire with the last of its contents, and deletes it once it has none.
local function settle(key, user)
  forget_old(key, user)
  if user.ban and user.ban.ends == 0 then
    redis.call('PERSIST', key)
    return
  end
  -- A lifted ban is remembered for as long as REVOKE would repeat it.
  local latest = user.ban and math.max(user.ban.ends, user.ban.since) + ${BAN_REMEMBERED_MS} or 0
  if user.ban and latest <= now then redis.call('HDEL', key, 'ban') end
  for _, session in pairs(user.sessions) do latest = math.max(latest, forgotten_at(session)) end
  for _, remembered in pairs(user.ended) do latest = math.max(latest, remembered) end
  if latest > now then redis.call('PEXPIRE', key, latest - now)
  elseif not next(user.corrupt) then redis.call('UNLINK', key)
  else redis.call('HDEL', key, '')
  end
end
`;

export const USER_INFO = `
-- The version of the info, 0 when none is known; its text, '' when there is none or it has expired; and its expiry. Or
-- nil, nil and an error. GETEX is a GET that replicas refuse.
local function read_info(key)
  local value = redis.pcall('GETEX', key)
  if type(value) == 'table' and not string.find(value.err, 'WRONGTYPE', 1, true) then return nil, nil, value end
  local version, expires, text = string.match(type(value) == 'string' and value or '', '${LUA.userInfo}')
  if not version then return 0, '', 0 end
  expires = tonumber(expires)
  return tonumber(version), expires > now and text or '', expires
end

-- Keeps an info, and its version for at least as long as a load that began earlier could be kept.
local function write_info(key, version, expires, text)
  local left = math.max(expires, version + ${MAX_USER_INFO_LOAD_MS}) - now
  redis.call('SET', key, string.format('%.0f:%.0f:', version, expires) .. text, 'PX', string.format('%.0f', left))
end

-- Forgets the info, and keeps a version beyond that of every load that has begun. Call it after read_info: its GETEX
-- makes a full Redis accept the SET. No UNLINK comes first: while a Cluster moves the slot, Redis refuses a script that
-- writes a key which it has deleted.
local function forget_info(key, version)
  version = math.max(now, version) + 1
  write_info(key, version, 0, '')
  return version
end
`;

export const DATA = `
-- Gives a table of keys and JSON texts; nil for a value that is none.
local function read_data(sid)
  local packed = redis.call('HMGET', key, sid .. '.d')[1]
  if not packed then return {} end
  local is_read, entries = pcall(cmsgpack.unpack, packed)
  if not is_read or type(entries) ~= 'table' then return nil end
  for name, json in pairs(entries) do
    if type(name) ~= 'string' or type(json) ~= 'string' then return nil end
  end
  return entries
end

-- Appends keys and JSON texts in turn.
local function with_entries(reply, entries)
  for name, json in pairs(entries) do
    table.insert(reply, name)
    table.insert(reply, json)
  end
  return reply
end

-- Writes a table of keys and JSON texts, not an empty one. Gives 'done', or the limit that forbids it.
local function write_data(sid, entries, max_bytes, max_keys)
  local bytes, count = 0, 0
  for name, json in pairs(entries) do bytes, count = bytes + #name + #json, count + 1 end
  local outcome = bytes > max_bytes and 'too-large' or count > max_keys and 'too-many' or 'done'
  if outcome == 'done' then redis.call('HSET', key, sid .. '.d', cmsgpack.pack(entries))
  else ${REFUSE_ON_REPLICA}
  end
  return outcome
end

-- Writes what is left once keys were deleted: no limit forbids that, and after the HDEL a full Redis accepts the HSET.
local function shrink_data(sid, entries)
  redis.call('HDEL', key, '')
  if next(entries) then redis.call('HSET', key, sid .. '.d', cmsgpack.pack(entries))
  else redis.call('HDEL', key, sid .. '.d')
  end
end
`;
