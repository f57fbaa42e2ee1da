"""TODO engine/mallard_engine/simulation/reports."""
