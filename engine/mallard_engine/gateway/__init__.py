"""What the world talks to: driver sockets and the order API."""
