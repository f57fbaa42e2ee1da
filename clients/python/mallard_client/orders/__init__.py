"""The client of an order service: `OrderClient` and its requests."""
