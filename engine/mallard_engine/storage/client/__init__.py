"""The Redis client: address, connection, pipelining and recovery."""
