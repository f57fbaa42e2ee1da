"""What those who run a node ask it: does it live, is it ready, how does it do."""

import contextlib
from collections import Counter

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mallard_engine.core.matching.fairness import spreads
from mallard_engine.gateway.http.problems import HttpProblem
from mallard_engine.gateway.http.request_parsing import JsonResponse
from mallard_engine.gateway.socket.services import SocketServices
from mallard_engine.metrics import CONTENT_TYPE
from mallard_engine.ports import StoreUnavailable
from mallard_protocol.codes import ProblemCode
from mallard_protocol.resources import Readiness

# How it is now is no answer for later.
_NOT_KEPT = {"cache-control": "no-store"}
# So many drivers tell how evenly work is spread; to read all would take long in a large market.
_SAMPLE = 512


def routes(services: SocketServices, *, with_metrics: bool) -> list[Route]:
    """The routes of `/livez`, `/readyz` and, if asked for, `/metrics`; they need no token."""

    async def livez(_: Request) -> Response:
        return _text("ok")

    async def readyz(_: Request) -> Response:
        if services.leaving.is_set():
            raise HttpProblem(ProblemCode.DRAINING, headers=_NOT_KEPT)
        if (outage := services.store.outage) is not None:
            raise HttpProblem(ProblemCode.STORE_UNAVAILABLE, outage, headers=_NOT_KEPT)
        body = Readiness("ready", tuple(services.store.warnings))
        return JsonResponse(body, headers=_NOT_KEPT)

    async def metrics(_: Request) -> Response:
        services.metrics.count_connections(len(services.connections))
        for market in services.places.markets:
            sessions = services.hub.sessions(market)
            services.metrics.count_drivers(market, Counter(each.shown.value for each in sessions))
        services.metrics.store_ready(ready=services.store.outage is None)
        with contextlib.suppress(StoreUnavailable):  # then the last figures stay
            await _count_jobs(services)
        return Response(services.metrics.render(), media_type=CONTENT_TYPE)

    health = [Route("/livez", livez), Route("/readyz", readyz)]
    return [*health, Route("/metrics", metrics)] if with_metrics else health


async def _count_jobs(services: SocketServices) -> None:
    if services.store.outage is None:
        for market in services.places.markets:
            services.metrics.count_jobs(market, await services.store.jobs.counts(market))
            if market in services.weigh_earnings:
                known = await services.store.drivers.sample(market, _SAMPLE)
                services.metrics.fair(market, *spreads(known, services.store.now_ms()))


def _text(text: str) -> Response:
    return Response(text + "\n", 200, _NOT_KEPT, media_type="text/plain")
