#!lua flags=allow-oom
-- Handles a held job whose driver may be away: queues it again, raises an alert, or checks again
-- later. Around the mall a driver may be silent for longer. Before the job is queued again, the
-- reply `where` asks the caller whether the driver's last position is around the mall (`near`).
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming wait job
-- ARGV: now policy arg{member near?{driver received_ms is_near}}
-- REPLY: silent effects pushes | alerted | waits | gone | where … driver position
-- include lib/base.lua
-- include lib/drivers.lua
-- include lib/jobs.lua
-- include lib/holders.lua
-- include lib/patience.lua
-- include lib/shops.lua
-- include lib/holding.lua
-- include lib/hold_end.lua

local LOOK_AGAIN_MS = 10000

local job = read_job(KEYS[15])
if not job or job.due_was ~= arg.member then
  redis.call('ZREM', K.due, arg.member)
  return reply('gone')
end

local rec = read_driver(job.driver)
local lost_ms = rec and rec.lost_ms or 0
local away_ms = rec and rec.connected and -1 or now - lost_ms
local before_pickup = BEFORE_PICKUP[job.state]
local limit_ms = silence_ms(job, lost_ms)

-- Whether it was last seen around the mall; nil if only the caller can tell.
local function is_around_mall()
  if job.state == 'at_mall' then return true end
  local pos = rec and read_position(job.driver)
  if not pos then return false end
  local is_known = arg.near and arg.near.driver == job.driver and arg.near.received_ms == pos[1]
  if is_known then return arg.near.is_near end
  return nil
end

if before_pickup and away_ms >= limit_ms and limit_ms < policy.at_mall_silence_ms then
  local is_around = is_around_mall()
  if is_around == nil then
    return reply('where', job.driver, redis.call('HGET', K.positions, job.driver))
  end
  if is_around then limit_ms = policy.at_mall_silence_ms end
end

-- The holder is connected and on its way: the sweeper checks whether it is stuck.
if away_ms < 0 and job.state == 'assigned' and policy.stuck_ms then
  effects.late = { { mall = job.mall, job = job.id, driver = job.driver, attempt = job.attempt,
    lost_ms = 0 } }
  falls_due(arg.member, now + math.min(LOOK_AGAIN_MS, policy.stuck_ms))
  return reply('waits')
end

-- Make before break: the sweeper looks for a driver who arrives earlier, repeatedly until the
-- limit.
local looks_ms = job.state == 'assigned' and policy.break_ms or limit_ms
if away_ms >= looks_ms and away_ms < limit_ms then
  effects.late = { { mall = job.mall, job = job.id, driver = job.driver, attempt = job.attempt,
    lost_ms = lost_ms } }
  falls_due(arg.member, math.min(now + LOOK_AGAIN_MS, lost_ms + limit_ms))
  return reply('waits')
end

local verdict = 'waits'
if before_pickup and away_ms >= limit_ms then
  take_back_from(job, 'silent', 'engine', 'silent')
  return reply('silent')
elseif away_ms >= policy.resume_ms and job.alerted_ms ~= lost_ms then
  -- Once each time the driver is away.
  redis.call('HSET', job.key, 'alerted_ms', lost_ms)
  verdict = 'alerted'
  alert('driver_silent', { job = job.id, service = job.service, driver = job.driver,
    state = job.state })
end

if not before_pickup and (away_ms < 0 or away_ms >= policy.resume_ms) then
  -- A parcel on board is never taken back. The next disconnect adds the entry again.
  redis.call('ZREM', K.due, arg.member)
elseif away_ms < 0 then
  falls_due(arg.member, now + policy.resume_ms)
else
  local next_ms = away_ms < policy.resume_ms and policy.resume_ms or limit_ms
  if away_ms < looks_ms then next_ms = math.min(next_ms, looks_ms) end
  falls_due(arg.member, lost_ms + next_ms)
end
return reply(verdict)
