"""TODO engine/mallard_engine/gateway/http."""
