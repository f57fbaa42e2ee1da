"""Benchmark: the cost of a position in Redis."""
