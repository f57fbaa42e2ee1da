"""Converts the engine's data to the bodies of the HTTP API."""
