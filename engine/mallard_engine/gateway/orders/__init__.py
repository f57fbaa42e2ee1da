"""From an order service's request to a complete, stored order."""
