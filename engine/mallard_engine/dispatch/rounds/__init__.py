"""Rounds of malls, batches of markets, and runs."""
