"""The counter of a shop: what a token of role `store` may call.

The token names the shop. A path of another shop is reported as missing, as any other route is.
"""

from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

from mallard_engine.gateway.auth import Principal, Shop
from mallard_engine.gateway.http.problems import not_found
from mallard_engine.gateway.http.request_parsing import JsonResponse, read_body
from mallard_engine.gateway.http.routing import Handler
from mallard_engine.gateway.services import Services
from mallard_engine.gateway.timestamps import Moment, epoch_ms
from mallard_protocol.bodies import decode_json_body
from mallard_protocol.counter import ShopHours, ShopHoursRequest


class CounterApi:
    """Handlers that the counter of a shop may call."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._store = services.store
        self._shops = services.dispatcher.shops

    def handlers(self) -> dict[str, Handler]:
        """Return the handlers by the operation's name."""
        return {"setShopHours": self.hours}

    async def hours(self, request: Request, principal: Principal) -> Response:
        """Close the shop until a time, or open it again."""
        shop = self._shop(request, principal)
        asked = decode_json_body(await read_body(request), ShopHoursRequest)
        until_ms = 0 if asked.closed_until is UNSET else epoch_ms(asked.closed_until)
        await self._shops.set_hours(shop.mall, shop.store, until_ms, actor_of(shop))
        is_closed = until_ms > self._store.now_ms()
        return JsonResponse(ShopHours(Moment.at_ms(until_ms) if is_closed else None))

    def _shop(self, request: Request, principal: Principal) -> Shop:
        """Return the shop of the path. Raises 404 unless it is the token's and is served here."""
        shop = Shop(request.path_params["mall"], request.path_params["store"])
        mall = self._services.places.malls.get(shop.mall)
        if (
            shop != principal.shop
            or mall is None
            or shop.store not in mall.stores
            or principal.market not in {None, mall.market}
        ):
            raise not_found("shop")
        return shop


def actor_of(shop: Shop) -> str:
    """Return the name under which timelines and events show what the shop did."""
    return f"store:{shop.store}"
