"""Why a driver is offered nothing, out of its record alone."""

from typing import Any

import pytest

from engine.core.barred import barred
from engine.core.model import Driver, Position
from protocol.lifecycle import Wish
from protocol.messages import Barred

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
        ({"suspended": True}, Barred("suspended")),
        ({"cool_until_ms": NOW + 1}, Barred("cooling_down", NOW + 1)),
        ({"cool_until_ms": NOW}, None),
        ({"unreachable": True}, Barred("unreachable")),
        ({"position": OLD}, Barred("stale")),
        ({"position": None}, Barred("no_position")),
        ({"until_ms": NOW}, Barred("block_over")),
        ({"until_ms": NOW + 1}, None),
        ({"block_over": True, "wish": Wish.OFFLINE}, Barred("block_over")),
        ({"suspended": True, "cool_until_ms": NOW + 1}, Barred("suspended")),
        ({"position": OLD, "cool_until_ms": NOW + 1}, Barred("stale")),
    ],
)
def test_the_reason_follows_from_the_record(
    fields: dict[str, Any], expected: Barred | None
) -> None:
    assert barred(driver(**fields), NOW, STALE_MS) == expected
