"""What a driver reports, fixes and steps, until the engine has it."""
