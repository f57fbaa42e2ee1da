#!lua flags=allow-oom
-- Follows up on a change of a transfer or of a job that it carries: ends a transfer that no longer
-- carries a job, and notifies the first driver once of each change of the transfer.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming wait job...
-- ARGV: now policy arg{member}
-- REPLY: ok effects pushes | gone | run … jobs
-- include lib/base.lua
-- include lib/drivers.lua
-- include lib/jobs.lua
-- include lib/offers.lua
-- include lib/holders.lua
-- include lib/carried.lua

local job = read_job(KEYS[15])
if not job or job.kind ~= 'transfer' then
  redis.call('ZREM', K.due, arg.member)
  return reply('gone')
end
local names = carried_names(job)
local live, first = read_carried(job, names)
if not live then
  table.insert(names, 1, job.id)
  return reply('run', names)
end

redis.call('ZREM', K.due, arg.member)
if #live == 0 and BEFORE_PICKUP[job.state] then
  if job.state == 'offered' then
    close_offer(job, { job }, 'withdrawn', 'cancelled')
  elseif job.driver ~= '' then
    take_from_holder(job, 'cancelled', 'nothing_to_transfer')
    job.driver = ''
  end
  move(job, 'cancelled', 'engine', 'cancelled', nil, 'nothing_to_transfer')
  redis.call('ZREM', K.due, arg.member)
  return reply('ok')
end

if BEFORE_PICKUP[job.state] and #live < #names then
  local gone, is_live = {}, {}
  for _, each in ipairs(live) do is_live[each.id] = true end
  for _, name in ipairs(names) do
    if not is_live[name] then gone[#gone + 1] = name end
  end
  redis.call('HSET', job.key, 'gone', cmsgpack.pack(gone))
end
-- Which driver comes, or that the transfer is over. A declined offer is no news.
local news = job.driver .. (TERMINAL[job.state] and '/over' or '/open')
local rec = #live > 0 and read_driver(first)
if rec and redis.call('HGET', job.key, 'told') ~= news then
  redis.call('HSET', job.key, 'told', news)
  for _, each in ipairs(live) do notify_holder(each, rec, each.state, 'updated') end
  save_driver(first, rec)
end
return reply('ok')
