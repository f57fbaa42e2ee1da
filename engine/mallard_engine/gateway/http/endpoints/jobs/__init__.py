"""The endpoints of an order service for its jobs."""
