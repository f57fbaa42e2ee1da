"""Starts and measures the contestants of the benchmarks of whole systems."""
