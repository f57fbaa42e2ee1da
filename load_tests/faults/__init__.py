"""Faults under load: store outages, and two releases on one store."""
