-- How long drivers stay at a store, as a histogram;
-- engine/mallard_engine/core/pickup/dwell_estimate.py says how to read it. One byte has the total,
-- then one byte for each bucket. All are halved when the total is full. Needs lib/room.lua.
local BUCKETS, LEAST_MS, RATIO, FULL = 72, 15000, 1.1, 200

local function bucket_of(ms)
  if ms <= LEAST_MS then return 0 end
  return math.min(math.ceil(math.log(ms / LEAST_MS) / math.log(RATIO)), BUCKETS - 1)
end

-- Halves each bucket. A remainder is carried to the next bucket, so that every prefix sum is
-- halved.
local function halved(packed)
  local counts, over = { packed:byte(1, -1) }, 0
  counts[1] = math.floor(counts[1] / 2)
  for i = 2, #counts do
    local count = counts[i] + over
    over = count % 2
    counts[i] = (count - over) / 2
  end
  return string.char(unpack(counts))
end

-- Counts the stay of a driver who has picked up at one store, if the parcel was ready before the
-- arrival. With several stores, of a job or a run, the stay at each is unknown, so the caller must
-- check that the driver holds no other job.
local function note_stay(key, job)
  local need = need_of(job)
  local came = job.timeline[#job.timeline][2]
  if #need.stores ~= 1 or need.ready_ms > came then return end
  local field = job.mall .. '/' .. need.stores[1]
  local packed = redis.call('HGET', key, field)
  if not packed or #packed ~= BUCKETS + 1 then packed = string.rep('\0', BUCKETS + 1) end
  if packed:byte(1) >= FULL then packed = halved(packed) end
  -- No count may exceed the total, since corrupt data must not stop a pickup.
  local i = bucket_of(now - came) + 2
  local count = math.min(packed:byte(i) + 1, 255)
  redis.call('HSET', key, field, string.char(packed:byte(1) + 1) .. packed:sub(2, i - 1)
    .. string.char(count) .. packed:sub(i + 1))
end
