-- The pay of a job rises by the market's step after each round in which no driver took it, up to
-- its pay.max_minor. The field pay_minor holds the pay once it has risen; an accepted job keeps it.
local TOOK_NONE = { declined = true, expired = true, unacknowledged = true }

local function raise_pay(job, outcome)
  if not TOOK_NONE[outcome] then return end
  local need = cmsgpack.unpack(job.need)
  local pay, most = job.pay_minor or need.pay_minor or 0, need.pay_max_minor or 0
  if pay >= most then return end
  job.pay_minor = math.min(most, pay + policy.pay_step_minor)
  redis.call('HSET', job.key, 'pay_minor', string.format('%d', job.pay_minor))
end
