"""Positions: what a fix costs in Redis."""
