#!lua flags=allow-oom
-- Makes a queued job whose data broke its rounds a dead letter. It waits as a scheduled job until
-- revive.lua, an operator's assignment or a change of the order; otherwise it expires in time.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming wait job
-- ARGV: now policy arg{attempt rounds error}
-- REPLY: ok effects pushes | expired | gone
-- include lib/base.lua
-- include lib/jobs.lua

local job = read_job(KEYS[15])
if not job or job.state ~= 'queued' or job.attempt ~= arg.attempt then return reply('gone') end
if now >= job.expires_ms then
  move(job, 'expired', 'engine', 'expired', nil, 'too_many_attempts')
  return reply('expired')
end
local id = string.format('dead_%s.%s', K.due:match('{(.-)}'), job.id:match('([^.]*)$'))
redis.call('HSET', K.dead_letters, id, cmsgpack.pack({ kind = 'job', job = job.id, mall = job.mall,
  service = job.service, attempt = job.attempt, rounds = arg.rounds, error = arg.error, at = now }))
job.release_ms, job.dead_letter = job.expires_ms, id
redis.call('HSET', job.key, 'release_ms', job.release_ms, 'dead_letter', id)
move(job, 'scheduled', 'engine', 'dead_letter', job.expires_ms)
alert('dead_letter', { job = job.id, service = job.service, dead_letter = id, error = arg.error })
return reply('ok')
