"""The engine as a contestant of the benchmarks: driven by questions on its standard input."""
