"""TODO engine/mallard_engine/gateway/socket."""
