"""TODO engine/mallard_engine/gateway/limits."""
