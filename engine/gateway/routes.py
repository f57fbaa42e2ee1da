"""Every route of the HTTP side."""

from collections.abc import Callable
from functools import cache
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from engine.gateway.auth import Principal
from engine.gateway.bodies import encode_json
from engine.gateway.deps import Deps
from engine.gateway.driver_fixes_api import DriverFixesApi
from engine.gateway.endpoints import ORDERS, Method, route
from engine.gateway.jobs_api import JobsApi
from engine.gateway.markets_api import MarketsApi
from engine.gateway.operators_api import OperatorsApi
from engine.gateway.problems import HttpProblem
from protocol.codes import ProblemCode
from protocol.schema import asyncapi, openapi

# They change with a release only.
_DOCUMENTS_KEPT: Final = "public, max-age=300"


def routes(deps: Deps) -> list[Route]:
    """The order API, the operators' and the contract documents.

    The application answers errors with ``problems.EXCEPTION_HANDLERS``.
    """
    return [
        *JobsApi(deps).routes(),
        *OperatorsApi(deps).routes(),
        *MarketsApi(deps).routes(),
        *DriverFixesApi(deps).routes(),
        route("/v1/events", deps.tokens, get=Method(_not_served, ORDERS)),
        route("/v1/jobs/{id}/events", deps.tokens, get=Method(_not_served, ORDERS)),
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
