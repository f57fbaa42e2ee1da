"""Every route of the HTTP side."""

from collections.abc import Callable
from functools import cache
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mallard_engine.gateway.auth import Principal
from mallard_engine.gateway.http.endpoints.jobs import JobsApi
from mallard_engine.gateway.http.endpoints.markets import MarketsApi
from mallard_engine.gateway.http.endpoints.operators import OperatorsApi
from mallard_engine.gateway.http.endpoints.positions import DriverFixesApi
from mallard_engine.gateway.http.problems import HttpProblem
from mallard_engine.gateway.http.request_parsing import encode_json
from mallard_engine.gateway.http.routing import ORDERS, Method, route
from mallard_engine.gateway.services import Services
from mallard_protocol.codes import ProblemCode
from mallard_protocol.schema import asyncapi, openapi

# They change with a release only.
_DOCUMENTS_KEPT: Final = "public, max-age=300"


def routes(services: Services) -> list[Route]:
    """The order API, the operators' and the contract documents.

    The application answers errors with ``problems.EXCEPTION_HANDLERS``.
    """
    return [
        *JobsApi(services).routes(),
        *OperatorsApi(services).routes(),
        *MarketsApi(services).routes(),
        *DriverFixesApi(services).routes(),
        route("/v1/events", services.tokens, get=Method(_not_served, ORDERS)),
        route("/v1/jobs/{id}/events", services.tokens, get=Method(_not_served, ORDERS)),
        Route("/v1/driver", _no_upgrade),
        Route("/openapi.json", _openapi),
        Route("/asyncapi.json", _asyncapi),
        Route("/docs", _no_page),
    ]


async def _openapi(_request: Request) -> Response:
    return _document(openapi)


async def _asyncapi(_request: Request) -> Response:
    return _document(asyncapi)


def _document(make: Callable[[], Any]) -> Response:
    headers = {"cache-control": _DOCUMENTS_KEPT}
    return Response(_encoded(make), headers=headers, media_type="application/json")


@cache
def _encoded(make: Callable[[], Any]) -> bytes:
    return encode_json(make())


async def _no_upgrade(_request: Request) -> Response:
    """Plain HTTP where the driver socket is (RFC 9110, section 15.5.22)."""
    headers = {"Upgrade": "websocket", "Connection": "Upgrade"}
    raise HttpProblem(ProblemCode.UPGRADE_REQUIRED, headers=headers)


async def _not_served(_request: Request, _principal: Principal) -> Response:
    raise HttpProblem(ProblemCode.NOT_IMPLEMENTED)


async def _no_page(_request: Request) -> Response:
    raise HttpProblem(ProblemCode.NOT_IMPLEMENTED)
