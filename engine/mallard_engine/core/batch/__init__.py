"""TODO engine/mallard_engine/core/batch."""
