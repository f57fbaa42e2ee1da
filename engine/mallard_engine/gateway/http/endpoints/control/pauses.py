"""Operators: pause and resume matching in a market, at a mall or at a shop."""

from functools import partial

from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

from mallard_engine.contract.reading.bodies import decode_json_body
from mallard_engine.gateway.auth.tokens import Principal
from mallard_engine.gateway.http.endpoints.driver_path import market_of
from mallard_engine.gateway.http.problems import not_found
from mallard_engine.gateway.http.request_parsing import JsonResponse, read_body
from mallard_engine.gateway.http.routing import Handler
from mallard_engine.gateway.services import Services
from mallard_engine.gateway.timestamps import Moment
from mallard_protocol.control import PauseRequest, PauseView


class PausesApi:
    """Handlers that only operators may call."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def handlers(self) -> dict[str, Handler]:
        """Return the handlers by the operation's name."""
        pause, resume = partial(self.set, paused=True), partial(self.set, paused=False)
        return {
            **{f"pause{place}": pause for place in ("Market", "Mall", "Store")},
            **{f"resume{place}": resume for place in ("Market", "Mall", "Store")},
        }

    async def set(self, request: Request, principal: Principal, *, paused: bool) -> Response:
        """Pause or resume a place. Repeating it changes nothing."""
        body = decode_json_body(await read_body(request) or b"{}", PauseRequest)
        market, mall, store = self._place(request)
        outcome = await self._services.dispatcher.controls.set_pause(
            market,
            mall,
            store,
            paused=paused,
            actor=principal.sub,
            reason="" if body.reason is UNSET else body.reason,
        )
        pause = outcome.pause
        return JsonResponse(
            PauseView(
                market=market,
                paused=paused,
                mall=mall or UNSET,
                store=store or UNSET,
                since=Moment.at_ms(pause.since_ms) if pause else UNSET,
                by=pause.actor if pause else UNSET,
                reason=(pause.reason or UNSET) if pause else UNSET,
            )
        )

    def _place(self, request: Request) -> tuple[str, str, str]:
        """Return market, mall and store of the path; empty where it names none."""
        market = market_of(request, self._services)
        mall: str = request.path_params.get("mall", "")
        store: str = request.path_params.get("store", "")
        if mall and mall not in market.malls:
            raise not_found("mall")
        if store and store not in market.malls[mall].stores:
            raise not_found("store")
        return market.id, mall, store
