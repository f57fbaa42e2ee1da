"""Every route of the HTTP side."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from engine.gateway.auth import Principal
from engine.gateway.bodies import JsonResponse
from engine.gateway.deps import Deps
from engine.gateway.driver_fixes_api import DriverFixesApi
from engine.gateway.endpoints import ORDERS, Method, route
from engine.gateway.jobs_api import JobsApi
from engine.gateway.markets_api import MarketsApi
from engine.gateway.operators_api import OperatorsApi
from engine.gateway.problems import HttpProblem
from protocol.codes import ProblemCode
from protocol.schema import asyncapi, openapi


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
        Route("/openapi.json", _openapi),
        Route("/asyncapi.json", _asyncapi),
        Route("/docs", _no_page),
    ]


async def _openapi(_request: Request) -> Response:
    return JsonResponse(openapi())


async def _asyncapi(_request: Request) -> Response:
    return JsonResponse(asyncapi())


async def _not_served(_request: Request, _principal: Principal) -> Response:
    raise HttpProblem(ProblemCode.NOT_IMPLEMENTED)


async def _no_page(_request: Request) -> Response:
    raise HttpProblem(ProblemCode.NOT_IMPLEMENTED)
