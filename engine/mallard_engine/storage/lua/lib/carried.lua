-- The jobs that a transfer carries. They stay with its first driver until the second driver has
-- them. Jobs that are delivered, returned or closed meanwhile leave the transfer.
local function carried_names(job)
  return list_of(redis.call('HGET', job.key, 'carries'))
end

-- The carried jobs that the first driver still has on board. If their keys, which follow
-- `first_key` in the order of `names`, are not all passed: nil, and the keys that the caller must
-- pass.
local function read_carried(job, names)
  local keys, live, first = {}, {}, redis.call('HGET', job.key, 'first')
  for i = 15, #KEYS do keys[KEYS[i]:match(':job:(.+)$') or ''] = KEYS[i] end
  for _, name in ipairs(names) do
    if not keys[name] then return nil end
    local each = read_job(keys[name])
    local is_here = each and each.driver == first and each.transfer == job.mall .. '/' .. job.id
    if is_here and (each.state == 'picked_up' or each.state == 'returning') then
      live[#live + 1] = each
    end
  end
  return live, first
end
