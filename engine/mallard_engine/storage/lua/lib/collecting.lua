-- Records that a shop has handed over parcels, as reported by the driver or the shop. Needs
-- lib/holding.lua, lib/room.lua and lib/dwell.lua.

-- Call it for the first parcel on board. The job must be `assigned` or `at_mall`.
local function pick_up(job, actor, dwell_key)
  local rec = read_driver(job.driver)
  if job.state == 'assigned' then
    move(job, 'at_mall', actor, 'arrived')
  elseif policy.learns_dwell and #rec.jobs == 1 then
    note_stay(dwell_key, job)
  end
  move(job, 'picked_up', actor, 'picked_up', silence_limit(rec))
  if note_arrival(rec, job) then save_driver(job.driver, rec) end
end

-- Notes that the shop has handed over `parcels` to the job's holder, and applies what follows.
-- Returns wrong_state or bad_field, or nil.
local function collect(job, shop, parcels, actor, by_driver, dwell_key)
  parcels = parcels or shop.there or shop.parcels
  if parcels > shop.parcels then return 'bad_field' end
  local is_done = shop.collected == parcels and not is_open(shop) and shop.state ~= 'closed'
  if is_done and job.state ~= 'lost' then return nil end
  local is_before = job.state == 'assigned' or job.state == 'at_mall'
  if not is_before and job.state ~= 'picked_up' then return 'wrong_state' end
  if is_before and parcels > 0 then pick_up(job, actor, dwell_key) end
  note_collected(job, shop, parcels, actor)
  save_shops(job)
  if parcels < shop.parcels then
    apply_rule(job, shop, parcels > 0 and 'short' or 'missing', nil, actor, by_driver)
    if job.state == 'picked_up' and parcels_on_board(job) == 0
      and not has_other_open(job, shop) then
      alert('nothing_on_board', { job = job.id, service = job.service, driver = job.driver })
    end
  end
  return nil
end
