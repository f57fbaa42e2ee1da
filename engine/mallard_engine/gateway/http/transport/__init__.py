"""HTTP/1.1 for uvicorn with limits on heads, bodies, pipelining and unread answers."""
