-- Sets that list open jobs, and jobs that have ended, besides their records.
-- include lib/archive.lua
-- The jobs that have ended and are to be packed (pack.lua), by when.
local UNPACKED = K.due:sub(1, -4) .. 'unpacked'
-- The next sweep of any node computes the job's risk again (lib/risk.lua).
local function look_at_risk(job)
  redis.call('ZADD', K.risks, 0, job.id)
end

local function end_job(job)
  redis.call('ZREM', K.risks, job.id)
  redis.call('PEXPIRE', job.key, policy.terminal_kept_ms)
  local at = now + policy.terminal_kept_ms
  redis.call('ZADD', K.forget, at, 'job/' .. job.service .. '/' .. job.id)
  if job.external_id ~= '' then
    local external = job.service .. '/' .. job.external_id
    if job.state == 'delivered' then
      redis.call('ZADD', K.forget, at, 'external/' .. external)
    else
      redis.call('HDEL', K.externals, external)
    end
  end
  if policy.pack_after_ms then redis.call('ZADD', UNPACKED, now + policy.pack_after_ms, job.id) end
  leave_by_shop(job)
  await_archive(job)
end
