"""Batch rounds: the jobs and drivers of a market as one assignment problem."""
