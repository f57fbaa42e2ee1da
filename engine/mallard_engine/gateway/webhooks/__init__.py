"""Webhooks: queues events for endpoints, posts them signed, and repeats what fails."""
