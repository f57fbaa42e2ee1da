#!lua flags=allow-oom
-- Returns the names by which one order service sees drivers: the alias of the register, else that
-- of the token, else a random one. A random name is kept for this service while it asks for it.
-- KEYS: drivers registry alias...
-- ARGV: now arg{drivers[] names[] kept_ms}
-- REPLY: name...
local arg = cmsgpack.unpack(ARGV[2])

local function given(driver)
  local packed = redis.call('HGET', KEYS[2], driver)
  local alias = packed and cmsgpack.unpack(packed).alias
  if alias then return alias end
  local record = redis.call('HGET', KEYS[1], driver)
  local claims = record and cmsgpack.unpack(record).claims
  return claims and claims.alias
end

local names = {}
for i, driver in ipairs(arg.drivers) do
  local key = KEYS[i + 2]
  local name = given(driver)
  if not name then
    name = redis.call('GET', key)
    if not name then
      name = arg.names[i]
      redis.call('SET', key, name, 'PX', arg.kept_ms)
    elseif redis.call('PTTL', key) < arg.kept_ms / 2 then
      redis.call('PEXPIRE', key, arg.kept_ms)
    end
  end
  names[i] = name
end
return names
