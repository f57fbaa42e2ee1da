#!lua flags=allow-oom
-- Removes places from a mall's wait set whose jobs an engine of schema 1 has taken out of the
-- queue; such an engine does not know of places.
-- KEYS: waiting wait
-- ARGV: now arg{places[]}
-- REPLY: how many were removed
local arg = cmsgpack.unpack(ARGV[2])
local removed = 0
for _, place in ipairs(arg.places) do
  local id = place:match('^[^/]*/[^/]*/([^/]*)/')
  if id and redis.call('HEXISTS', KEYS[1], id) == 0 then
    removed = removed + redis.call('ZREM', KEYS[2], place)
  end
end
return removed
