"""Bad days: which events happen to which order and driver, and where the parcels end up."""
