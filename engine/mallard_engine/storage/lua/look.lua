#!lua flags=no-writes,allow-cross-slot-keys
-- Says in which markets of a server there is something to do: by each question, whether the key of
-- that name exists, or has members that are due. One call for all markets; those that this server
-- does not have make it fail. The keys are named by market and name, with the prefix of the first.
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
    -- One key a command: Valkey 8 in cluster mode runs no script any more after a command of a
    -- script has named keys of two slots.
    local key = prefix .. market .. suffix
    local count
    if is_timed then count = call('ZCOUNT', key, '-inf', now) else count = call('EXISTS', key) end
    if count > 0 then found[#found + 1] = i end
  end
  answers[q] = found
end
return answers
