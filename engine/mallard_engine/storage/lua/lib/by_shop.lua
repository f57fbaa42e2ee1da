-- The jobs that the counter of a shop sees, as mall/store/job: those that have not ended, and for a
-- day those of which something was collected. No header declares the key, since every script that
-- ends a job would have to; it shares the market's hash tag. An open job has an entry `shop/…` of
-- `forget`, which outlives it: an engine that does not know the index may end the job.
local BY_SHOP = K.forget:sub(1, -7) .. 'by_shop'
-- The longest day has 25 hours.
local SHOWN_MS = 26 * 3600000

local function list_by_shop(job, stores)
  for _, store in ipairs(stores) do
    local name = job.mall .. '/' .. store .. '/' .. job.id
    redis.call('ZADD', BY_SHOP, 0, name)
    redis.call('ZADD', K.forget, now + policy.terminal_kept_ms, 'shop/' .. name)
  end
end

-- The jobs that go back to a place, as mall/store/job. Each has an entry `back/…` of `forget`,
-- which outlives it.
local RETURNS = K.forget:sub(1, -7) .. 'returns'

local function goes_back_to(job, place)
  local name = place.mall .. '/' .. place.store .. '/' .. job.id
  redis.call('ZADD', RETURNS, 0, name)
  redis.call('ZADD', K.forget, now + policy.terminal_kept_ms, 'back/' .. name)
end

-- Call it when the job no longer goes back, or goes back to another place.
local function leave_returns(job)
  local packed = redis.call('HGET', job.key, 'return_to')
  if not packed or packed == '' then return end
  local place = cmsgpack.unpack(packed)
  local name = place.mall .. '/' .. place.store .. '/' .. job.id
  redis.call('ZREM', RETURNS, name)
  redis.call('ZREM', K.forget, 'back/' .. name)
end

local function was_collected(job)
  for _, entry in ipairs(job.timeline) do
    if entry[1] == 'picked_up' then return true end
  end
  return false
end

-- Call it when the job has ended.
local function leave_by_shop(job)
  local is_shown = was_collected(job)
  for _, store in ipairs(cmsgpack.unpack(job.need).stores or {}) do
    local name = job.mall .. '/' .. store .. '/' .. job.id
    redis.call('ZREM', K.forget, 'shop/' .. name)
    if is_shown then
      redis.call('ZADD', K.forget, now + SHOWN_MS, 'collected/' .. name)
    else
      redis.call('ZREM', BY_SHOP, name)
    end
  end
end
