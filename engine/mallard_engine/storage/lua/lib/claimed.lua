-- Custody gives the job a new attempt. Until the winner's phone has heard of it, its steps name the
-- attempt that it claimed with: they are its own while it holds the job under the new one.
local function is_holder(job, driver, attempt)
  if job.driver ~= driver then return false end
  if job.attempt == attempt then return true end
  for _, former in ipairs(job.former) do
    if former[1] == driver and former[2] == attempt and former[3] == job.attempt then
      return true
    end
  end
  return false
end
