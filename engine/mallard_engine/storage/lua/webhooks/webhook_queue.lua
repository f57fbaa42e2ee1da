#!lua flags=allow-oom
-- Queues events of a market for endpoints and advances the market's position in one step, so that
-- each event is queued once. Refused if the position is not `was`, or if the endpoints have changed
-- since the caller read them: a new one must not miss an event. For an endpoint without room nothing
-- is queued: it is then behind and gets its events in steps from the former position on, or it is
-- disabled (lib/webhook_room.lua). wanted: endpoint and indexes of its events.
-- KEYS: endpoints
-- ARGV: now arg{market was to version pace most patience_ms names[] wanted[]} entry...
-- REPLY: ok | stale | moved
-- include lib/webhooks.lua
-- include lib/webhook_room.lua

if (redis.call('HGET', key('positions'), arg.market) or '') ~= arg.was then return { 'moved' } end
if version() ~= arg.version then return { 'stale' } end

local function put(endpoint, indexes)
  local field = endpoint .. '/' .. arg.market
  if redis.call('HEXISTS', key('behind'), field) == 1 then return end
  if has_room(endpoint, #indexes) then
    for _, index in ipairs(indexes) do
      queue(endpoint, arg.market .. '/' .. arg.names[index + 1], ARGV[index + 3])
    end
  elseif is_enabled(endpoint) then
    redis.call('HSET', key('behind'), field, arg.was ~= '' and arg.was or '0-0')
  end
end

for _, each in ipairs(arg.wanted) do
  if is_enabled(each[1]) then put(each[1], each[2]) end
end
redis.call('HSET', key('positions'), arg.market, arg.to)
return { 'ok' }
