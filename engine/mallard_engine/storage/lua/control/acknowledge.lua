#!lua flags=allow-oom
-- Acknowledges an alert, once: a repeat keeps the first operator and time.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming
-- ARGV: now policy arg{id actor}
-- REPLY: ok effects pushes alert | gone
-- include lib/base.lua

local packed = arg.id:match('^alert_') and redis.call('HGET', K.alerts, arg.id)
if not packed then return reply('gone') end
local raised = cmsgpack.unpack(packed)
if not raised.by then
  raised.by, raised.acknowledged_ms = arg.actor, now
  packed = cmsgpack.pack(raised)
  redis.call('HSET', K.alerts, arg.id, packed)
  redis.call('ZREM', K.alerts_open, arg.id)
  redis.call('ZADD', K.alerts_done, raised.at, arg.id)
  event({ kind = 'alert_acknowledged', alert = arg.id, about = raised.what, job = raised.job,
    driver = raised.driver, actor = arg.actor })
end
return reply('ok', packed)
