/*
 * What the scripts share: how the fields of a user's hash are read and written (keys.ts has the table of them). All times are milliseconds by
 * the clock of the Redis that runs the script.
 *
 * A replica may know less than its master did. So a script answers only where it may write: each calls a command that a replica refuses
 * (READONLY), also when it finds nothing to change.
 *
 * What ends sessions never needs memory, so that ending works on a Redis that is full: UNLINK, HDEL, PERSIST and PEXPIRE are not
 * refused there, and after one of these neither is an HSET of the same script. What begins with an HSET is refused there as a whole.
 */

/** Raises what is wrong with a user's record, or with a login, as the first word of an error reply. */
export const CORRUPT = 'TOKENSESSION_CORRUPT';
export const LAYOUT = 'TOKENSESSION_LAYOUT';
export const BANNED = 'TOKENSESSION_BANNED';
export const TOO_MANY = 'TOKENSESSION_TOO_MANY';

/** The reason of a session whose rotated token was used, and which is to be ended for that. */
export const REUSED = 'reused!';

/** What a script that came after its deadline answers, with the time. */
export const LATE = 'late';

/** In milliseconds. */
export const HOUR_MS = 3_600_000;

/** Milliseconds after year 128,000, and beyond what a Date can be: a number in a record from here on is damage. */
const NO_TIME = '4e15';

export const CLOCK = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
`;

/** A write that changes nothing: no session has an empty id. */
export const REFUSE_ON_REPLICA = `redis.call('HDEL', KEYS[1], '')`;

/**
 * Tells whoever keeps copies of a user's sessions or info, in the same step that changes them, on the channel that keys.ts names. In a
 * Cluster every node hears of it, and first the one that runs the script. A Redis that doesn't let us tell must not keep sessions from ending. What ends sessions by name tells also where there are none: of one that was evicted, or
 * deleted by hand, there may be copies.
 */
export const ANNOUNCE = `
local is_announced = false
local function announce(key)
  if is_announced then return end
  is_announced = true
  local prefix, tag = string.match(key, '^(.*):{(.*)}$')
  redis.pcall('PUBLISH', prefix .. ':changes', tag)
end
`;

/** For the slow path of a session, and for what follows. */
const BANS = `
-- digits as a number; nil for one that is no time: Redis takes no such expiry
local function time_of(digits)
  local number = tonumber(digits)
  return number and number < ${NO_TIME} and number or nil
end

-- 'since:until:reason' as a table; nil for anything else
local function decode_ban(value)
  local since, over, reason = string.match(value or '', '^(%d+):(%d+):(.*)$')
  since, over = time_of(since), time_of(over)
  if not since or not over then return nil end
  return { text = value, since = since, over = over, reason = reason }
end

local function is_banned(ban)
  return ban ~= nil and (ban.over == 0 or ban.over > now)
end
`;

/** For the verbs on a user: everything in the hash, and what is done to a part of it. */
export const USER = `${ANNOUNCE}${BANS}
-- ms for which a token is told why its session has ended, at most: a day of one that was ended, an hour of one whose time was up; and for
-- which a ban that is over is kept, lest somebody repeat it
local DAY, HOUR = 86400000, ${HOUR_MS}
-- the entries of either kind that one user may have, and more while they are in their grace
local MAX_ENDED, MAX_ROTATED, MAX_IN_GRACE = 100, 100, 1000

-- 'created:seen:ttl:cap[:proof]' as a table, the last with its colon; nil for anything else
local function decode(value)
  local created, seen, ttl, cap, proof = string.match(value, '^(%d+):(%d+):(%d+):(%d+)(:?%d*)$')
  if not created or proof == ':' or created + seen + ttl + cap >= ${NO_TIME} then return nil end
  return { created = tonumber(created), seen = tonumber(seen), ttl = tonumber(ttl), cap = tonumber(cap), proof = proof }
end

local function encode(session)
  local times = string.format('%.0f:%.0f:%.0f:%.0f', session.created, session.seen, session.ttl, session.cap)
  return times .. session.proof
end

local function encode_rotated(rotated)
  return string.format('rotated:%.0f:', rotated.grace) .. rotated.successor .. ':' .. rotated.on_reuse
end

local function expiry(session)
  local idle = session.seen + session.ttl
  if session.cap == 0 then return idle end
  return math.min(idle, session.cap)
end

-- When a session whose time was up is forgotten, too.
local function forgotten_at(session)
  return expiry(session) + math.min(session.ttl, HOUR)
end

-- A user's whole hash, { id, layout, is_newer, ban, sessions, attributes, ended, rotated, corrupt }, the latter five by session id; empty for a user
-- without a hash. And an error reply when it is not ours to touch.
local function read_user(key)
  local user = { sessions = {}, attributes = {}, ended = {}, rotated = {}, corrupt = {} }
  local fields = redis.call('HGETALL', key)
  for i = 1, #fields, 2 do
    local field, value = fields[i], fields[i + 1]
    if field == 'id' then user.id = value
    elseif field == 'v' then user.layout = value
    elseif field == 'ban' then
      user.ban = decode_ban(value)
      if not user.ban then user.corrupt.ban = true end
    elseif #field == 22 then
      local session = decode(value)
      local told_until = time_of(string.match(value, '^ended:(%d+):%a+:'))
      local grace, successor, on_reuse = string.match(value, '^rotated:(%d+):([%w_-]+):(%a+)$')
      if session then user.sessions[field] = session
      elseif told_until then user.ended[field] = told_until
      elseif time_of(grace) then user.rotated[field] = { grace = time_of(grace), successor = successor, on_reuse = on_reuse }
      else user.corrupt[field] = true
      end
    elseif #field == 24 and string.sub(field, 23) == '.a' then user.attributes[string.sub(field, 1, 22)] = value
    end
  end
  user.is_newer = user.layout ~= nil and user.layout ~= '1' and user.layout ~= '2'
  if user.is_newer then return user, redis.error_reply('${LAYOUT} ' .. user.layout) end
  if #fields > 0 and not user.layout then return user, redis.error_reply('${CORRUPT} layout') end
  if #fields > 0 and not user.id then return user, redis.error_reply('${CORRUPT} id') end
  return user
end

-- The session that an id stands for: its own, or that of the token which took its place.
local function current(user, sid)
  local rotated = user.rotated[sid]
  return rotated and rotated.successor or sid
end

-- The ids that a session had before its token was rotated, added to a list.
local function add_former(list, user, sid)
  for former, rotated in pairs(user.rotated) do
    if rotated.successor == sid then table.insert(list, former) end
  end
end

-- Keeps a session under another id, for which its former ids stand from now on. Begins with the HSET: when Redis refuses it for want of memory,
-- nothing has happened.
local function rename(key, user, sid, new_sid)
  announce(key)
  redis.call('HSET', key, new_sid, encode(user.sessions[sid]))
  if user.attributes[sid] then redis.call('HSET', key, new_sid .. '.a', user.attributes[sid]) end
  redis.call('HDEL', key, sid, sid .. '.a')
  user.sessions[new_sid], user.sessions[sid] = user.sessions[sid], nil
  user.attributes[new_sid], user.attributes[sid] = user.attributes[sid], nil
  for former, rotated in pairs(user.rotated) do
    if rotated.successor == sid then
      rotated.successor = new_sid
      redis.call('HSET', key, former, encode_rotated(rotated))
    end
  end
end

-- Gives a session another id. The old one answers for it until the grace is over; policy is what a later use of it does, 'end' or 'keep'.
local function rotate(key, user, sid, new_sid, grace, policy)
  rename(key, user, sid, new_sid)
  user.rotated[sid] = { grace = grace, successor = new_sid, on_reuse = policy }
  redis.call('HSET', key, 'v', '2', sid, encode_rotated(user.rotated[sid]))
  user.layout = '2'
end

-- Ends a session, if there is one. Who still has a token of it is told the reason for the rest of its life, a day at most; '' tells nobody.
local function end_session(key, user, sid, reason, message)
  local session = user.sessions[sid]
  if not session and not user.corrupt[sid] then return end
  redis.call('HDEL', key, sid, sid .. '.a')
  user.sessions[sid], user.corrupt[sid] = nil, nil
  if not session or expiry(session) > now then announce(key) end
  if reason == '' or not session or expiry(session) <= now then return end
  local told_until = math.min(expiry(session), now + DAY)
  local ended = string.format('ended:%.0f:', told_until) .. reason .. ':' .. message
  local told = redis.pcall('HSET', key, 'v', '2', sid, ended)
  if type(told) == 'number' then user.layout, user.ended[sid] = '2', told_until end
end

-- Ends all sessions but one, and clears away what is damaged. Gives the ids of the live ones, and again of those that did not begin before now,
-- with the ids they had before.
local function end_all(key, user, except, reason, message)
  local ended, no_older = {}, {}
  for sid, session in pairs(user.sessions) do
    if sid ~= except then
      if expiry(session) > now then table.insert(ended, sid) end
      if session.created >= now then
        table.insert(no_older, sid)
        add_former(no_older, user, sid)
      end
      end_session(key, user, sid, reason, message)
    end
  end
  for sid in pairs(user.corrupt) do end_session(key, user, sid, '', '') end
  return table.concat(ended, ','), table.concat(no_older, ',')
end

-- Forgets the entries that are over, and the first to be over of those beyond the limit, or beyond that of those to come.
local function prune(key, entries, over_at, limit, limit_to_come)
  local kept = {}
  for sid in pairs(entries) do
    if over_at(sid) then table.insert(kept, sid)
    else
      redis.call('HDEL', key, sid)
      entries[sid] = nil
    end
  end
  if #kept <= limit then return end
  table.sort(kept, function(a, b) return over_at(a) > over_at(b) end)
  for i = limit + 1, #kept do
    if over_at(kept[i]) <= now or i > limit_to_come then
      redis.call('HDEL', key, kept[i])
      entries[kept[i]] = nil
    end
  end
end

-- Gives the key the latest expiry of what it holds, and ends it with the last of that.
local function settle(key, user)
  prune(key, user.ended, function(sid) return user.ended[sid] > now and user.ended[sid] end, MAX_ENDED, MAX_ENDED)
  prune(key, user.rotated, function(sid)
    local rotated = user.rotated[sid]
    return (user.sessions[rotated.successor] or user.ended[rotated.successor]) and rotated.grace
  end, MAX_ROTATED, MAX_IN_GRACE)

  if user.ban and user.ban.over == 0 then
    redis.call('PERSIST', key)
    return
  end
  local latest = user.ban and user.ban.over + HOUR or 0
  if user.ban and latest <= now then redis.call('HDEL', key, 'ban') end
  for _, session in pairs(user.sessions) do latest = math.max(latest, forgotten_at(session)) end
  for _, told_until in pairs(user.ended) do latest = math.max(latest, told_until) end
  if latest > now then redis.call('PEXPIRE', key, latest - now)
  elseif not next(user.corrupt) then redis.call('UNLINK', key)
  else redis.call('HDEL', key, '')
  end
end
`;

/** The id that the verbs on one session are asked for. */
export const ASKED = `
local asked = ARGV[1]
`;

/**
 * For the verbs on one session: reads session `asked` of user KEYS[1], or the one that took its place at a rotation whose grace is not
 * over. Leaves key, sid (the session's own id), record and attributes as they are stored, created, seen, ttl, cap, proof (the parts of the
 * record, as text), user_id. When there is no such live session it ends the script:
 *
 * Returns  { reason, message, user id, session id, 1 when this call has found it out }; nil when nothing is known of it. The reason is
 *          '${REUSED}' where the session is to be ended for it
 */
export const SESSION = `
local key, sid = KEYS[1], asked
local found = redis.call('HMGET', key, 'v', 'id', sid, sid .. '.a')
local layout, user_id, record, attributes = found[1], found[2], found[3], found[4]
if layout and layout ~= '1' and layout ~= '2' then return redis.error_reply('${LAYOUT} ' .. layout) end
if record and not (layout and user_id) then return redis.error_reply('${CORRUPT} session') end

local RECORD = '^(%d+):(%d+):(%d+):(%d+)(:?%d*)$'
local created, seen, ttl, cap, proof = string.match(record or '', RECORD)
local grace, successor, on_reuse
if created and (proof == ':' or created + seen + ttl + cap >= ${NO_TIME}) then created = nil end
if record and not created then grace, successor, on_reuse = string.match(record, '^rotated:(%d+):([%w_-]+):(%a+)$') end
if successor then
  sid = successor
  found = redis.call('HMGET', key, sid, sid .. '.a')
  record, attributes = found[1], found[2]
  created, seen, ttl, cap, proof = string.match(record or '', RECORD)
end

local is_live = created and seen + ttl > now and (cap == '0' or tonumber(cap) > now)
if not is_live or grace and tonumber(grace) <= now then
  ${REFUSE_ON_REPLICA}
  ${BANS}
  local ban_text = redis.call('HMGET', key, 'ban')[1]
  local ban = decode_ban(ban_text)
  if ban_text and not (ban and layout and user_id) then return redis.error_reply('${CORRUPT} ban') end
  if is_banned(ban) then return { 'banned', ban.reason, user_id, sid, 0 } end
  -- Whether that ends the session is for another call to say: this one may be late, and the grace was not over when it was sent.
  if is_live then return { on_reuse == 'end' and '${REUSED}' or 'reused', '', user_id, sid, 1 } end
  if created then return { 'expired', '', user_id, sid, 1 } end
  local told_until, reason, message = string.match(record or '', '^ended:(%d+):(%a+):(.*)$')
  if record and not time_of(told_until) then return redis.error_reply('${CORRUPT} session') end
  if not record or tonumber(told_until) <= now then return false end
  return { reason, message, user_id, sid, 0 }
end
`;

/**
 * What the verbs on one session give, as one string of lines: `record;now;session id`, the attributes, the cached info in KEYS[2], the user
 * id. The first three can't hold a line break, the last may; the session id is left out when it is the one asked for. (ioredis takes longer to
 * decode an array than for all else of a check.) GETEX without options is a GET that replicas refuse.
 */
export const SESSION_REPLY = `
local info = KEYS[2] and redis.pcall('GETEX', KEYS[2])
if not KEYS[2] then ${REFUSE_ON_REPLICA} end
if type(info) == 'table' and not string.find(info.err, 'WRONGTYPE', 1, true) then return info end
if type(info) ~= 'string' or string.find(info, '\\n', 1, true) then info = '' end
local other_id = sid == ARGV[1] and '' or sid
return record .. string.format(';%.0f;', now) .. other_id .. '\\n' .. (attributes or '') .. '\\n' .. info .. '\\n' .. user_id
`;
