"""Benchmark: full cycles per second of one process, and the CPU time of a cycle."""
