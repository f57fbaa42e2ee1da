"""The operations of the HTTP API, one module for each tag of the OpenAPI document."""
