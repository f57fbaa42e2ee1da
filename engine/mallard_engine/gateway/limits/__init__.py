"""Limits on what callers may take: connections, rates, and a share of the event loop."""
