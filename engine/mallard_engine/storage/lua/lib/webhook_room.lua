-- Whether that many more deliveries may be queued for an endpoint now. While the endpoint has
-- successes, at most `pace` deliveries wait; it gets further events later (`behind`). Without a success
-- for patience_ms it is not paced, and it is disabled once `most` would wait.
local function has_room(endpoint, more)
  local waiting = redis.call('ZCARD', key('queue:' .. endpoint)) + more
  local failing = tonumber(redis.call('HGET', key('failing'), endpoint))
  if not failing or now - failing < arg.patience_ms then return waiting <= arg.pace end
  if waiting >= arg.most then
    disable(endpoint, 'backlog')
    return false
  end
  return true
end
