import json
from datetime import UTC, datetime
from typing import Any

import pytest

from mallard_engine.contract.reading.bodies import body_as
from mallard_engine.core.places.markets import Places
from mallard_engine.gateway.orders.intake import (
    InvalidOrder,
    ValidOrder,
    read_order,
    submission_of,
    with_ready_at,
)
from mallard_engine.gateway.timestamps import epoch_ms
from mallard_protocol.codes import ServiceLevel
from mallard_protocol.lifecycle import JobState
from mallard_protocol.resources import JobRequest

PLACES = Places.load()
ALWAYS_OPEN = Places.load(opening_hours=False)
HOUR_MS = 3_600_000
# A Monday in Phoenix, where the malls are open from 10:00 to 21:00.
NOON = epoch_ms(datetime.fromisoformat("2026-11-23T12:00:00.250-07:00"))
MALL = "chandler-fashion-center"


def body(**changes: Any) -> dict[str, Any]:
    """An order, with values of nested fields named like `pickup__mall`; None takes a field out."""
    asked: dict[str, Any] = {
        "pickup": {"mall": MALL, "stores": [{"store": "lego"}]},
        "dropoff": {"lat": 33.3197, "lon": -111.8412},
    }
    for name, value in changes.items():
        *parents, field = name.split("__")
        table = asked
        for parent in parents:
            table = table[parent]
        table[field] = value
    return asked


def order(now_ms: int = NOON, places: Places = PLACES, **changes: Any) -> ValidOrder:
    return read_order(
        body_as(body(**changes), JobRequest), places, lambda _: ServiceLevel.POOLED, now_ms
    )


def refused(now_ms: int = NOON, **changes: Any) -> tuple[str, list[str]]:
    with pytest.raises(InvalidOrder) as raised:
        order(now_ms, **changes)
    return raised.value.code, [error.pointer for error in raised.value.errors]


def iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat()


def test_defaults_are_filled_in() -> None:
    asked = order()
    stored = json.loads(asked.order.body)
    assert stored == {
        "pickup": {
            "mall": MALL,
            "stores": [{"store": "lego", "ready_at": "2026-11-23T19:00:00Z", "parcels": 1}],
            "window_end": "2026-11-24T19:00:00Z",  # the deadline
        },
        "dropoff": {"lat": 33.3197, "lon": -111.8412, "deadline": "2026-11-24T19:00:00Z"},
        "parcels": {"count": 1, "weight_g": 0, "volume_l": 0.0},
        "requires": [],
        "priority": 0,
    }
    assert asked.need.service_level is ServiceLevel.POOLED
    assert asked.need.ready_ms == NOON - 250
    assert asked.need.deadline_ms == NOON - 250 + 24 * HOUR_MS
    assert asked.need.expires_ms == asked.need.deadline_ms
    assert asked.need.created_ms == NOON


@pytest.mark.parametrize("level", ["pooled", "express"])
def test_level_is_stored_with_the_order_unless_preset(level: str) -> None:
    # An engine of the release before refuses a stored order with a field that it does not know.
    asked = order(service_level=level)
    stored = json.loads(asked.order.body)
    assert stored.get("service_level", "pooled") == level
    assert ("service_level" in stored) is (level == "express")
    assert asked.need.service_level == level


def test_deadline_ends_the_window() -> None:
    asked = order(dropoff__deadline="2026-11-23T18:00:00-07:00")
    assert asked.need.expires_ms == asked.need.deadline_ms == NOON - 250 + 6 * HOUR_MS


def test_given_window_counts_past_closing() -> None:
    asked = order(pickup__window_end="2026-11-23T23:30:00-07:00")
    assert asked.need.expires_ms == NOON - 250 + 11 * HOUR_MS + HOUR_MS // 2


def test_given_time_keeps_its_offset() -> None:
    sent = "2026-11-23T13:10:00.500-07:00"
    asked = order(pickup__stores=[{"store": "lego", "ready_at": sent}])
    back = json.loads(asked.order.body)["pickup"]["stores"][0]["ready_at"]
    assert back == "2026-11-23T13:10:00.500000-07:00"
    assert asked.need.ready_ms == NOON + HOUR_MS + 10 * 60_000 + 250


def test_parcels_default_to_the_sum_of_the_stores() -> None:
    stores = [{"store": "lego", "parcels": 2}, {"store": "apple"}]
    assert order(pickup__stores=stores).need.parcels == 3
    load = {"count": 5, "weight_g": 3200, "volume_l": 18.5}
    need = order(pickup__stores=stores, parcels=load).need
    assert (need.parcels, need.weight_g, need.volume_l) == (5, 3200, 18.5)
    assert need.stores == ("lego", "apple")


def test_all_errors_are_reported_together() -> None:
    code, pointers = refused(
        pickup__stores=[{"store": "lego"}, {"store": "nowhere"}, {"store": "lego"}],
        pickup__window_end="2026-11-23T12:00:00-07:00",
        dropoff__lat=48.2,
        dropoff__deadline="2026-11-23T11:00:00-07:00",
    )
    assert code == "invalid_fields"
    assert pointers == [
        "/pickup/stores/1/store",
        "/pickup/stores/2/store",
        "/dropoff",
        "/pickup/window_end",
        "/dropoff/deadline",
    ]


def test_unknown_mall_does_not_hide_other_errors() -> None:
    code, pointers = refused(pickup__mall="nowhere", dropoff__deadline="2020-01-01T00:00:00Z")
    assert (code, pointers) == ("invalid_fields", ["/pickup/mall", "/dropoff/deadline"])


def test_order_ready_after_closing_is_refused() -> None:
    eight = epoch_ms(datetime.fromisoformat("2026-11-23T08:00:00-07:00"))
    before_ten: dict[str, Any] = {"dropoff__deadline": "2026-11-23T10:00:00-07:00"}
    assert refused(eight, **before_ten) == ("mall_closed", ["/pickup/mall"])
    at_ten = [{"store": "lego", "ready_at": "2026-11-23T10:00:00-07:00"}]
    assert order(eight, pickup__stores=at_ten).need.ready_ms == eight + 2 * HOUR_MS
    at_nine_pm = [{"store": "lego", "ready_at": "2026-11-23T21:00:00-07:00"}]
    before_ten = {"dropoff__deadline": "2026-11-24T10:00:00-07:00"}
    asked: dict[str, Any] = {"pickup__stores": at_nine_pm, **before_ten}
    assert refused(**asked) == ("mall_closed", ["/pickup/mall"])
    order(eight, ALWAYS_OPEN)


def local_ms(text: str) -> int:
    return epoch_ms(datetime.fromisoformat(f"{text}:00-07:00"))


@pytest.mark.parametrize(
    ("now", "ready", "opens"),
    [
        ("2026-11-23T08:00", None, "2026-11-23T10:00"),
        ("2026-11-23T12:00", "2026-11-23T21:00", "2026-11-24T10:00"),
        # One minute before closing is too short for the walk to the store.
        ("2026-11-23T20:59", None, "2026-11-24T10:00"),
        # Thanksgiving is closed, and the day after it opens early.
        ("2026-11-25T20:59", None, "2026-11-27T06:00"),
    ],
)
def test_order_ready_while_closed_waits_for_the_opening(
    now: str, ready: str | None, opens: str
) -> None:
    now_ms, opens_ms = local_ms(now), local_ms(opens)
    store = (
        {"store": "lego"} if ready is None else {"store": "lego", "ready_at": f"{ready}:00-07:00"}
    )
    deadline = iso(opens_ms + 36 * HOUR_MS)
    asked = order(now_ms, pickup__stores=[store], dropoff__deadline=deadline)
    assert asked.need.ready_ms == opens_ms
    assert asked.need.expires_ms == asked.need.deadline_ms
    # Shown as it was sent; scheduled for the opening.
    assert asked.order.pickup.stores[0].ready_at != datetime.fromtimestamp(opens_ms / 1000, UTC)
    for end in ("dropoff__deadline", "pickup__window_end"):
        ended: dict[str, Any] = {"dropoff__deadline": deadline, "pickup__stores": [store]}
        assert refused(now_ms, **(ended | {end: iso(opens_ms)})) == (
            "mall_closed",
            ["/pickup/mall"],
        )
    later = iso(opens_ms + HOUR_MS)
    changes: dict[str, Any] = {"dropoff__deadline": deadline, "pickup__stores": [store]}
    assert order(now_ms, pickup__window_end=later, **changes).need.expires_ms == opens_ms + HOUR_MS


def test_store_ready_after_closing_waits_for_the_opening() -> None:
    before = order(dropoff__deadline="2026-11-24T20:00:00-07:00")
    nine = datetime.fromisoformat("2026-11-23T21:00:00-07:00")
    after = with_ready_at(before, "lego", nine, NOON)
    assert after.need.ready_ms == local_ms("2026-11-24T10:00")
    assert after.need.expires_ms == local_ms("2026-11-24T20:00") == before.need.expires_ms
    assert after.order.pickup.stores[0].ready_at == nine
    # Ready earlier again: the expiry does not change.
    again = with_ready_at(after, "lego", datetime.fromtimestamp(NOON / 1000, UTC), NOON)
    assert again.need.ready_ms == NOON
    assert again.need.expires_ms == after.need.expires_ms


@pytest.mark.parametrize(
    "changes",
    [
        {"pickup__window_end": "2026-11-23T20:00:00-07:00"},
        {"dropoff__deadline": "2026-11-24T09:00:00-07:00"},
    ],
)
def test_given_window_or_deadline_does_not_move(changes: dict[str, Any]) -> None:
    before = order(**changes)
    nine = datetime.fromisoformat("2026-11-23T21:00:00-07:00")
    with pytest.raises(InvalidOrder) as raised:
        with_ready_at(before, "lego", nine, NOON)
    assert [error.pointer for error in raised.value.errors] == ["/ready_at"]
    # A held job does not expire, so any ready time is accepted.
    held = with_ready_at(before, "lego", nine, NOON, is_held=True)
    assert held.need.ready_ms == local_ms("2026-11-24T10:00")


def test_closed_mall_is_reported_with_other_errors() -> None:
    eight = epoch_ms(datetime.fromisoformat("2026-11-23T08:00:00-07:00"))
    ten = "2026-11-23T10:00:00-07:00"
    assert refused(eight, dropoff__lat=0.0, dropoff__deadline=ten) == (
        "invalid_fields",
        ["/dropoff", "/pickup/mall"],
    )


def test_ready_after_the_default_deadline_is_refused() -> None:
    ready = [{"store": "lego", "ready_at": iso(NOON + 24 * HOUR_MS)}]
    code, pointers = refused(pickup__stores=ready)
    assert (code, pointers) == ("invalid_fields", ["/dropoff/deadline"])


def test_submission_has_the_orders_fields() -> None:
    asked = order(external_id="ORD-1", requires=["id_check", "cool_bag"], priority=7)
    made = submission_of(
        asked, job="job_phoenix.X", service="shop", key="k", body_hash="h", release_ms=5, now_ms=5
    )
    assert (made.market, made.mall, made.external_id) == ("phoenix", MALL, "ORD-1")
    assert (made.state, made.needs_age_check) == (JobState.QUEUED, True)
    assert made.need.priority == 7
    held_back = submission_of(
        order(), job="j", service="shop", key="k", body_hash="h", release_ms=6, now_ms=5
    )
    assert held_back.state is JobState.SCHEDULED
    assert held_back.needs_age_check is False
    assert held_back.external_id is None


@pytest.mark.finding("D3")
def test_store_is_ready_no_sooner_than_the_mall_opens() -> None:
    night = {"ready_at": "2026-11-24T02:00:00-07:00"}
    noon = {"ready_at": "2026-11-24T12:00:00-07:00"}
    late = {"ready_at": "2026-11-23T21:30:00-07:00"}
    deadline = "2026-11-24T20:00:00-07:00"
    need = order(
        pickup__stores=[{"store": "lego", **night}, {"store": "apple", **late}],
        dropoff__deadline=deadline,
    ).need
    assert need.store_ready_ms == (local_ms("2026-11-24T10:00"),) * 2
    need = order(
        pickup__stores=[{"store": "lego", **night}, {"store": "apple", **noon}],
        dropoff__deadline=deadline,
    ).need
    assert need.store_ready_ms == (local_ms("2026-11-24T02:00"), local_ms("2026-11-24T12:00"))


def test_card_does_not_identify_the_customer() -> None:
    asked = order(
        external_id="ORD-1",
        dropoff__address="1 Secret Street",
        dropoff__name="Someone",
        dropoff__contact="+1",
        dropoff__note="the note",
    )
    for word in (b"ORD-1", b"Secret", b"Someone", b"+1", b"the note"):
        assert word in asked.order.body
        assert word not in asked.card()


def test_another_ready_time_changes_the_order() -> None:
    before = order(pickup__stores=[{"store": "lego"}, {"store": "apple"}])
    at = datetime.fromtimestamp((NOON + HOUR_MS) / 1000, UTC)
    after = with_ready_at(before, "apple", at, NOON)
    assert after.need.ready_ms == NOON + HOUR_MS
    assert [store.ready_at for store in after.order.pickup.stores][1] == at
    assert after.need.expires_ms == before.need.expires_ms


def test_ready_time_needs_a_store_of_the_job_before_expiry() -> None:
    before = order()
    late = datetime.fromtimestamp(before.need.expires_ms / 1000, UTC)
    with pytest.raises(InvalidOrder) as raised:
        with_ready_at(before, "apple", late, NOON)
    assert [error.pointer for error in raised.value.errors] == ["/store", "/ready_at"]
