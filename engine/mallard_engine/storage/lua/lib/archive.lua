-- A job that has ended is kept longer than usual until the archive has it, if there is an archive and
-- as long as it asks for. `unarchived` has what it lacks, by the time of the last change.
-- Needs lib/base.lua.
K.archive = K.due:sub(1, -4) .. 'archive'
K.unarchived = K.due:sub(1, -4) .. 'unarchived'

-- Called for each change of a job that has ended, after its entry of `forget` was written.
local function await_archive(job)
  local hold_ms = tonumber(redis.call('HGET', K.archive, 'hold_ms'))
  local at = hold_ms and redis.call('ZSCORE', K.forget, 'job/' .. job.service .. '/' .. job.id)
  if not at then return end
  local left_ms = math.max(at - now, 0) + hold_ms
  redis.call('ZADD', K.unarchived, now, job.id)
  redis.call('PEXPIRE', job.key, left_ms)
  redis.call('PEXPIRE', K.due:sub(1, -4) .. 'round:' .. job.id, left_ms)
end
