"""TODO engine/mallard_engine/workload."""
