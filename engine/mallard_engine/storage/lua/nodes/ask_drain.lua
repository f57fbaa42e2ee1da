#!lua flags=allow-oom
-- Notes that an operator has requested a drain of a node; the node finds the request when it
-- announces itself. A repeat keeps the first request.
-- KEYS: nodes
-- ARGV: now arg{node actor lost_ms}
-- REPLY: by at   who requested it, and when; '' and 0 if the node is unknown, has stopped or is lost
local arg = cmsgpack.unpack(ARGV[2])
local now = tonumber(ARGV[1])
if not now then
  local t = redis.call('TIME')
  now = t[1] * 1000 + math.floor(t[2] / 1000)
end
local NODES, node = KEYS[1], arg.node

local seen = redis.call('HGET', NODES, node .. '/seen')
local stopped = redis.call('HEXISTS', NODES, node .. '/stopped') == 1
if not seen or stopped or now - tonumber(seen) > arg.lost_ms then return { '', 0 } end
redis.call('HSETNX', NODES, node .. '/drain', string.format('%.0f/%s', now, arg.actor))
local at, by = redis.call('HGET', NODES, node .. '/drain'):match('^(%d+)/(.*)$')
return { by, tonumber(at) }
