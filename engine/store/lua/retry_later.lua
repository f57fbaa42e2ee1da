#!lua flags=allow-oom
-- A round found nobody: look again at at_ms, or when the job expires if that is sooner.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming wait job
-- ARGV: now policy arg{attempt at_ms}
-- REPLY: ok effects pushes | gone
-- include lib/base.lua
-- include lib/jobs.lua

local job = read_job(KEYS[15])
if not job or job.state ~= 'queued' or job.attempt ~= arg.attempt then return reply('gone') end
falls_due(job.due_was, math.min(arg.at_ms, job.expires_ms))
return reply('ok')
