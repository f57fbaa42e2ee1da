"""Which events an endpoint gets, and with which secrets it is signed."""

from dataclasses import replace

import pytest

from mallard_engine.core.event_ids import Place
from mallard_engine.core.market_events import MarketEvent
from mallard_engine.core.webhooks.endpoints import Disabled, Endpoint, Secret, rotated

ENDPOINT = Endpoint(
    id="wh_1",
    owner="shop",
    service="shop",
    url="https://shop.example/",
    types=(),
    markets=(),
    description="",
    secrets=(Secret("a"),),
    created_ms=1,
    updated_ms=1,
)


def event(kind: str, what: str = "", market: str = "phoenix") -> MarketEvent:
    return MarketEvent(market, Place(5, 0), 5, kind, what, fields={})


PROOF, MOVED, UNKNOWN = event("proof"), event("moved"), event("registered")


def test_without_types_all_but_movement_are_wanted() -> None:
    assert ENDPOINT.wants(PROOF)
    assert not ENDPOINT.wants(MOVED)
    assert not ENDPOINT.wants(UNKNOWN)


def test_named_types_are_wanted_and_no_others() -> None:
    named = replace(ENDPOINT, types=("job.driver_moved",))
    assert named.wants(MOVED)
    assert not named.wants(PROOF)


@pytest.mark.parametrize(("markets", "wants"), [((), True), (("phoenix",), True), (("x",), False)])
def test_events_of_other_markets_are_not_wanted(markets: tuple[str, ...], *, wants: bool) -> None:
    assert replace(ENDPOINT, markets=markets).wants(PROOF) is wants


def test_disabled_endpoint_wants_nothing() -> None:
    assert not replace(ENDPOINT, disabled=Disabled(1, "gone")).wants(PROOF)


def test_two_secrets_sign_until_the_older_one_ends() -> None:
    once = replace(ENDPOINT, secrets=rotated(ENDPOINT.secrets, "b", 100))
    assert once.signs_with(99) == ("b", "a")
    assert once.signs_with(100) == ("b",)
    twice = replace(once, secrets=rotated(once.secrets, "c", 200))
    assert twice.signs_with(99) == ("c", "b")
