"""The markets and their malls."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from mallard_engine.core.pauses import Pauses
from mallard_engine.core.places.mall import Market
from mallard_engine.gateway.auth.tokens import Principal
from mallard_engine.gateway.http.entity_tags import content_tag, tagged
from mallard_engine.gateway.http.problems import not_found
from mallard_engine.gateway.http.routing import Handler
from mallard_engine.gateway.http.views.places import market_view
from mallard_engine.gateway.services import Services
from mallard_protocol import resources

# Opening hours are whole minutes.
_MINUTE_MS: Final = 60_000
# It is the same for every service; a cache asks whether it has changed.
_CACHED: Final = "private, no-cache"


class MarketsApi:
    """Handlers that read markets."""

    def __init__(self, services: Services) -> None:
        self._places = services.places
        self._store = services.store
        self._controls = services.dispatcher.controls
        # By market id: the market, which a reload replaces, its pauses, the minute, and the view.
        self._views: dict[str, tuple[Market, Pauses, int, resources.Market]] = {}

    def handlers(self) -> dict[str, Handler]:
        """Return the handlers by the operation's name."""
        return {"listMarkets": self.every, "getMarket": self.one}

    async def every(self, request: Request, principal: Principal) -> Response:
        """Return all markets that the token reaches."""
        reached = [it for it in self._places.markets.values() if principal.reaches(it.id)]
        listed = resources.MarketList(tuple(map(self._view, reached)))
        return tagged(request, listed, content_tag(listed), _CACHED)

    async def one(self, request: Request, _principal: Principal) -> Response:
        """Return one market."""
        market = self._places.markets.get(request.path_params["market"])
        if market is None:
            raise not_found("market")
        view = self._view(market)
        return tagged(request, view, content_tag(view), _CACHED)

    def _view(self, market: Market) -> resources.Market:
        minute = self._store.now_ms() // _MINUTE_MS
        pauses = self._controls.pauses(market.id)
        source, known, of, view = self._views.get(market.id, (None, None, 0, None))
        if view is None or source is not market or known != pauses or of != minute:
            view = market_view(market, pauses, minute * _MINUTE_MS)
            self._views[market.id] = market, pauses, minute, view
        return view
