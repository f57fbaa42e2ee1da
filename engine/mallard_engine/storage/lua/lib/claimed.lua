-- Custody gives the job a new attempt. Until the winner's app knows it, its steps name the attempt
-- of its claim: they are accepted while it holds the job at the new one.
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
