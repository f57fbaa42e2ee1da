#!lua flags=allow-oom
-- Begins a replay of an endpoint in a market (`was` is empty), or queues its next events and
-- advances it; it ends at `to`. Refused if another node has advanced it.
-- KEYS: endpoints
-- ARGV: now arg{id market was at to names[]} entry...
-- REPLY: ok | moved
-- include lib/webhooks.lua

local field = arg.id .. '/' .. arg.market
local value = arg.at .. ' ' .. arg.to
if not is_enabled(arg.id) then return { 'moved' } end
if arg.was ~= '' then
  if redis.call('HGET', key('replays'), field) ~= arg.was .. ' ' .. arg.to then
    return { 'moved' }
  end
  for index, name in ipairs(arg.names) do
    queue(arg.id, arg.market .. '/' .. name, ARGV[index + 2])
  end
end
if arg.at == arg.to then
  redis.call('HDEL', key('replays'), field)
else
  redis.call('HSET', key('replays'), field, value)
end
return { 'ok' }
