"""The contract's documents, and plain HTTP on the path of the driver socket."""

from collections.abc import Callable
from functools import cache
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from mallard_engine.contract.asyncapi import asyncapi
from mallard_engine.contract.openapi import openapi
from mallard_engine.gateway.http.problems import HttpProblem
from mallard_engine.gateway.http.request_parsing import encode_json
from mallard_engine.gateway.http.routing import PublicHandler
from mallard_protocol.codes import ProblemCode

# The documents change with a release only.
_CACHE_CONTROL: Final = "public, max-age=300"


async def _openapi(_request: Request) -> Response:
    return _document(openapi)


async def _asyncapi(_request: Request) -> Response:
    return _document(asyncapi)


async def _upgrade_required(_request: Request) -> Response:
    """Refuse a request that is no WebSocket handshake (RFC 9110, section 15.5.22)."""
    headers = {"Upgrade": "websocket", "Connection": "Upgrade"}
    raise HttpProblem(ProblemCode.UPGRADE_REQUIRED, headers=headers)


DOCUMENT_HANDLERS: Final[dict[str, PublicHandler]] = {
    "getOpenApiDocument": _openapi,
    "getAsyncApiDocument": _asyncapi,
    "openDriverSocket": _upgrade_required,
}


def _document(make: Callable[[], Any]) -> Response:
    headers = {"cache-control": _CACHE_CONTROL}
    return Response(_encoded(make), headers=headers, media_type="application/json")


@cache
def _encoded(make: Callable[[], Any]) -> bytes:
    return encode_json(make())
