"""Orders: completing and checking a request, and changing the ready time of a stored order."""
