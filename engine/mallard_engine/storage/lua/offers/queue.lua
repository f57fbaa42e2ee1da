#!lua flags=allow-oom
-- Queues a scheduled job at its time. A job that was held until then for missing parcels fails, as
-- does one whose shop stays closed for too long. A dead letter expires.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming wait job
-- ARGV: now policy arg{}
-- REPLY: ok effects pushes | failed | expired | gone | early
-- include lib/base.lua
-- include lib/drivers.lua
-- include lib/jobs.lua
-- include lib/holders.lua
-- include lib/shops.lua
-- include lib/holding.lua
-- include lib/hold_end.lua

local job = read_job(KEYS[15])
if not job or job.state ~= 'scheduled' then return reply('gone') end
if now < job.release_ms then
  falls_due(job.due_was, job.release_ms)
  return reply('early')
end
local held = job.held
if held and (held.why == 'missing' or held.why == 'short' or now >= job.expires_ms) then
  fail(job, held.why, 'engine')
  return reply('failed')
end
if job.dead_letter ~= '' and now >= job.expires_ms then
  move(job, 'expired', 'engine', 'expired', nil, 'too_many_attempts')
  return reply('expired')
end
no_longer_closed(job, held and shop_named(job, held.store), 'engine')
return reply('ok')
