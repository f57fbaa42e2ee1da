#!lua flags=allow-oom
-- Stores the state of a node. prune: also removes nodes that have been silent for long. The fields of
-- a node are its id (its state), id/seen, id/stopped and id/drain (when/who requested the drain).
-- KEYS: nodes
-- ARGV: now arg{node stopped kept_ms prune} word
-- REPLY: by at   who requested a drain, and when; '' and 0 without a request
local arg = cmsgpack.unpack(ARGV[2])
local now = tonumber(ARGV[1])
if not now then
  local t = redis.call('TIME')
  now = t[1] * 1000 + math.floor(t[2] / 1000)
end
local NODES, node = KEYS[1], arg.node

for _, field in ipairs(arg.prune and redis.call('HKEYS', NODES) or {}) do
  local other = field:match('^([^/]+)/seen$')
  if other and now - tonumber(redis.call('HGET', NODES, field)) > arg.kept_ms then
    redis.call('HDEL', NODES, other, field, other .. '/stopped', other .. '/drain')
  end
end
redis.call('HSET', NODES, node, ARGV[3], node .. '/seen', string.format('%.0f', now))
if arg.stopped then
  redis.call('HSET', NODES, node .. '/stopped', string.format('%.0f', now))
end
local wish = redis.call('HGET', NODES, node .. '/drain')
if not wish then return { '', 0 } end
local at, by = wish:match('^(%d+)/(.*)$')
return { by, tonumber(at) }
