"""Benchmark: a flash sale at one mall, and its effect on other markets."""
