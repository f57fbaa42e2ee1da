"""TODO engine/mallard_engine/storage/client."""
