"""The gateway: driver sockets, the HTTP API, and the node that composes all parts."""
