"""Pickup inside a mall: tours of shops, dwell times, plans and pickup deadlines."""
