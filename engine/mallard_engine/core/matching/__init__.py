"""TODO engine/mallard_engine/core/matching."""
