#!lua flags=allow-oom
-- A driver reports a problem: always an event; a store that cannot hand over is held for a while.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming holds
-- ARGV: now policy arg{driver kind mall job store until_ms? text}
-- REPLY: ok effects pushes driver[record position] | not_yours
-- include lib/base.lua
-- include lib/drivers.lua

local HOLDS = KEYS[14]
local HOLDS_STORE = { not_ready = true, store_closed = true }
local ALERTS = { unsafe = true, accident = true }

local rec = read_driver(arg.driver)
if not rec or (arg.job ~= '' and not holds(rec, arg.job)) then return reply('not_yours') end
event({ kind = ALERTS[arg.kind] and 'alert' or 'problem', what = arg.kind, driver = arg.driver,
  job = arg.job, mall = arg.mall, store = arg.store, until_ms = arg.until_ms, text = arg.text })
if HOLDS_STORE[arg.kind] and arg.mall ~= '' and arg.store ~= '' then
  -- Its word holds the store for everybody: no longer than anybody would believe it.
  local till = math.min(arg.until_ms or now + policy.hold_ms, now + policy.longest_hold_ms)
  redis.call('HSET', HOLDS, arg.mall .. '/' .. arg.store, till .. ' ' .. arg.kind)
  redis.call('ZADD', K.forget, till, 'hold/' .. arg.mall .. '/' .. arg.store)
end
return reply('ok', told(arg.driver))
