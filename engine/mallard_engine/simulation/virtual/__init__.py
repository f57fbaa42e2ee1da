"""Virtual time: clock, event loop, and a Redis client that runs on them."""
