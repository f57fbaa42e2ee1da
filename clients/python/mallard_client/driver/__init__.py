"""TODO clients/python/mallard_client/driver."""
