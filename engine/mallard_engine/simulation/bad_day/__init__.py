"""A bad day in virtual time: its shops, customers, order service and drivers."""
