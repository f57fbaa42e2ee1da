"""Positions without a socket: ``POST /v1/driver/locations``."""

import contextlib

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mallard_engine.gateway.auth import Principal, WrongScope
from mallard_engine.gateway.http.request_parsing import JsonResponse, read_body
from mallard_engine.gateway.http.routing import DRIVERS, Method, route
from mallard_engine.gateway.positions import driver_fix
from mallard_engine.gateway.services import Services
from mallard_engine.ports import NoSuchDriver
from mallard_protocol.bodies import decode_fixes_body
from mallard_protocol.resources import DroppedFix, FixesResult


class DriverFixesApi:
    """The fallback for an app whose socket is gone."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def routes(self) -> list[Route]:
        """The routes of this part."""
        tokens = self._services.tokens
        return [route("/v1/driver/locations", tokens, post=Method(self.record, DRIVERS))]

    async def record(self, request: Request, principal: Principal) -> Response:
        """Take the good fixes, and say of each other one why it was dropped."""
        market, driver = principal.market, principal.sub
        if market is None or market not in self._services.places.markets:
            raise WrongScope("the token's market is not served here")
        read = decode_fixes_body(await read_body(request))
        with contextlib.suppress(NoSuchDriver):  # then each fix is `unknown`
            await self._services.dispatcher.alive(market, driver)
        placed = sorted(
            ((index, driver_fix(driver, fix)) for index, fix in enumerate(read)),
            key=lambda item: item[1].at_ms,
        )
        verdicts = await self._services.dispatcher.positions(market, [fix for _, fix in placed])
        dropped = tuple(
            DroppedFix(index, verdict)
            for (index, _), verdict in zip(placed, verdicts, strict=True)
            if verdict != "ok"
        )
        reasons = tuple(sorted(dropped, key=lambda each: each.fix))
        return JsonResponse(FixesResult(len(read) - len(dropped), len(dropped), reasons))
