#!lua flags=allow-oom
-- Stores the policy settings that operators have set for a market, as the version after `expected`
-- (-1: any). The hash holds the `version` and each kept version by number. A repeated call whose
-- reply was lost gets the first reply.
-- KEYS: drivers positions idle nodes due offers waiting counts events push forget externals coming policy
-- ARGV: now policy arg{expected preset actor most} set
-- REPLY: ok effects pushes version record | stale … version
-- include lib/base.lua

local POLICY, SET = KEYS[14], ARGV[4]
local version = tonumber(redis.call('HGET', POLICY, 'version') or 0)
local function record_of(number)
  local packed = redis.call('HGET', POLICY, number)
  return packed and cmsgpack.unpack(packed) or nil, packed
end
local last, packed = record_of(version)
local is_repeat = last and arg.expected == version - 1 and last.actor == arg.actor
  and last.preset == arg.preset and last.set == SET
if is_repeat then return reply('ok', version, packed) end
if arg.expected >= 0 and arg.expected ~= version then return reply('stale', version) end
version = version + 1
packed = cmsgpack.pack({ preset = arg.preset, set = SET, actor = arg.actor, at = now })
redis.call('HSET', POLICY, 'version', version, version, packed)
redis.call('HDEL', POLICY, version - arg.most)
event({ kind = 'policy', what = 'changed', version = version, actor = arg.actor })
return reply('ok', version, packed)
