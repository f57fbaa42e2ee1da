"""The order service's side: `OrderClient` and its requests."""
