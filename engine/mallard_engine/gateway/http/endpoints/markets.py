"""The markets and their malls."""

from starlette.requests import Request
from starlette.responses import Response

from mallard_engine.core.places.mall import Market
from mallard_engine.gateway.auth import Principal
from mallard_engine.gateway.http.problems import not_found
from mallard_engine.gateway.http.request_parsing import JsonResponse
from mallard_engine.gateway.http.routing import Handler
from mallard_engine.gateway.http.views import market_view
from mallard_engine.gateway.services import Services
from mallard_protocol import resources


class MarketsApi:
    """Handlers that read markets."""

    def __init__(self, services: Services) -> None:
        self._places = services.places
        # By market id: the market, which a reload replaces, and the view of it.
        self._views: dict[str, tuple[Market, resources.Market]] = {}

    def handlers(self) -> dict[str, Handler]:
        """Return the handlers by the operation's name."""
        return {"listMarkets": self.every, "getMarket": self.one}

    async def every(self, _request: Request, _principal: Principal) -> Response:
        """Return all markets."""
        views = map(self._view, self._places.markets.values())
        return JsonResponse(resources.MarketList(tuple(views)))

    async def one(self, request: Request, _principal: Principal) -> Response:
        """Return one market."""
        market = self._places.markets.get(request.path_params["market"])
        if market is None:
            raise not_found("market")
        return JsonResponse(self._view(market))

    def _view(self, market: Market) -> resources.Market:
        source, view = self._views.get(market.id, (None, None))
        if view is None or source is not market:
            view = market_view(market)
            self._views[market.id] = market, view
        return view
