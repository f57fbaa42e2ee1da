"""TODO engine/mallard_engine/simulation/mdrp."""
