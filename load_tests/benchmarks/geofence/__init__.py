"""Benchmark: arrivals by geofence from noisy traces of drives to malls."""
