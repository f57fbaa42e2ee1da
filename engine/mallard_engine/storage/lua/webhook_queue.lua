#!lua flags=allow-oom
-- Queues events of a market for endpoints and moves the market's position, in one step, so that
-- each event is queued once. Refused if the position is not `was`, or if the endpoints have changed
-- since the caller read them: a new one must not miss an event. An endpoint with too many is
-- disabled. wanted: endpoint and indexes of its events.
-- KEYS: endpoints
-- ARGV: now arg{market was to version most names[] wanted[]} entry...
-- REPLY: ok | stale | moved
-- include lib/webhooks.lua

if (redis.call('HGET', key('positions'), arg.market) or '') ~= arg.was then return { 'moved' } end
if version() ~= arg.version then return { 'stale' } end
for _, each in ipairs(arg.wanted) do
  local endpoint, indexes = each[1], each[2]
  if is_enabled(endpoint) then
    for _, index in ipairs(indexes) do
      queue(endpoint, arg.market .. '/' .. arg.names[index + 1], ARGV[index + 3])
    end
    if redis.call('ZCARD', key('queue:' .. endpoint)) > arg.most then
      disable(endpoint, 'backlog')
    end
  end
end
redis.call('HSET', key('positions'), arg.market, arg.to)
return { 'ok' }
