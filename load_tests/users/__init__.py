"""TODO load_tests/users."""
