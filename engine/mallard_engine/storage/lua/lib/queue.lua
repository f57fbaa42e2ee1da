-- The queue of a mall: KEYS[14], its wait set.
local WAIT = KEYS[14]
-- A transition that queues jobs of several malls puts the wait sets of the other malls here.
local WAITS = {}
-- The wait set by id that engines up to schema 5 write for those of schema 1. Nothing reads it any
-- more; what such engines have written is removed with its job, so that none of it stays
-- (docs/howto/upgrade.md). No header declares it, since it will go with them; it shares the market's
-- hash tag.
local function old_wait(wait)
  return (wait:gsub(':queue:', ':wait:', 1))
end

-- The job's name in the wait set. It sorts by service, then by priority and age, and ends with what
-- the job demands of a vehicle. See place_of in keys.py.
local function place_of(job)
  return string.format('%s/%03d%014d/%s/%s', job.service, 999 - job.priority, job.created_ms,
    job.id, job.demand)
end

local function wait_for_driver(job)
  local wait = WAITS[job.mall] or WAIT
  redis.call('ZADD', wait, 0, place_of(job))
  redis.call('HSET', K.waiting, job.id, cmsgpack.pack({ job.attempt, job.need,
    cmsgpack.pack(job.asked), job.card, job.mall }))
  effects.malls[#effects.malls + 1] = job.mall
  effects.queued[#effects.queued + 1] = { job.mall, job.id }
end

local function wait_no_more(job)
  local wait = WAITS[job.mall] or WAIT
  redis.call('ZREM', wait, place_of(job))
  redis.call('ZREM', old_wait(wait), job.id)
  redis.call('HDEL', K.waiting, job.id)
end
