"""Benchmark: the client CPU time of a call to Redis."""
