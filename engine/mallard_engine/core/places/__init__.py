"""TODO engine/mallard_engine/core/places."""
