#!lua flags=allow-oom
-- Stores the expected pickup and drop-off times of jobs that a driver holds. A job that the driver
-- no longer holds at that attempt, or that has ended, keeps its times. The next sweep looks at a
-- job whose risk changes with its new times (lib/risk.lua). A drop-off time that has changed by a
-- minute is written as an event, and pushed to the driver's app.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming job...
-- ARGV: now policy arg{driver stops[{attempt eta_pickup_ms eta_dropoff_ms}]}
-- REPLY: ok effects pushes
-- include lib/base.lua
-- include lib/drivers.lua

local LEAST_CHANGE_MS = 60000

local function risk_at(eta_ms, deadline_ms)
  if eta_ms > deadline_ms then return 'late' end
  return eta_ms > deadline_ms - policy.risk_margin_ms and 'at_risk' or 'none'
end

-- Whether readers do not know this time yet: they know that of the last event, or at first that of
-- the assignment.
local function is_news(key, told_ms, eta_ms, new_ms)
  local was_ms = tonumber(told_ms or nil) or tonumber(eta_ms or nil)
  if was_ms and not told_ms then redis.call('HSET', key, 'told_eta_ms', was_ms) end
  if was_ms and math.abs(new_ms - was_ms) < LEAST_CHANGE_MS then return false end
  redis.call('HSET', key, 'told_eta_ms', new_ms)
  return true
end

-- Stores the times of one job; returns its push if they are news.
local function store(key, stop)
  local v = redis.call('HMGET', key, 'driver', 'attempt', 'state', 'promised_ms', 'deadline_ms',
    'risk', 'id', 'service', 'eta_pickup_ms', 'told_eta_ms', 'eta_dropoff_ms', 'mall')
  local attempt, state, id = tonumber(v[2]), v[3], v[7]
  local is_on_board = state == 'picked_up'
  local is_held = state == 'assigned' or state == 'at_mall' or is_on_board
  if not is_held or v[1] ~= arg.driver or attempt ~= stop[1] then return nil end
  -- A job on board keeps the actual time of its pickup.
  if not is_on_board then
    redis.call('HSET', key, 'eta_pickup_ms', stop[2])
    if (v[4] or '') == '' then redis.call('HSET', key, 'promised_ms', stop[2]) end
  end
  redis.call('HSET', key, 'eta_dropoff_ms', stop[3])
  if risk_at(stop[3], tonumber(v[5] or 0)) ~= (v[6] or 'none') then
    redis.call('ZADD', K.risks, 0, id)
  end
  if not is_news(key, v[10], v[11], stop[3]) then return nil end
  event({ kind = 'eta', job = id, service = v[8], state = state, attempt = attempt,
    driver = arg.driver, etas = { is_on_board and tonumber(v[9]) or stop[2], stop[3] } })
  return { kind = 'job', job = id, mall = v[12], attempt = attempt, state = state,
    reason = 'updated' }
end

local news = {}
for i, stop in ipairs(arg.stops) do news[#news + 1] = store(KEYS[i + 13], stop) end
local rec = #news > 0 and read_driver(arg.driver)
-- An app without a socket is not woken for them: it reads them with its next `welcome`.
if rec and rec.connected then
  for _, body in ipairs(news) do
    body.driver_state = shown_state(rec)
    push(arg.driver, rec, body)
  end
  -- Only the counter of pushes has changed, so the indices stay as they are.
  redis.call('HSET', K.drivers, arg.driver, cmsgpack.pack(rec))
end
return reply('ok')
