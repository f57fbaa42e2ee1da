"""Runs: pooling, drop-off order, stops, release by deadline."""
