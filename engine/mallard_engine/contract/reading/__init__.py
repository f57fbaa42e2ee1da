"""How the server reads what clients send: strictly, in bounded time."""
