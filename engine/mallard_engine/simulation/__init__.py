"""Whole days through the real dispatcher, scripts and store, in virtual time."""
