#!lua flags=allow-oom
-- Offers the job of a staggered round to its next driver, at the same attempt, if that is due;
-- without a gap, to all remaining drivers. early: not due yet. nobody: no driver of its ranking is
-- free.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming wait job
-- ARGV: now policy arg{member}
-- REPLY: offered effects pushes asked | nobody | early | gone
-- include lib/base.lua
-- include lib/drivers.lua
-- include lib/jobs.lua
-- include lib/offers.lua
-- include lib/staggering.lua

local job = read_job(KEYS[15])
local round = job and job.state == 'offered' and rounds().read(job)
if not round or round.asked >= round.most or #round.rest == 0 then
  -- The due entry has outlived its round.
  redis.call('ZREM', K.due, arg.member)
  return reply('gone')
end
if now < round.next_ms then
  falls_due(arg.member, round.next_ms)
  return reply('early')
end
local goes = staggering()
local driver = goes.ask_next(job, round)
if round.gap_ms == 0 then
  while goes.ask_next(job, round) do end
  round.rest = {} -- drivers who could not be asked at once are not asked in this round
elseif not driver then
  round.next_ms = now + round.gap_ms
end
goes.save(job, round)
if not driver then return reply('nobody') end
return reply('offered', round.asked)
