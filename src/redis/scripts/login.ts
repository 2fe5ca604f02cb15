import { LAYOUT_VERSION } from '../schema';
import { CLOCK, DATA, REFUSE_ON_REPLICA, USER } from './parts';

/**
 * Starts a session, if the user may have another; then ends those it replaces and the oldest ones over a limit. A login
 * that is refused ends no session.
 *
 * KEYS[1]   the user's sessions
 * ARGV[1]   the user id; '' for a visitor
 * ARGV[2]   the new session's id
 * ARGV[3]   ttl, ms
 * ARGV[4]   whole life, ms, from `proved` in ARGV[12] or from now; 0 = unbounded
 * ARGV[5]   attributes, JSON; '' = none
 * ARGV[6]   the moment, ms, after which the caller has given up: the script then does nothing
 * ARGV[7]   live sessions this user may have, the new one included
 * ARGV[8]   live sessions this user may have on the device of the new one; 0 = any number
 * ARGV[9]   that device; '' = none
 * ARGV[10]  over a limit, 'replace' the oldest or 'reject' the login
 * ARGV[11]  ids of sessions of this user that the new one replaces, joined by commas
 * ARGV[12]  of a session that came from another store, the moment, ms, when its holder last proved who they are, 0 =
 *           unknown; '' = a new session
 * ARGV[13]  id of a session of this user whose data the new one takes over; '' = none
 * ARGV[14]  how many keys of that data, n
 * ARGV[15…] these n keys; then the other first data of the new session: each key and its JSON
 * Returns   { now, the session's record, the ids of those it ended, joined by commas }; with a fourth element, the
 *           attributes, for a session that was there before; { now } when it came too late
 */
export const CREATE = `${CLOCK}${USER}
local key = KEYS[1]
local user_id, sid, ttl, life, attributes = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local deadline, limit, device_limit, device = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), ARGV[9]
local on_limit, replaces, proved, predecessor = ARGV[10], ARGV[11], ARGV[12], ARGV[13]
if now > deadline then return { now } end

-- Refuses with the code of a SessionError; a replica, which may know less than its master, with READONLY.
local function refuse(code)
  ${REFUSE_ON_REPLICA}
  return redis.error_reply('TOKENSESSION ' .. code)
end

${DATA}
local user, refusal = read_user(key)
if refusal then return refusal end
if user.id and user.id ~= user_id then return redis.error_reply('TOKENSESSION ERR_STORE_CORRUPT id') end
if next(user.corrupt) then return redis.error_reply('TOKENSESSION ERR_STORE_CORRUPT session') end
-- A client that repeats a login without an answer may have started the session already.
local former = user.sessions[sid]
if former and expiry(former) > now then
  ${REFUSE_ON_REPLICA}
  return { now, encode(former), '', user.attributes[sid] or '' }
end
if is_banned(user.ban) then return refuse('ERR_USER_BANNED') end
-- A life counts from the login, also of a session that came from another store.
local begun = math.min(tonumber(proved) or now, now)
if begun == 0 then begun = now end
local cap = life > 0 and begun + life or 0
local is_over = former or user.ended[sid] and user.ended[sid] > now or cap > 0 and cap <= now
if proved ~= '' and is_over then return refuse('ERR_NO_SESSION') end

local function device_of(other)
  local is_json, known = pcall(cjson.decode, user.attributes[other] or '{}')
  return is_json and type(known) == 'table' and known.device or ''
end

local gives_way = {}
for replaced in string.gmatch(replaces, '[^,]+') do
  gives_way[replaced] = true
  announce(key)
end

local oldest_first = {}
-- The field created orders the logins of a user: two in one millisecond must differ.
local newest = 0
for other, session in pairs(user.sessions) do
  newest = math.max(newest, session.created)
  if expiry(session) > now then table.insert(oldest_first, other) end
end
table.sort(oldest_first, function(a, b) return user.sessions[a].created < user.sessions[b].created end)

local is_over_limit = false
local function make_room(allowed, is_counted)
  local counted = {}
  for _, other in ipairs(oldest_first) do
    if not gives_way[other] and is_counted(other) then table.insert(counted, other) end
  end
  for i = 1, #counted + 1 - allowed do
    gives_way[counted[i]] = true
    is_over_limit = true
  end
end
if device_limit > 0 then make_room(device_limit, function(other) return device_of(other) == device end) end
make_room(limit, function() return true end)
if is_over_limit and on_limit == 'reject' then return refuse('ERR_TOO_MANY_SESSIONS') end

local data, inherited = {}, user.sessions[predecessor]
local first = 15 + ARGV[14]
for i = first, #ARGV, 2 do data[ARGV[i]] = ARGV[i + 1] end
if inherited and expiry(inherited) > now then
  local entries = read_data(predecessor)
  if not entries then return refuse('ERR_STORE_CORRUPT data') end
  for i = 15, first - 1 do data[ARGV[i]] = entries[ARGV[i]] or data[ARGV[i]] end
end

-- Before all other writes: if Redis has no memory, this one fails and nothing has changed.
local session = { created = math.max(now, newest + 1), seen = now, ttl = ttl, cap = cap, token = '' }
-- To keep that order, created may be later than now, as after a clock was set back. The token's times are now.
if session.created ~= now or proved ~= '' then
  session.token = string.format(':0:%.0f:%.0f:%.0f', now, now, tonumber(proved) or now)
end
redis.call('HSET', key, 'id', user_id, 'v', '${LAYOUT_VERSION}', sid, encode(session))
if former then redis.call('HDEL', key, sid .. '.a', sid .. '.d') end
if attributes ~= '' then redis.call('HSET', key, sid .. '.a', attributes) end
if next(data) then redis.call('HSET', key, sid .. '.d', cmsgpack.pack(data)) end

local ended = {}
for _, other in ipairs(oldest_first) do
  if gives_way[other] then
    table.insert(ended, other)
    end_session(key, user, other, 'replaced', '')
  end
end
user.sessions[sid], user.ended[sid] = session, nil
settle(key, user)
return { now, encode(session), table.concat(ended, ',') }
`;
