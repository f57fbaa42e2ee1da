"""TODO engine/mallard_engine/dispatch/rounds."""
