#!lua flags=allow-oom
-- Rebuilds a driver's places in the indexes, and removes from its record what does not belong
-- there: an offer that is not live or is another driver's, and jobs that are not assigned to it.
-- The job's record decides who holds it. A driver without a record is removed from the indexes.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming held
-- ARGV: now policy arg{driver node malls[…] jobs[key …]}
-- REPLY: ok effects pushes did[what …] | changed
-- include lib/base.lua
-- include lib/drivers.lua
-- include lib/offers.lua
-- include lib/packed.lua
local HELD_STATE = { assigned = true, at_mall = true, picked_up = true, returning = true }
local ON_BOARD = { picked_up = true, returning = true }
local did = {}
local function done(what, count)
  if count and count ~= 0 then did[#did + 1] = what end
end

local driver = arg.driver
local rec = read_driver(driver)
local function places()
  local idle = redis.call('ZSCORE', K.idle, driver)
  local due = redis.call('ZSCORE', K.due, 'driver/' .. driver)
  local mall = rec and bound_for(rec)
  local coming = mall and redis.call('ZSCORE', K.coming, mall .. '/' .. driver)
  return (idle and 'idle' or '') .. (coming and 'coming' or '') .. (due or '')
end
local before = places()
if not rec then
  local count = redis.call('ZREM', K.idle, driver) + redis.call('ZREM', K.due, 'driver/' .. driver)
  for _, mall in ipairs(arg.malls) do
    count = count + redis.call('ZREM', K.coming, mall .. '/' .. driver)
  end
  done('out of the indexes: it has no record', count)
  return reply('ok', did)
end
if (rec.node or '') ~= arg.node then return reply('changed') end

for _, key in ipairs(arg.jobs) do refuse_packed(key) end
local offer = rec.offer and read_offer(rec.offer)
if rec.offer and (not offer or offer.state ~= 'live' or offer.driver ~= driver) then
  done('without its offer, which is not live', 1)
  rec.offer = nil
end
for _, key in ipairs(arg.jobs) do
  local job = redis.call('HMGET', key, 'id', 'state', 'driver', 'attempt', 'need')
  local i = job[1] and holds(rec, job[1])
  local attempt = tonumber(job[4] or nil)
  -- Only people can tell who has a parcel that is on board.
  if i and not ON_BOARD[job[2]] and (not HELD_STATE[job[2]] or job[3] ~= driver) then
    done('without ' .. job[1] .. ', which is not assigned to it', 1)
    drop_job(rec, job[1])
  elseif i and job[3] == driver and attempt > rec.jobs[i].attempt then
    done('with ' .. job[1] .. ' at its attempt', 1)
    rec.jobs[i].attempt = attempt
  end
  if i and rec.jobs[i] and rec.jobs[i].job == job[1] and rec.jobs[i].lat then
    local need = cmsgpack.unpack(job[5])
    local held = rec.jobs[i]
    if held.lat ~= need.lat or held.lon ~= need.lon or held.deadline_ms ~= need.deadline_ms then
      held.lat, held.lon, held.deadline_ms = need.lat, need.lon, need.deadline_ms
      done('with the place of ' .. job[1], 1)
    end
  end
end
for _, mall in ipairs(arg.malls) do
  if rec.coming ~= mall then
    done('not on its way to ' .. mall, redis.call('ZREM', K.coming, mall .. '/' .. driver))
  end
end
if rec.connected then done('in the set of its node', redis.call('SADD', KEYS[14], driver)) end
save_driver(driver, rec)
if places() ~= before then done('in the indexes anew', 1) end
return reply('ok', did)
