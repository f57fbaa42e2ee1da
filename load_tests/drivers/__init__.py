"""The simulated driver app of both load generators, and the events that it records."""
