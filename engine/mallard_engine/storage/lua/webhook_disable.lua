#!lua flags=allow-oom
-- Gives an endpoint of webhooks no more events and drops what waits for it.
-- KEYS: endpoints
-- ARGV: now arg{id reason}
-- REPLY: ok | over
-- include lib/webhooks.lua

return { disable(arg.id, arg.reason) and 'ok' or 'over' }
