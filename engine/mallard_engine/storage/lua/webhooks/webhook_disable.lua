#!lua flags=allow-oom
-- Disables an endpoint of webhooks and drops the deliveries that wait for it.
-- KEYS: endpoints
-- ARGV: now arg{id reason}
-- REPLY: ok | over
-- include lib/webhooks.lua

return { disable(arg.id, arg.reason) and 'ok' or 'over' }
