"""TODO engine/mallard_engine/storage/embedded."""
