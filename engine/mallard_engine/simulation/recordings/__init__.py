"""TODO engine/mallard_engine/simulation/recordings."""
