"""Positions from an app that has no socket."""

import contextlib

from starlette.requests import Request
from starlette.responses import Response

from mallard_engine.contract.reading.bodies import decode_fixes_body
from mallard_engine.gateway.auth.tokens import Principal, WrongScope
from mallard_engine.gateway.http.request_parsing import JsonResponse, read_body
from mallard_engine.gateway.http.routing import Handler
from mallard_engine.gateway.positions import driver_fix
from mallard_engine.gateway.services import Services
from mallard_engine.ports import NoSuchDriver
from mallard_protocol.resources import DroppedFix, FixesResult


class PositionsApi:
    """Handlers for an app whose socket is closed."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def handlers(self) -> dict[str, Handler]:
        """Return the handlers by the operation's name."""
        return {"sendLocations": self.record}

    async def record(self, request: Request, principal: Principal) -> Response:
        """Store the valid fixes and report why each of the others was dropped."""
        market, driver = principal.market, principal.sub
        if market is None or market not in self._services.places.markets:
            raise WrongScope("the token's market is not served here")
        read = decode_fixes_body(await read_body(request))
        with contextlib.suppress(NoSuchDriver):  # the verdict on each fix is then `unknown`
            await self._services.dispatcher.drivers.alive(market, driver)
        placed = sorted(
            ((index, driver_fix(driver, fix)) for index, fix in enumerate(read)),
            key=lambda item: item[1].at_ms,
        )
        verdicts = await self._services.dispatcher.drivers.positions(
            market, [fix for _, fix in placed]
        )
        dropped = tuple(
            DroppedFix(index, verdict)
            for (index, _), verdict in zip(placed, verdicts, strict=True)
            if verdict != "ok"
        )
        reasons = tuple(sorted(dropped, key=lambda each: each.fix))
        return JsonResponse(FixesResult(len(read) - len(dropped), len(dropped), reasons))
