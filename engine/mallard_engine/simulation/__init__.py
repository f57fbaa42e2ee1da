"""Whole days through the real dispatcher, scripts and Redis, in virtual time."""
