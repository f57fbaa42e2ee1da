"""Faults under load: outages of Redis, and two releases on one Redis."""
