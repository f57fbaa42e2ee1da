"""Noisy drives to malls, and what the geofence makes of them."""
