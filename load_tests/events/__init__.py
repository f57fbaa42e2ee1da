"""Measures what readers of events cost, and how soon they hear."""
