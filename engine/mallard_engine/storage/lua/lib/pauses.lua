-- Where operators have paused matching: a hash by place, which is `*` for the market, the mall, or
-- mall/store. The key is derived, so that the other keys keep their positions; it shares the
-- market's hash tag. Every script that makes an offer reads it, so a pause takes effect on all
-- nodes at once.
K.pauses = K.due:sub(1, -4) .. 'pauses'

-- Whether one of these jobs, all of one mall, may not be offered now. Needs lib/room.lua.
function K.is_paused(jobs)
  if redis.call('EXISTS', K.pauses) == 0 then return false end
  local places = { '*', jobs[1].mall }
  for _, job in ipairs(jobs) do
    local need, done = need_of(job), {}
    for _, store in ipairs(need.done or {}) do done[store] = true end
    -- All stores if nothing is left to collect, as Need.visits in core/model/load.py.
    local is_all = #(need.done or {}) >= #(need.stores or {})
    for _, store in ipairs(need.stores or {}) do
      if is_all or not done[store] then places[#places + 1] = job.mall .. '/' .. store end
    end
  end
  for _, pause in ipairs(redis.call('HMGET', K.pauses, unpack(places))) do
    if pause then return true end
  end
  return false
end
