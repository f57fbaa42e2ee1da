"""The drivers of a node: reach, arrivals, disconnects, upcoming drivers, dwell times."""
