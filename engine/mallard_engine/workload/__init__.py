"""Simulated drivers and orders, and engine processes, for the demo, simulations and load tests."""
