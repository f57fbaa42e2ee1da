#!lua flags=no-writes
-- Reads endpoints of webhooks: one, or all (`id` is empty).
-- KEYS: endpoints
-- ARGV: now arg{id}
-- REPLY: version endpoints[id record since disabled failing waiting missed granted …]
-- include lib/webhooks.lua

local found = {}
local ids = arg.id == '' and redis.call('HKEYS', KEYS[1]) or { arg.id }
for _, id in ipairs(ids) do
  local record = redis.call('HGET', KEYS[1], id)
  if record then
    found[#found + 1] = { id, record, tonumber(redis.call('HGET', key('since'), id) or '0'),
      redis.call('HGET', key('disabled'), id) or '',
      tonumber(redis.call('HGET', key('failing'), id) or '0'),
      redis.call('ZCARD', key('queue:' .. id)),
      tonumber(redis.call('HGET', key('missed'), id) or '0'),
      tonumber(redis.call('HGET', key('granted'), id) or '0') }
  end
end
return { version(), found }
