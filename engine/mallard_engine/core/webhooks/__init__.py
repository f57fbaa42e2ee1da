"""Webhooks: which events an endpoint gets, when they are repeated, where they may go."""
