"""TODO clients/python/mallard_client/orders."""
