"""Answers cross-origin requests of browsers from the allowed origins (Fetch standard, CORS).

No route reads a cookie, so credentials are never allowed: a page must send a token itself.
"""

from collections.abc import Collection
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_PREFIX: Final = "/v1/"
_METHODS: Final = "GET, HEAD, POST, PUT, PATCH, DELETE"
_REQUEST_HEADERS: Final = (
    "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID,"
    " X-Request-Id, traceparent"
)
_EXPOSED_HEADERS: Final = (
    "Location, ETag, Last-Event-ID, Retry-After, RateLimit, RateLimit-Policy, Idempotent-Replayed,"
    " X-Request-Id"
)
_PREFLIGHT_MAX_AGE_S: Final = "600"
_VARY: Final = "Origin"


class Cors:
    """ASGI middleware that adds CORS headers to responses under `/v1/`."""

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        self._app = app
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a preflight, or pass the request on and add headers to the response."""
        if scope["type"] != "http" or not self._origins or not scope["path"].startswith(_PREFIX):
            await self._app(scope, receive, send)
            return
        request = Headers(scope=scope)
        origin = request.get("origin", "")
        is_allowed = origin in self._origins
        is_preflight = scope["method"] == "OPTIONS" and "access-control-request-method" in request
        if is_allowed and is_preflight:
            await _preflight(origin)(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                # For every origin: a cache must not answer one page with another page's response.
                headers.add_vary_header(_VARY)
                if is_allowed:
                    headers["Access-Control-Allow-Origin"] = origin
                    headers["Access-Control-Expose-Headers"] = _EXPOSED_HEADERS
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _preflight(origin: str) -> Response:
    return Response(
        status_code=204,
        headers={
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Allow-Methods": _METHODS,
            "Access-Control-Allow-Headers": _REQUEST_HEADERS,
            "Access-Control-Max-Age": _PREFLIGHT_MAX_AGE_S,
            "Vary": _VARY,
        },
    )
