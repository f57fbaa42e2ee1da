#!lua flags=allow-oom
-- Takes drivers whose sockets have closed out of matching; fenced by epoch, so that a late close of
-- an old socket cannot evict the new session. Epoch 0: any socket of a dead node; alive: the node
-- has renewed its lease in the meantime.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming held
-- ARGV: now policy arg{node closed[{driver epoch}]}
-- REPLY: ok effects pushes | alive
-- include lib/base.lua
-- include lib/drivers.lua

local HELD = KEYS[14]
local is_reaping = arg.closed[1] and arg.closed[1][2] == 0
if is_reaping and is_alive(arg.node) then return reply('alive') end

for _, closed in ipairs(arg.closed) do
  local driver, epoch = closed[1], closed[2]
  local rec = read_driver(driver)
  local ours = rec and rec.connected and rec.node == arg.node
  if ours and (epoch == 0 or rec.epoch == epoch) then
    rec.connected, rec.lost_ms = false, now
    for _, held in ipairs(rec.jobs) do
      falls_due('silent/' .. held.mall .. '/' .. held.job,
        now + (policy.break_ms or policy.resume_ms))
    end
    save_driver(driver, rec)
    redis.call('SREM', HELD, driver)
    event({ kind = 'driver', driver = driver, what = 'disconnected', epoch = rec.epoch,
      wish = rec.wish })
  elseif not ours then
    redis.call('SREM', HELD, driver)
  end
end
return reply('ok')
