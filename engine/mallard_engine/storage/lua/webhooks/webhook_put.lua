#!lua flags=allow-oom
-- Stores a new (`was` is empty) or changed endpoint of webhooks. enable: it gets the events that
-- are recorded from now on. granted: when the token was issued that permitted this.
-- KEYS: endpoints
-- ARGV: now arg{id owner most enable granted} was record
-- REPLY: ok | full | gone | changed
-- include lib/webhooks.lua

local stored = redis.call('HGET', KEYS[1], arg.id)
local owned = tonumber(redis.call('HGET', key('owned'), arg.owner) or '0')
if ARGV[3] == '' then
  if stored then return { 'changed' } end
  if owned >= arg.most then return { 'full' } end
  redis.call('HINCRBY', key('owned'), arg.owner, 1)
elseif not stored then
  return { 'gone' }
elseif stored ~= ARGV[3] then
  return { 'changed' }
end
redis.call('HSET', KEYS[1], arg.id, ARGV[4])
redis.call('HSET', key('granted'), arg.id, arg.granted)
if arg.enable then
  redis.call('HSET', key('since'), arg.id, now)
  redis.call('HDEL', key('disabled'), arg.id)
  redis.call('HDEL', key('failing'), arg.id)
  redis.call('HDEL', key('missed'), arg.id)
  redis.call('ZREM', key('untold'), arg.id)
end
changed()
return { 'ok' }
