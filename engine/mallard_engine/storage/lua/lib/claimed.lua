-- Custody gives the job a new attempt. Until the app of the driver who has it learns the new
-- attempt, its steps name the attempt of its claim. They are accepted while it holds the job at the
-- new one.
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
