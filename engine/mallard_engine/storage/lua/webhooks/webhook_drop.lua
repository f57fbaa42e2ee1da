#!lua flags=allow-oom
-- Deletes an endpoint of webhooks and the deliveries that wait for it.
-- KEYS: endpoints
-- ARGV: now arg{id owner}
-- REPLY: ok | gone
-- include lib/webhooks.lua

if redis.call('HDEL', KEYS[1], arg.id) == 0 then return { 'gone' } end
if redis.call('HINCRBY', key('owned'), arg.owner, -1) <= 0 then
  redis.call('HDEL', key('owned'), arg.owner)
end
drop_waiting(arg.id)
redis.call('DEL', key('log:' .. arg.id))
for _, name in ipairs({ 'since', 'disabled', 'failing', 'granted', 'missed', 'leases' }) do
  redis.call('HDEL', key(name), arg.id)
end
redis.call('ZREM', key('untold'), arg.id)
changed()
return { 'ok' }
