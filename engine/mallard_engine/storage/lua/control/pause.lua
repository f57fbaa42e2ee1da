#!lua flags=allow-oom
-- Pauses or resumes matching at a place: the market (no mall), a mall, or a shop of it. Live
-- offers, runs and deadlines continue. changed: 0 for a repeat, which keeps the author of the first
-- pause.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming pauses
-- ARGV: now policy arg{mall store paused actor reason}
-- REPLY: ok effects pushes changed pause
-- include lib/base.lua

local PAUSES = KEYS[14]
local place = arg.store ~= '' and arg.mall .. '/' .. arg.store
  or arg.mall ~= '' and arg.mall or '*'
local packed = redis.call('HGET', PAUSES, place)
local changed = 0
if arg.paused and not packed then
  packed = cmsgpack.pack({ now, arg.actor, arg.reason })
  redis.call('HSET', PAUSES, place, packed)
  changed = 1
elseif not arg.paused and packed then
  redis.call('HDEL', PAUSES, place)
  packed, changed = false, 1
end
if changed == 1 then
  event({ kind = 'market', what = arg.paused and 'paused' or 'resumed',
    mall = arg.mall ~= '' and arg.mall or nil, store = arg.store ~= '' and arg.store or nil,
    actor = arg.actor, reason = arg.reason ~= '' and arg.reason or nil })
end
return reply('ok', changed, packed or '')
