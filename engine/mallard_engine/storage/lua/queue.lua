#!lua flags=allow-oom
-- Moves a scheduled job whose time has come into the queue.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming wait job
-- ARGV: now policy arg{}
-- REPLY: ok effects pushes | gone | early
-- include lib/base.lua
-- include lib/jobs.lua

local job = read_job(KEYS[15])
if not job or job.state ~= 'scheduled' then return reply('gone') end
if now < job.release_ms then
  falls_due(job.due_was, job.release_ms)
  return reply('early')
end
move(job, 'queued', 'engine', 'released', now + policy.safety_ms)
return reply('ok')
