"""TODO load_tests/faults."""
