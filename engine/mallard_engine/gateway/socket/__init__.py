"""Driver sockets: WebSocket protocol, handshake, session, requests, pushes and timers."""
