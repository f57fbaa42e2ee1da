"""TODO engine/mallard_engine/config."""
