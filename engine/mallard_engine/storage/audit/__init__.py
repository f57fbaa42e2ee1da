"""The read-only audit of a live store, behind `mallard check`."""
