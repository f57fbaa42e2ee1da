"""TODO load_tests/swarm/wire."""
