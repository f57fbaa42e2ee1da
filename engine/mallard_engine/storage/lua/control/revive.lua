#!lua flags=allow-oom
-- Returns a dead letter to the queue.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming wait job
-- ARGV: now policy arg{letter actor}
-- REPLY: ok effects pushes | gone
-- include lib/base.lua
-- include lib/jobs.lua

local job = read_job(KEYS[15])
if not job or job.state ~= 'scheduled' or job.dead_letter ~= arg.letter then
  return reply('gone')
end
job.release_ms = now
redis.call('HSET', job.key, 'release_ms', now)
move(job, 'queued', arg.actor, 'retried', now + policy.safety_ms)
return reply('ok')
