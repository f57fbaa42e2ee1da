-- Alerts for operators: the hash `alerts` by id, and their ids by age in `alerts_open` and
-- `alerts_done` (acknowledged). The keys are derived, since any transition may raise an alert; they
-- share the market's hash tag. An id contains its market and sorts by age.
K.alerts = K.due:sub(1, -4) .. 'alerts'
K.alerts_open, K.alerts_done = K.alerts .. '_open', K.alerts .. '_done'

-- Stores the alert in the transition that raises it, and writes it as an event.
local function alert(what, fields)
  local number = redis.call('HINCRBY', K.alerts, 'raised', 1)
  local id = string.format('alert_%s.%014.0f-%09d', K.due:match('{(.-)}'), now, number)
  fields.kind, fields.what, fields.alert, fields.at = 'alert', what, id, now
  effects.alerts = effects.alerts or {}
  effects.alerts[#effects.alerts + 1] = what
  redis.call('HSET', K.alerts, id, cmsgpack.pack(fields))
  redis.call('ZADD', K.alerts_open, now, id)
  -- Of more than 2,000 the oldest are dropped, acknowledged ones first.
  if redis.call('HLEN', K.alerts) > 2001 then
    local oldest = redis.call('ZPOPMIN', K.alerts_done)[1]
      or redis.call('ZPOPMIN', K.alerts_open)[1]
    redis.call('HDEL', K.alerts, oldest)
  end
  event(fields)
end
