#!lua flags=allow-oom
-- Reads the due deliveries of endpoints and postpones them: one that its node does not settle falls
-- due again. slots: pairs of an endpoint and how many of its deliveries to read. most: of them all.
-- KEYS: endpoints
-- ARGV: now arg{slots[] most hold_ms}
-- REPLY: due[endpoint name failed first_ms entry …]
-- include lib/webhooks.lua

local due = {}
for _, each in ipairs(arg.slots) do
  local endpoint, count = each[1], math.min(each[2], arg.most - #due)
  if count <= 0 then break end
  local from = key('queue:' .. endpoint)
  for _, name in ipairs(redis.call('ZRANGE', from, '-inf', now, 'BYSCORE', 'LIMIT', 0, count)) do
    local entry = redis.call('HGET', key('waiting:' .. endpoint), name)
    if entry then
      redis.call('ZADD', from, now + arg.hold_ms, name)
      local tries = redis.call('HGET', key('tries:' .. endpoint), name) or '0 0'
      local failed, first = tries:match('^(%d+) (%d+)$')
      due[#due + 1] = { endpoint, name, tonumber(failed), tonumber(first), entry }
    else
      redis.call('ZREM', from, name)
    end
  end
end
return due
