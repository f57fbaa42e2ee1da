-- The jobs of a customer, as ref/service/job: the order names the customer
-- (`dropoff.customer_ref`). No header declares the key; it shares the market's hash tag. Each job
-- has an entry `customer/…` of `forget`, which outlives it.
local BY_CUSTOMER = K.forget:sub(1, -7) .. 'by_customer'

local function customer_name(job, ref)
  return ref .. '/' .. job.service .. '/' .. job.id
end

local function list_by_customer(job, ref)
  local name = customer_name(job, ref)
  redis.call('ZADD', BY_CUSTOMER, 0, name)
  redis.call('ZADD', K.forget, now + policy.terminal_kept_ms, 'customer/' .. name)
end

local function leave_by_customer(job, ref)
  local name = customer_name(job, ref)
  redis.call('ZREM', BY_CUSTOMER, name)
  redis.call('ZREM', K.forget, 'customer/' .. name)
end
