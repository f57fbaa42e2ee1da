-- The states in which a job has ended.
local TERMINAL = { delivered = true, returned = true, cancelled = true, expired = true,
  lost = true, failed = true }
