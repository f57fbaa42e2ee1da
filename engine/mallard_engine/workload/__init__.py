"""Simulated drivers and orders, and the processes that serve them: for demos and load tests."""
