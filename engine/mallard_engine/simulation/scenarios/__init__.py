"""TODO engine/mallard_engine/simulation/scenarios."""
