-- Whether operators allow a driver to be offered jobs. The register and the calls `suspend` and
-- `resume` change the same field.
local function set_suspended(id, rec, suspended, reason)
  if rec.suspended == suspended then return end
  rec.suspended = suspended
  rec.suspended_for = suspended and reason or nil
  push_state(id, rec, suspended and 'suspended' or 'resumed')
  event({ kind = 'driver', driver = id, what = suspended and 'suspended' or 'resumed',
    reason = reason })
end

-- The record of a driver that the register names before it has said hello.
local function registered_driver(id, profile)
  local rec = new_driver(id)
  equip(rec, profile)
  return rec
end
