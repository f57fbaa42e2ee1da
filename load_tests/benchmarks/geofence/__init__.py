"""TODO load_tests/benchmarks/geofence."""
