#!lua flags=allow-oom
-- Alerts operators, at most once in `again_ms`, that jobs are about to be deleted unarchived.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming
-- ARGV: now policy arg{again_ms waiting since_ms}
-- REPLY: ok effects pushes | alerted
-- include lib/base.lua
-- include lib/archive.lua

local alerted_ms = tonumber(redis.call('HGET', K.archive, 'alerted_ms'))
if alerted_ms and now < alerted_ms + arg.again_ms then return reply('alerted') end
redis.call('HSET', K.archive, 'alerted_ms', now)
alert('archive_behind', { waiting = arg.waiting, since_ms = arg.since_ms })
return reply('ok')
