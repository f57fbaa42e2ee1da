"""TODO load_tests/benchmarks/pages."""
