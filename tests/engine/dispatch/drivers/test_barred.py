"""The reason why a driver gets no offers, derived from its record."""

from typing import Any

import pytest

from mallard_engine.core.model import Driver, Position
from mallard_engine.dispatch.drivers.barred import barred
from mallard_protocol.lifecycle import Wish

pytestmark = pytest.mark.finding("C8")
NOW, STALE_MS = 1_000_000, 60_000
FRESH = Position(33.3, -111.9, 5.0, NOW - 1_000, NOW - 1_000)
OLD = FRESH._replace(received_ms=NOW - STALE_MS - 1)


def driver(**fields: Any) -> Driver:
    return Driver(**{"id": "d1", "wish": Wish.AVAILABLE, "position": FRESH} | fields)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, None),
        ({"wish": Wish.OFFLINE}, None),
        ({"suspended": True}, ("suspended", None)),
        ({"cool_until_ms": NOW + 1}, ("cooling_down", NOW + 1)),
        ({"cool_until_ms": NOW}, None),
        ({"unreachable": True}, ("unreachable", None)),
        ({"position": OLD}, ("stale", None)),
        ({"position": None}, ("no_position", None)),
        ({"until_ms": NOW}, ("block_over", None)),
        ({"until_ms": NOW + 1}, None),
        ({"block_over": True, "wish": Wish.OFFLINE}, ("block_over", None)),
        ({"suspended": True, "cool_until_ms": NOW + 1}, ("suspended", None)),
        ({"position": OLD, "cool_until_ms": NOW + 1}, ("stale", None)),
    ],
)
def test_reason_follows_from_the_drivers_record(
    fields: dict[str, Any], expected: tuple[str, int | None] | None
) -> None:
    assert barred(driver(**fields), NOW, STALE_MS) == expected
