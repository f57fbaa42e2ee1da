"""What the dispatcher knows of drivers: reach, arrivals, dwell times, expected duty."""
