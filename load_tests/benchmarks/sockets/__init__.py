"""Benchmark: the memory and connect time of a driver's socket."""
