"""TODO engine/mallard_engine/core/pickup."""
