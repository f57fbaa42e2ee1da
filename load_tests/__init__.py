"""Load tests, benchmarks, faults and attacks, all from outside the engine."""
