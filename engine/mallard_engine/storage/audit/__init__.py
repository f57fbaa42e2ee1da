"""The read-only audit of a live Redis, behind `mallard check`."""
