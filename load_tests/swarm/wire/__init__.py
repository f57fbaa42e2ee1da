"""The swarm's own HTTP and WebSocket clients, cheap enough for thousands of drivers a process."""
