"""TODO engine/mallard_engine/core/runs."""
