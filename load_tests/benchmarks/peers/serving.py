"""uvicorn as the engine runs it (uvloop, httptools, `websockets-sansio`, no compression), around a
bare ASGI callable, and the two answers that a load generator needs before it begins."""

import argparse
import gc
import resource
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any, Final

import uvicorn

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

_MAX_FRAME_BYTES: Final = 16_384
_BACKLOG: Final = 4_096


def add_serving_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags for the address and the places."""
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument(
        "--markets", type=Path, required=True, help="what an engine answered to GET /v1/markets"
    )


def serve(app: App, options: argparse.Namespace) -> None:
    """Serve until a signal ends it. `app` gets all but GET /readyz and /v1/markets."""
    markets = options.markets.read_bytes()

    async def with_places(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "GET":
            await respond(send, 200, markets if scope["path"] == "/v1/markets" else b"{}")
        else:
            await app(scope, receive, send)

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    config = uvicorn.Config(
        with_places,
        loop="uvloop",
        http="httptools",
        ws="websockets-sansio",
        ws_max_size=_MAX_FRAME_BYTES,
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        ws_ping_timeout=None,
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        timeout_graceful_shutdown=1,
    )
    config.load()
    gc.collect()
    gc.freeze()  # as the engine does
    # Bound here, so that the port is known (port 0 takes a free one) and can be printed.
    listening = socket.create_server(("127.0.0.1", options.port), backlog=_BACKLOG)
    print(f"listens on http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
    uvicorn.Server(config).run(sockets=[listening])


async def respond(send: Send, status: int, body: bytes) -> None:
    """Answer a request with JSON."""
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def body_of(receive: Receive) -> bytes:
    """Return the whole body of a request."""
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)
