"""TODO engine/mallard_engine/simulation/virtual."""
