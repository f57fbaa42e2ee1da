#!lua flags=no-writes
-- Selects the jobs that pass the filters of a list. A job with unreadable times is selected, so
-- that its reader reports it.
-- KEYS: job...
-- ARGV: now arg{states[state] created_from created_to updated_since}
-- REPLY: their places among the keys
local arg = cmsgpack.unpack(ARGV[2])
local is_asked = {}
for _, state in ipairs(arg.states) do is_asked[state] = true end

local wanted = {}
for i, key in ipairs(KEYS) do
  local job = redis.call('HMGET', key, 'state', 'created_ms', 'updated_ms')
  local state, created, updated = job[1], tonumber(job[2]), tonumber(job[3])
  if state and (#arg.states == 0 or is_asked[state]) and (not created or not updated
    or (created >= arg.created_from and created < arg.created_to
      and updated >= arg.updated_since)) then
    wanted[#wanted + 1] = i
  end
end
return wanted
