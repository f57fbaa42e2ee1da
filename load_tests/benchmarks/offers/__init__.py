"""Benchmark: offer latency, from an order's due time to its driver."""
