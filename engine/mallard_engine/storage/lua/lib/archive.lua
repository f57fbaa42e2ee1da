-- If there is an archive, a job that has ended is kept until it is archived, for at most the time
-- that the archive asks for. `unarchived` holds the jobs that the archive lacks, by their last
-- change. Needs lib/base.lua.
K.archive = K.due:sub(1, -4) .. 'archive'
K.unarchived = K.due:sub(1, -4) .. 'unarchived'

-- Call it for each change of a job that has ended, after writing its entry of `forget`.
local function await_archive(job)
  local hold_ms = tonumber(redis.call('HGET', K.archive, 'hold_ms'))
  local at = hold_ms and redis.call('ZSCORE', K.forget, 'job/' .. job.service .. '/' .. job.id)
  if not at then return end
  local left_ms = math.max(at - now, 0) + hold_ms
  redis.call('ZADD', K.unarchived, now, job.id)
  redis.call('PEXPIRE', job.key, left_ms)
  redis.call('PEXPIRE', K.due:sub(1, -4) .. 'round:' .. job.id, left_ms)
end
