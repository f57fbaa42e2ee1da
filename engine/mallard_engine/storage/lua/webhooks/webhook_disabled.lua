#!lua flags=allow-oom
-- Writes the event that an endpoint of webhooks was disabled. An operator's endpoint has no
-- service.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming
-- ARGV: now policy arg{webhook owner service reason disabled_ms undelivered_ms?}
-- REPLY: ok effects pushes
-- include lib/base.lua

event({ kind = 'webhook', what = 'disabled', webhook = arg.webhook, owner = arg.owner,
  service = arg.service, reason = arg.reason, disabled_at_ms = arg.disabled_ms,
  undelivered_since_ms = arg.undelivered_ms })
return reply('ok')
