#!lua flags=allow-oom
-- Reassigns a job (make before break): takes it off a holder who is silent or (lost_ms 0) stuck on
-- its way, and offers it in the same step to the first driver of the plan who is still free. If
-- no driver is free, or the holder has reconnected, the job stays with its holder.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming wait job round
-- ARGV: now policy arg{offer attempt holder lost_ms drivers[{driver gate eta_s distance_m eta_pickup_ms
-- ARGV: eta_dropoff_ms ask_by_ms cell?}]} record
-- REPLY: offered effects pushes driver | nobody | paused | gone
-- include lib/base.lua
-- include lib/drivers.lua
-- include lib/jobs.lua
-- include lib/holders.lua
-- include lib/room.lua
-- include lib/offering.lua
-- include lib/shops.lua
-- include lib/holding.lua
-- include lib/hold_end.lua

local job = read_job(KEYS[15])
if job and job.state == 'offered' and job.offer == arg.offer then
  -- The reply to an earlier run of this call was lost.
  return reply('offered', cmsgpack.unpack(redis.call('HGET', K.offers, arg.offer)).driver)
end
local holder = job and job.driver == arg.holder and read_driver(arg.holder)
local is_silent = holder and not holder.connected and holder.lost_ms == arg.lost_ms
  and now - holder.lost_ms >= (policy.break_ms or policy.resume_ms)
local is_stuck = holder and arg.lost_ms == 0 and holder.connected and policy.stuck_ms
if not (is_silent or is_stuck) or job.state ~= 'assigned' or job.attempt ~= arg.attempt
  or now >= job.expires_ms or unanswered(job) then
  return reply('gone')
end

if K.is_paused({ job }) then return reply('paused') end
local barred = barred_from({ job })
for _, plan in ipairs(arg.drivers) do
  local is_other = plan[1] ~= arg.holder and not barred[plan[1]]
  local rec = is_other and read_driver(plan[1])
  if rec and #rec.jobs == 0 and may_take(rec, plan, { job }) then
    local outcome = is_silent and 'silent' or 'unassigned'
    revoke(job, outcome, 'engine', is_silent and 'silent' or 'late')
    effects.malls, effects.queued, effects.due = {}, {}, {} -- offered already: no round is needed
    put_out({ job }, rec, plan)
    return reply('offered', plan[1])
  end
end
return reply('nobody')
