#!lua flags=allow-oom
-- Queues the next events of an endpoint that is behind in a market, and advances its position. Once
-- it has reached the market's position, new events are queued for it directly again (`level`).
-- Refused if another node has advanced it (`moved`), or if there is no room: `full`, or the endpoint
-- is disabled (lib/webhook_room.lua). missed_ms: events before this time had left the stream before
-- the endpoint got them; 0: none.
-- KEYS: endpoints
-- ARGV: now arg{id market was at missed_ms pace most patience_ms names[]} entry...
-- REPLY: behind | level | moved | full
-- include lib/webhooks.lua
-- include lib/webhook_room.lua

local field = arg.id .. '/' .. arg.market
if redis.call('HGET', key('behind'), field) ~= arg.was then return { 'moved' } end
if not has_room(arg.id, #arg.names) then return { is_enabled(arg.id) and 'full' or 'moved' } end
if arg.missed_ms > 0 then redis.call('HSET', key('missed'), arg.id, arg.missed_ms) end
for index, name in ipairs(arg.names) do
  queue(arg.id, arg.market .. '/' .. name, ARGV[index + 2])
end
if redis.call('HGET', key('positions'), arg.market) == arg.at then
  redis.call('HDEL', key('behind'), field)
  return { 'level' }
end
redis.call('HSET', key('behind'), field, arg.at)
return { 'behind' }
