#!lua flags=allow-oom
-- Closes a shop at its own request until until_ms; 0 or a past time opens it again, whatever
-- drivers have reported. While it is closed, neither a driver's report nor the readiness of one
-- order shortens the hold. changed: 0 for a repeat.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming holds
-- ARGV: now policy arg{mall store until_ms actor}
-- REPLY: ok effects pushes changed
-- include lib/base.lua
-- include lib/holds.lua

local HOLDS = KEYS[14]
local place = arg.mall .. '/' .. arg.store
local till = arg.until_ms > now and arg.until_ms or 0
local is_repeat = till == own_word(HOLDS, place)
if till == 0 then
  is_repeat = redis.call('HDEL', HOLDS, place, 'closed/' .. place, 'word/' .. place) == 0
  redis.call('ZREM', K.forget, 'hold/' .. place)
elseif not is_repeat then
  redis.call('HSET', HOLDS, place, till, 'closed/' .. place, 1, 'word/' .. place, till)
  redis.call('ZADD', K.forget, till, 'hold/' .. place)
end
if not is_repeat then
  event({ kind = 'shop', what = till > 0 and 'closed' or 'opened', mall = arg.mall,
    store = arg.store, until_ms = till > 0 and till or nil, actor = arg.actor })
  effects.malls[1] = arg.mall
end
return reply('ok', is_repeat and 0 or 1)
