"""Raises the rate of orders step by step, and shows how latency and use follow."""
