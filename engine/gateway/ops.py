"""What those who run a node ask it: does it live, is it ready, how does it do."""

import contextlib
from collections import Counter

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from engine.gateway.services import Services
from engine.metrics import CONTENT_TYPE
from engine.ports import StoreUnavailable


def routes(services: Services) -> list[Route]:
    """The routes of `/livez`, `/readyz` and `/metrics`; they need no token."""

    async def livez(_: Request) -> Response:
        return _text("ok")

    async def readyz(_: Request) -> Response:
        if services.draining:
            return _text("draining", 503)
        if services.store.down_since is not None:
            return _text("no store", 503)
        return _text("ok")

    async def metrics(_: Request) -> Response:
        for market in services.places.markets:
            sessions = services.hub.sessions(market)
            services.metrics.count_drivers(market, Counter(each.shown.value for each in sessions))
        with contextlib.suppress(StoreUnavailable):  # then the last figures stay
            await _count_jobs(services)
        return Response(services.metrics.render(), media_type=CONTENT_TYPE)

    return [
        Route("/livez", livez),
        Route("/readyz", readyz),
        Route("/metrics", metrics),
    ]


async def _count_jobs(services: Services) -> None:
    if services.store.down_since is None:
        for market in services.places.markets:
            services.metrics.count_jobs(market, await services.store.counts(market))


def _text(text: str, status: int = 200) -> Response:
    headers = {"cache-control": "no-store"}
    if status == 503:
        headers["retry-after"] = "1"
    return Response(text + "\n", status, headers, media_type="text/plain")
