"""The HTTP API: transport, routing, request parsing, rate limits, endpoints and views."""
