"""Where jobs can be collected: the markets with their malls. They change only with a restart."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from engine.gateway.auth import Principal
from engine.gateway.bodies import JsonResponse
from engine.gateway.deps import Deps
from engine.gateway.endpoints import ORDERS, Method, route
from engine.gateway.problems import not_found
from engine.gateway.views import market_view
from protocol.resources import MarketList


class MarketsApi:
    """The endpoints under ``/v1/markets``."""

    def __init__(self, deps: Deps) -> None:
        self._tokens = deps.tokens
        self._views = {market.id: market_view(market) for market in deps.places.markets.values()}

    def routes(self) -> list[Route]:
        """The routes of this part."""
        return [
            route("/v1/markets", self._tokens, get=Method(self.every, ORDERS)),
            route("/v1/markets/{market}", self._tokens, get=Method(self.one, ORDERS)),
        ]

    async def every(self, _request: Request, _principal: Principal) -> Response:
        """All markets."""
        return JsonResponse(MarketList(tuple(self._views.values())))

    async def one(self, request: Request, _principal: Principal) -> Response:
        """One market."""
        view = self._views.get(request.path_params["market"])
        if view is None:
            raise not_found("market")
        return JsonResponse(view)
