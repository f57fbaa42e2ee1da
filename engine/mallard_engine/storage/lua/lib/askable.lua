-- Whether a driver may be offered a job now, and where one more job would fit into its run.
local function is_fresh(pos)
  return pos and now - pos[1] <= policy.stale_ms
end

local function is_alive(node)
  local lease = redis.call('ZSCORE', K.nodes, node)
  return lease and tonumber(lease) > now
end

-- Regardless of what it holds.
local function may_be_asked(rec, pos)
  return rec.wish == 'available' and rec.connected and not rec.suspended and not rec.unreachable
    and not rec.offer and rec.cool_until_ms <= now
    and (not rec.until_ms or rec.until_ms > now) and is_fresh(pos) and is_alive(rec.node)
end

-- The maximum number of jobs that it may hold.
local function most_jobs(rec)
  return math.min(policy.max_run_jobs, rec.vehicle and rec.vehicle.max_jobs or 1)
end

-- Whether this job's drop-off, deadline and load are known. They are unknown if the driver accepted
-- it while the market, or the node that handled the accept, did not pool.
local function has_place(held)
  return held.deadline_ms ~= nil
end

-- The mall that the driver is on its way to, if it has room for one more job from there, or nil. An
-- express job (`alone`) leaves no room.
local function bound_for(rec)
  local first = rec.jobs[1]
  if not first or #rec.jobs >= most_jobs(rec) then return nil end
  for _, held in ipairs(rec.jobs) do
    if held.mall ~= first.mall or held.there or held.alone or not has_place(held) then
      return nil
    end
  end
  return first.mall
end
