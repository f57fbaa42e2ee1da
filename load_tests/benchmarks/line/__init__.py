"""The line to Redis: what a call costs in the client."""
