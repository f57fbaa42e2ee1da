-- How long drivers stay at a store, counted by spans of time: engine/core/dwell.py says how it is
-- read. A byte for all of them, then one a bucket; halved when it is full. Needs lib/room.lua.
local BUCKETS, LEAST_MS, RATIO, FULL = 72, 15000, 1.1, 200

local function bucket_of(ms)
  if ms <= LEAST_MS then return 0 end
  return math.min(math.ceil(math.log(ms / LEAST_MS) / math.log(RATIO)), BUCKETS - 1)
end

-- Half of each; what is left over of one is the next one's, so that every sum from the left is halved.
local function halve(counts)
  local over = 0
  counts[1] = math.floor(counts[1] / 2)
  for i = 2, #counts do
    local count = counts[i] + over
    over = count % 2
    counts[i] = (count - over) / 2
  end
end

-- A driver at the mall has its parcel. Counted only where it did not wait for that: it was ready
-- before the arrival; and at one store, as of several nobody knows which of them took how long.
local function note_stay(key, job)
  local need = need_of(job)
  local came = job.timeline[#job.timeline][2]
  if #need.stores ~= 1 or need.ready_ms > came then return end
  local field = job.mall .. '/' .. need.stores[1]
  local packed = redis.call('HGET', key, field)
  local counts = packed and { packed:byte(1, -1) } or {}
  if #counts ~= BUCKETS + 1 then
    for i = 1, BUCKETS + 1 do counts[i] = 0 end
  end
  if counts[1] >= FULL then halve(counts) end
  local i = bucket_of(now - came) + 2
  counts[1], counts[i] = counts[1] + 1, counts[i] + 1
  redis.call('HSET', key, field, string.char(unpack(counts)))
end
