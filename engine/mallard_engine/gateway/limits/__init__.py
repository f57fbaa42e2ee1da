"""Limits of clients: connections, request rates, and a share of the event loop."""
