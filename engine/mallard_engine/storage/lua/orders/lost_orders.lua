#!lua flags=allow-oom
-- Alerts operators to orders that a node has confirmed and that a failover has lost. An order is
-- given as its job, service, external id and creation in ms.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming job...
-- ARGV: now policy arg{orders}
-- REPLY: ok effects pushes lost[job …]
-- include lib/base.lua

local lost = {}
for i, order in ipairs(arg.orders) do
  if redis.call('EXISTS', KEYS[13 + i]) == 0 then
    alert('job_lost', { job = order[1], service = order[2], external_id = order[3],
      created_ms = order[4] })
    lost[#lost + 1] = order[1]
  end
end
return reply('ok', lost)
