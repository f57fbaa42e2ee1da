"""Load on an engine, from the outside: users, shapes, benchmarks."""
