"""Every accepted time is from 1970 up to 2100, whatever its offset."""

from typing import Any

import msgspec
import pytest

from mallard_engine.contract.reading.bodies import InvalidBody, body_as
from mallard_protocol.fields import EpochMs
from mallard_protocol.instants import LATEST_MS
from mallard_protocol.resources import JobRequest, ReadyRequest

pytestmark = pytest.mark.finding("D1")

# Out of bounds, or not a time.
BAD = (
    "0001-01-01T00:00:00Z",
    "0001-01-01T00:00:00+14:00",
    "0001-01-01T00:00:00-14:00",
    "1969-12-31T23:59:59Z",
    "1970-01-01T00:00:00+00:01",
    "2100-01-01T00:00:00Z",
    "2099-12-31T23:59:59-00:01",
    "2099-12-31T23:59:59.9999999999Z",
    "9999-12-31T23:59:59-07:00",
    "9999-12-31T23:59:59+07:00",
    "10000-01-01T00:00:00Z",
    "2026-11-22T16:10:60Z",
    "2026-11-22T24:00:00Z",
    "2026-11-22T16:10:00+24:00",
    "2026-11-22T16:10:00-24:00",
    "2026-02-30T16:10:00Z",
    "2026-11-22T16:10:00",
    "",
    1_795_000_000,
    True,
)
GOOD = (
    "1970-01-01T00:00:00Z",
    "1969-12-31T23:00:00-01:00",
    "2099-12-31T23:59:59.999Z",
    "2100-01-01T00:00:00+00:01",
    "2026-11-22t16:10:00z",
    "2026-11-22T16:10:00.123456789012345678901234567890-07:00",
    "2026-11-22T16:10:00+23:59",
)


def order(where: str, at: Any) -> dict[str, Any]:
    body: dict[str, Any] = {
        "pickup": {"mall": "m", "stores": [{"store": "a"}, {"store": "b"}]},
        "dropoff": {"lat": 33.3, "lon": -111.8},
    }
    *parents, field = where.strip("/").split("/")
    table: Any = body
    for parent in parents:
        table = table[int(parent)] if parent.isdigit() else table[parent]
    table[field] = at
    return body


@pytest.mark.parametrize(
    "where", ["/pickup/stores/1/ready_at", "/pickup/window_end", "/dropoff/deadline"]
)
@pytest.mark.parametrize("at", BAD)
def test_time_out_of_bounds_is_refused_at_its_pointer(where: str, at: Any) -> None:
    with pytest.raises(InvalidBody) as raised:
        body_as(order(where, at), JobRequest)
    assert [violation.pointer for violation in raised.value.violations] == [where]


@pytest.mark.parametrize("at", GOOD)
def test_time_within_bounds_is_accepted(at: str) -> None:
    body_as(order("/dropoff/deadline", at), JobRequest)
    body_as({"store": "lego", "ready_at": at}, ReadyRequest)


def test_all_times_out_of_bounds_are_reported_together() -> None:
    body = order("/dropoff/deadline", BAD[0])
    body["pickup"]["window_end"] = BAD[8]
    with pytest.raises(InvalidBody) as raised:
        body_as(body, JobRequest)
    pointers = [violation.pointer for violation in raised.value.violations]
    assert pointers == ["/pickup/window_end", "/dropoff/deadline"]


@pytest.mark.parametrize("at_ms", [-1, LATEST_MS, 2**53, 2**63, 10**30, 1.5])
def test_epoch_out_of_bounds_is_refused(at_ms: float) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(at_ms, EpochMs)
    assert msgspec.convert(LATEST_MS - 1, EpochMs) == LATEST_MS - 1
