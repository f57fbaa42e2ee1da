-- How much of its quotas a service has used in this market.
local MOST_ENDED, MOST_READS, DAY_MS = 256, 16, 86400000

-- Removes ended jobs from the set of open jobs. `forget` has an entry for each, whichever version
-- of the engine ended it, at the time of its end plus a constant; `seen` is how far that was read.
-- Returns whether there may be more to read.
local function settle_open(open, seen)
  local from = redis.call('GET', seen) or now + policy.terminal_kept_ms
  local ended = redis.call('ZRANGE', K.forget, from, '+inf', 'BYSCORE', 'LIMIT', 0, MOST_ENDED,
    'WITHSCORES')
  for i = 1, #ended, 2 do
    local job = ended[i]:match('^job/(.+)$')
    if job then redis.call('ZREM', open, job) end
  end
  redis.call('SET', seen, ended[#ended] or from)
  return #ended == 2 * MOST_ENDED
end

local function open_jobs(open, seen, service)
  for _ = 1, MOST_READS do
    if not settle_open(open, seen) then break end
  end
  return redis.call('ZLEXCOUNT', open, '[' .. service .. '/', '(' .. service .. '0')
end

-- Bytes by day of submission, for as many days as an ended job is kept. Earlier days are dropped.
local function stored_bytes(stored)
  local first = math.floor((now - policy.terminal_kept_ms) / DAY_MS)
  local days, total = redis.call('HGETALL', stored), 0
  for i = 1, #days, 2 do
    if tonumber(days[i]) < first then redis.call('HDEL', stored, days[i])
    else total = total + tonumber(days[i + 1]) end
  end
  return total
end

local function note_stored(stored, bytes)
  redis.call('HINCRBY', stored, math.floor(now / DAY_MS), bytes)
  redis.call('PEXPIRE', stored, policy.terminal_kept_ms + DAY_MS)
end
