"""Liveness, readiness and metrics."""

import contextlib
from collections import Counter
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from mallard_engine.core.matching.fairness import gini_of_work
from mallard_engine.gateway.http.problems import HttpProblem
from mallard_engine.gateway.http.request_parsing import JsonResponse
from mallard_engine.gateway.http.routing import PublicHandler
from mallard_engine.gateway.socket.services import SocketServices
from mallard_engine.metrics import CONTENT_TYPE
from mallard_engine.ports import StoreUnavailable
from mallard_protocol.codes import ProblemCode
from mallard_protocol.resources import Readiness

# The answer describes this moment only.
_NOT_CACHED: Final = {"cache-control": "no-store"}
_REVOKED_UNKNOWN: Final = "revoked tokens are not known yet: their server is away"
# Drivers sampled for the spread of earnings: reading all of a large market takes too long.
_SAMPLE: Final = 512


class HealthApi:
    """Handlers for probes and metrics. They take no token."""

    def __init__(self, services: SocketServices) -> None:
        self._services = services

    def handlers(self) -> dict[str, PublicHandler]:
        """Return the handlers by the operation's name."""
        return {
            "checkLiveness": self.livez,
            "checkReadiness": self.readyz,
            "getMetrics": self.metrics,
        }

    async def livez(self, _request: Request) -> Response:
        """Answer as long as the event loop runs."""
        return Response("ok\n", 200, _NOT_CACHED, media_type="text/plain")

    async def readyz(self, _request: Request) -> Response:
        """Answer 503 while the node shuts down or Redis cannot be used."""
        services = self._services
        if services.leaving.is_set():
            raise HttpProblem(ProblemCode.DRAINING, headers=_NOT_CACHED)
        if (outage := services.store.outage) is not None:
            raise HttpProblem(ProblemCode.STORE_UNAVAILABLE, outage, headers=_NOT_CACHED)
        unread = () if services.revoked.are_known else (_REVOKED_UNKNOWN,)
        body = Readiness("ready", (*unread, *services.store.warnings))
        return JsonResponse(body, headers=_NOT_CACHED)

    async def metrics(self, _request: Request) -> Response:
        """Render the metrics, after updating those that are sampled."""
        services = self._services
        services.metrics.count_connections(len(services.connections))
        for market in services.places.markets:
            sessions = services.hub.sessions(market)
            services.metrics.count_drivers(market, Counter(each.shown.value for each in sessions))
        services.metrics.store_ready(ready=services.store.outage is None)
        with contextlib.suppress(StoreUnavailable):  # the last samples stay
            await self._sample_store()
        return Response(services.metrics.render(), media_type=CONTENT_TYPE)

    async def _sample_store(self) -> None:
        services = self._services
        if services.store.outage is not None:
            return
        for market in services.places.markets:
            services.metrics.count_jobs(market, await services.store.jobs.counts(market))
            if market in services.weigh_earnings:
                known = await services.store.drivers.sample(market, _SAMPLE)
                services.metrics.fair(market, *gini_of_work(known, services.store.now_ms()))
