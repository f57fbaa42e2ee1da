"""Where jobs can be collected: the markets with their malls."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mallard_engine.core.places.mall import Market
from mallard_engine.gateway.auth import Principal
from mallard_engine.gateway.http.problems import not_found
from mallard_engine.gateway.http.request_parsing import JsonResponse
from mallard_engine.gateway.http.routing import ORDERS, Method, route
from mallard_engine.gateway.http.views import market_view
from mallard_engine.gateway.services import Services
from mallard_protocol import resources


class MarketsApi:
    """The endpoints under ``/v1/markets``."""

    def __init__(self, services: Services) -> None:
        self._tokens = services.tokens
        self._places = services.places
        # By market: what it was made of, which a reload replaces, and the view.
        self._views: dict[str, tuple[Market, resources.Market]] = {}

    def routes(self) -> list[Route]:
        """The routes of this part."""
        return [
            route("/v1/markets", self._tokens, get=Method(self.every, ORDERS)),
            route("/v1/markets/{market}", self._tokens, get=Method(self.one, ORDERS)),
        ]

    async def every(self, _request: Request, _principal: Principal) -> Response:
        """All markets."""
        views = map(self._view, self._places.markets.values())
        return JsonResponse(resources.MarketList(tuple(views)))

    async def one(self, request: Request, _principal: Principal) -> Response:
        """One market."""
        market = self._places.markets.get(request.path_params["market"])
        if market is None:
            raise not_found("market")
        return JsonResponse(self._view(market))

    def _view(self, market: Market) -> resources.Market:
        made_of, view = self._views.get(market.id, (None, None))
        if view is None or made_of is not market:
            view = market_view(market)
            self._views[market.id] = market, view
        return view
