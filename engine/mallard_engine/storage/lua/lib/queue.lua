-- The queue of a mall: KEYS[14], its wait set.
local WAIT = KEYS[14]
-- The wait set as engines up to schema 1 read it: by id, with priority and age as the score. It is
-- kept while such engines may share the store (docs/howto/upgrade.md). Its name is in no header, as
-- it goes with them; it has the hash tag of the others.
local OLD_WAIT = WAIT and WAIT:gsub(':queue:', ':wait:', 1)

-- Its place in the wait set, which is by name: by service, in that by priority and age; at the end
-- what it demands of a vehicle. keys.py says the same.
local function place_of(job)
  return string.format('%s/%03d%014d/%s/%s', job.service, 999 - job.priority, job.created_ms,
    job.id, job.demand)
end

local function wait_for_driver(job)
  redis.call('ZADD', WAIT, 0, place_of(job))
  redis.call('ZADD', OLD_WAIT, job.created_ms - job.priority * 1e12, job.id)
  redis.call('HSET', K.waiting, job.id, cmsgpack.pack({ job.attempt, job.need,
    cmsgpack.pack(job.asked), job.card, job.mall }))
  effects.malls[#effects.malls + 1] = job.mall
  effects.queued[#effects.queued + 1] = { job.mall, job.id }
end

local function wait_no_more(job)
  redis.call('ZREM', WAIT, place_of(job))
  redis.call('ZREM', OLD_WAIT, job.id)
  redis.call('HDEL', K.waiting, job.id)
end
