"""TODO clients/python/mallard_client/http."""
