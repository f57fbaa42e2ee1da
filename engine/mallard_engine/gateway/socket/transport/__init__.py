"""The bytes of a driver's socket: frames, rate limit, back-pressure."""
