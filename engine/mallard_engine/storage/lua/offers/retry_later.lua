#!lua flags=allow-oom
-- Postpones the next round of a job to at_ms, or to its expiry if that is sooner.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming wait job
-- ARGV: now policy arg{attempt at_ms}
-- REPLY: ok effects pushes | gone
-- include lib/base.lua
-- include lib/jobs.lua

local job = read_job(KEYS[15])
if not job or job.state ~= 'queued' or job.attempt ~= arg.attempt then return reply('gone') end
-- An engine of schema 1 has queued the job by its id only.
redis.call('ZADD', WAIT, 'NX', 0, place_of(job))
falls_due(job.due_was, math.min(arg.at_ms, job.expires_ms))
return reply('ok')
