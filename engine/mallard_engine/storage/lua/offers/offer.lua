#!lua flags=allow-oom
-- Offers the jobs of a plan to its first driver who is still free, if all of them still wait at
-- their attempts. gone: those that do not, by their places in the plan. paused: an operator has
-- paused matching. more: how many drivers a single job may be offered to in a staggered round,
-- gap_ms apart.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming wait job...
-- KEYS: round...
-- ARGV: now policy arg{offer attempts[attempt] drivers[{driver gate eta_s distance_m eta_pickup_ms
-- ARGV: eta_dropoff_ms ask_by_ms cell?}] etas? more?{most gap_ms offers[offer]}} record...
-- REPLY: offered effects pushes driver | nobody | paused | gone … places
-- include lib/base.lua
-- include lib/drivers.lua
-- include lib/jobs.lua
-- include lib/room.lua
-- include lib/offering.lua

local jobs, gone = {}, {}
for i, attempt in ipairs(arg.attempts) do
  local job = read_job(KEYS[14 + i])
  if job and job.state == 'offered' and job.offer == arg.offer then
    -- The reply to an earlier run of this call was lost.
    return reply('offered', cmsgpack.unpack(redis.call('HGET', K.offers, arg.offer)).driver)
  end
  if not job or job.state ~= 'queued' or job.attempt ~= attempt or now >= job.expires_ms then
    gone[#gone + 1] = i
  end
  jobs[i] = job
end
if #gone > 0 then return reply('gone', gone) end
if K.is_paused(jobs) then return reply('paused') end

local barred = barred_from(jobs)
for n, plan in ipairs(arg.drivers) do
  local rec = not barred[plan[1]] and read_driver(plan[1])
  if rec and may_take(rec, plan, jobs) then
    put_out(jobs, rec, plan, arg.etas and arg.etas[n], arg.more and true)
    if arg.more then begin_round(jobs[1], arg.drivers, n, arg.more) end
    return reply('offered', plan[1])
  end
end
return reply('nobody')
