"""Benchmark: the CPU time of a position over a socket."""
