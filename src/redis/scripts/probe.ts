/**
 * Tries every command that the other scripts call, on keys of no user, and leaves nothing behind. Tries them inside a
 * script, because Redis checks names of commands and rights of the user separately there.
 *
 * KEYS[1]  the sessions of no user; left out to try nothing but the script itself
 * KEYS[2]  the cached info of no user
 * Returns  the commands that were not carried out, each followed by Redis's words
 */
export const PROBE = `
local sessions, info = KEYS[1], KEYS[2]
local failed = {}
local function try(command, ...)
  local reply = redis.pcall(command, ...)
  if type(reply) ~= 'table' or not reply.err then return true end
  table.insert(failed, command)
  table.insert(failed, reply.err)
  return false
end
if not sessions then return failed end

try('TIME')
try('HMGET', sessions, 'v', 'id')
try('HKEYS', sessions)
try('HLEN', sessions)
try('GETEX', info)
try('MGET', info)
local can_delete = try('HDEL', sessions, '')
-- Only what can be removed is written.
if try('UNLINK', sessions, info) or can_delete then
  try('HSET', sessions, 'v', '0')
  try('PERSIST', sessions)
  try('PTTL', sessions)
  try('PEXPIRE', sessions, 1000)
  redis.pcall('HDEL', sessions, 'v')
  redis.pcall('UNLINK', sessions)
end
try('SET', info, '0:', 'PX', 1)
redis.pcall('UNLINK', info)
return failed
`;
