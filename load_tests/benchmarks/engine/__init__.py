"""The engine as a contestant of the benchmarks, which answers questions on standard input."""
