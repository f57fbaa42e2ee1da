"""Reads the lists of operators page by page, newest first, of one market or of several.

A cursor is the id of the last item of the page before. Ids are compared after the time, so that
items of one millisecond keep an order.
"""

from collections.abc import Callable, Iterable
from typing import Final, TypeVar

from starlette.requests import Request

from mallard_engine.core.job_ids import market_in
from mallard_engine.gateway.auth.tokens import Principal
from mallard_engine.gateway.http.parameters import bad_request, is_id, whole_number
from mallard_engine.gateway.services import Services
from mallard_protocol.codes import MAX_PAGE

Item = TypeVar("Item")
_DEFAULT_PAGE: Final = 50
Place = tuple[str, str]
"""Where an item stands: what sorts by its time, then its id."""


def markets_of(request: Request, principal: Principal, services: Services) -> tuple[str, ...]:
    """Return the market that the request names, or all that the token reaches."""
    market = request.query_params.get("market")
    if market is None:
        return tuple(filter(principal.reaches, services.places.markets))
    if market not in services.places.markets:
        raise bad_request("no such market")
    return (market,)


def market_of_id(name: str, services: Services) -> str | None:
    """Return the served market in an id; None if there is none."""
    market = market_in(name) if is_id(name) else None
    return market if market in services.places.markets else None


def page(
    request: Request, items: Iterable[Item], place: Callable[[Item], Place]
) -> tuple[list[Item], str | None]:
    """Return one page of all items and its cursor."""
    limit = whole_number(request, "limit", low=1, high=MAX_PAGE, default=_DEFAULT_PAGE)
    ordered = sorted(items, key=place, reverse=True)
    if cursor := request.query_params.get("cursor"):
        before = read_cursor(cursor)
        ordered = [item for item in ordered if place(item) < before]
    found = ordered[:limit]
    more = len(ordered) > limit
    return found, write_cursor(place(found[-1])) if more else None


def write_cursor(place: Place) -> str:
    """Return the cursor of a place."""
    return "/".join(place)


def read_cursor(cursor: str) -> Place:
    """Return the place of a cursor. Raises a 400 for another text."""
    at, slash, name = cursor.partition("/")
    if not slash or not is_id(at) or not is_id(name):
        raise bad_request("cursor is not a next_cursor of an earlier page")
    return at, name
