"""Operators: the register of drivers, and one driver's state."""

from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

from mallard_engine.contract.reading.bodies import decode_json_body
from mallard_engine.core.vehicles import DriverProfile, RegisteredDriver
from mallard_engine.gateway.auth.tokens import Principal
from mallard_engine.gateway.http.endpoints.driver_path import driver_of
from mallard_engine.gateway.http.request_parsing import JsonResponse, read_body
from mallard_engine.gateway.http.routing import Handler
from mallard_engine.gateway.http.views.drivers import registered_view
from mallard_engine.gateway.services import Services
from mallard_engine.gateway.stated_vehicles import stated_vehicle
from mallard_protocol import resources


class RegisterApi:
    """Handlers that only operators may call."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def handlers(self) -> dict[str, Handler]:
        """Return the handlers by the operation's name."""
        return {"getDriver": self.read, "registerDriver": self.put}

    async def read(self, request: Request, _principal: Principal) -> Response:
        """Return one driver."""
        market, driver = driver_of(request, self._services)
        return self._answer(market, await self._services.store.register.read(market, driver))

    async def put(self, request: Request, principal: Principal) -> Response:
        """Replace a driver's entry."""
        body = decode_json_body(await read_body(request), resources.DriverProfile)
        market, driver = driver_of(request, self._services)
        known = await self._services.dispatcher.drivers.register(
            market,
            driver,
            _profile(body),
            suspended=body.status == "suspended",
            actor=principal.sub,
        )
        return self._answer(market, known)

    def _answer(self, market: str, known: RegisteredDriver) -> Response:
        now_ms = self._services.store.now_ms()
        barred = self._services.dispatcher.drivers.barred(market, known.driver, now_ms)
        return JsonResponse(registered_view(known, barred))


def _profile(body: resources.DriverProfile) -> DriverProfile | None:
    """Return the entry that a body states; None if it states nothing to keep."""
    profile = DriverProfile(
        alias=None if body.alias is UNSET else body.alias,
        vehicle=None if body.vehicle is UNSET else stated_vehicle(body.vehicle),
        qualifications=None if body.qualifications is UNSET else body.qualifications,
    )
    return None if profile == DriverProfile() else profile
