"""Orders of the sandbox: their endings, and who may be offered them."""

from datetime import UTC, datetime
from typing import Any

import pytest

from mallard_engine.contract.reading.bodies import body_as
from mallard_engine.contract.sandbox import ROBOT, Ending
from mallard_engine.core.model import Vehicle
from mallard_engine.core.places.markets import Places
from mallard_engine.core.vehicles import usual_vehicle
from mallard_engine.gateway.orders.intake import InvalidOrder, ValidOrder, read_order
from mallard_engine.gateway.timestamps import epoch_ms
from mallard_protocol.codes import ServiceLevel
from mallard_protocol.resources import JobRequest

PLACES = Places.load(sandbox=True)
NOW_MS = epoch_ms(datetime(2026, 11, 23, 3, tzinfo=UTC))
ROBOTS = Vehicle(max_weight_g=0, max_volume_l=0, equipment=(ROBOT,))
LOAD = {"count": 2, "weight_g": 5_000, "volume_l": 40}


def order(mall: str = "sandbox-mall", **changes: Any) -> ValidOrder:
    body = {
        "pickup": {"mall": mall, "stores": [{"store": "toys", "parcels": 2, "pickup_code": "1"}]},
        "dropoff": {"lat": 40.805, "lon": -113.845},
    }
    request = body_as(body | changes, JobRequest)
    return read_order(request, PLACES, lambda _: ServiceLevel.POOLED, NOW_MS)


def test_only_robots_fit_an_order_whatever_it_requires() -> None:
    need = order(requires=["cold-box", "id_check"], parcels=LOAD).need
    assert ROBOTS.fits(need)
    assert not usual_vehicle("van").fits(need)
    assert "id_check" in need.requires


def test_order_keeps_what_was_asked_for() -> None:
    asked = order(requires=["cold-box"], parcels=LOAD).order
    assert asked.requires == ("cold-box",)
    assert asked.parcels.weight_g == 5_000


@pytest.mark.parametrize("load", [{"count": 2}, LOAD])
def test_only_people_fit_an_order_for_your_drivers(load: dict[str, Any]) -> None:
    need = order(metadata={"sandbox": Ending.YOUR_DRIVER.value}, parcels=load).need
    assert not ROBOTS.fits(need)
    assert usual_vehicle("foot").fits(need)


@pytest.mark.parametrize("ending", Ending)
def test_every_ending_is_known(ending: Ending) -> None:
    assert order(metadata={"sandbox": ending.value}).mall.market == "sandbox"


@pytest.mark.parametrize("value", ["nonsense", "", "Delivered", 3, False])
def test_unknown_ending_is_named_with_the_known_ones(value: object) -> None:
    with pytest.raises(InvalidOrder) as raised:
        order(metadata={"sandbox": value})
    (error,) = raised.value.errors
    assert error.pointer == "/metadata/sandbox"
    assert all(ending in error.detail for ending in Ending)


def test_other_markets_ignore_the_key() -> None:
    stores = [{"store": "lego"}]
    need = order(
        pickup={"mall": "chandler-fashion-center", "stores": stores},
        dropoff={"lat": 33.3197, "lon": -111.8412, "deadline": "2026-11-23T23:00:00-07:00"},
        metadata={"sandbox": "nonsense"},
        requires=["cold-box"],
    ).need
    assert need.requires == ("cold-box",)
