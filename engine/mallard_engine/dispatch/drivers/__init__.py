"""TODO engine/mallard_engine/dispatch/drivers."""
