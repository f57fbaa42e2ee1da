"""The operations of the HTTP API as a table."""
