-- Whether so many more may wait for an endpoint. One that has had no success for a while is disabled
-- instead; any other reads the events later (`behind`), however long they take.
local function has_room(endpoint, more)
  if redis.call('ZCARD', key('queue:' .. endpoint)) + more <= arg.most then return true end
  local failing = tonumber(redis.call('HGET', key('failing'), endpoint))
  if failing and now - failing >= arg.patience_ms then disable(endpoint, 'backlog') end
  return false
end
