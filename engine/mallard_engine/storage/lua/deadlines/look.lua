#!lua flags=no-writes,allow-cross-slot-keys
-- Finds the markets of a server in which there is work. Each question asks whether the key of that
-- name exists, or has members that are due. One call covers all markets, and fails if one of them
-- is not on this server. A key's name is the prefix of the first key, the market and the question's
-- name.
-- KEYS: due
-- ARGV: now arg{markets[] questions[{key is_timed}]}
-- REPLY: answers[[place of a market …] …]
local arg = cmsgpack.unpack(ARGV[2])
local now = tonumber(ARGV[1])
if not now then
  local t = redis.call('TIME')
  now = t[1] * 1000 + math.floor(t[2] / 1000)
end
local prefix, call, answers = KEYS[1]:match('^(.-{)'), redis.call, {}
for q, question in ipairs(arg.questions) do
  local suffix, is_timed, found = '}:' .. question[1], question[2], {}
  for i, market in ipairs(arg.markets) do
    -- One key per command: in cluster mode, Valkey 8 runs no further scripts once a command in a
    -- script has named keys of two slots.
    local key = prefix .. market .. suffix
    local count
    if is_timed then count = call('ZCOUNT', key, '-inf', now) else count = call('EXISTS', key) end
    if count > 0 then found[#found + 1] = i end
  end
  answers[q] = found
end
return answers
