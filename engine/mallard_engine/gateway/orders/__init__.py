"""TODO engine/mallard_engine/gateway/orders."""
