"""Rounds: scheduling, malls, batches and runs."""
