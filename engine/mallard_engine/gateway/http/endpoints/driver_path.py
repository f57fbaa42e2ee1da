"""Reads market and driver of an operator's path."""

from starlette.requests import Request

from mallard_engine.core.places.mall import Market
from mallard_engine.gateway.http.parameters import is_id
from mallard_engine.gateway.http.problems import not_found
from mallard_engine.gateway.services import Services
from mallard_engine.ports import NoSuchDriver


def market_of(request: Request, services: Services) -> Market:
    """Return the market of the path. Raises a 404 if it is not served."""
    market = services.places.markets.get(request.path_params["market"])
    if market is None:
        raise not_found("market")
    return market


def driver_of(request: Request, services: Services) -> tuple[str, str]:
    """Return the ids of the market and the driver of the path. Raises `NoSuchDriver`."""
    driver: str = request.path_params["driver"]
    if not is_id(driver):
        raise NoSuchDriver(driver)
    return market_of(request, services).id, driver
