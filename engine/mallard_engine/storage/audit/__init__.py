"""TODO engine/mallard_engine/storage/audit."""
