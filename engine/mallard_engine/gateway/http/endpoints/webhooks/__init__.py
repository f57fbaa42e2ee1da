"""Endpoints of webhooks: handlers, and what their owners see."""
