"""The seeded choice of a bad day's events."""

from collections import Counter

import pytest

from mallard_engine.workload.bad_day.events import (
    DEFAULT_SHARES,
    MEANINGS,
    ORDER_EVENTS,
    RUN_EVENTS,
    UNDELIVERABLE,
    BadDay,
    BadEvent,
    parcels_there,
)

ORDERS = [f"o{number}" for number in range(4_000)]


def test_every_event_belongs_to_one_group_and_has_a_meaning() -> None:
    of_malls = {BadEvent.CLOSED_SHOP, BadEvent.EVACUATED, BadEvent.STORM}
    assert sorted((*ORDER_EVENTS, *RUN_EVENTS, *of_malls)) == sorted(BadEvent)
    assert set(MEANINGS) == set(DEFAULT_SHARES) == set(BadEvent)


def test_default_shares_make_one_order_and_one_run_in_ten_bad() -> None:
    for events in (ORDER_EVENTS, RUN_EVENTS):
        assert sum(DEFAULT_SHARES[event] for event in events) == pytest.approx(0.1)


def test_choice_depends_on_seed_and_name_only() -> None:
    day, again, other = BadDay(1), BadDay(1), BadDay(2)
    forwards = [day.of_order(order) for order in ORDERS]
    assert [again.of_order(order) for order in reversed(ORDERS)] == forwards[::-1]
    assert [other.of_order(order) for order in ORDERS] != forwards
    assert {day.of_run("d1", number) for number in range(400)} > {None}


def test_shares_are_kept_over_many_orders() -> None:
    day = BadDay(3)
    found = Counter(day.of_order(order) for order in ORDERS)
    for event in ORDER_EVENTS:
        assert found[event] / len(ORDERS) == pytest.approx(DEFAULT_SHARES[event], abs=0.01)
    assert found[None] / len(ORDERS) == pytest.approx(0.9, abs=0.02)


def test_event_of_share_one_happens_to_all() -> None:
    day = BadDay(1, {BadEvent.LATE: 1.0, BadEvent.EVACUATED: 1.0, BadEvent.STORM: 1.0})
    assert {day.of_order(order) for order in ORDERS} == {BadEvent.LATE}
    assert day.is_evacuated("mall")
    assert day.in_storm("o1")
    assert not day.closes("mall/shop")
    assert day.of_run("d1", 1) is None


@pytest.mark.parametrize(
    "shares",
    [
        {BadEvent.MISSING: 1.5},
        {BadEvent.MISSING: -0.1},
        {BadEvent.MISSING: float("nan")},
        {BadEvent.MISSING: 0.6, BadEvent.SHORT: 0.5},
        {BadEvent.BREAKDOWN: 0.6, BadEvent.QUITS: 0.5},
    ],
)
def test_shares_out_of_bounds_are_refused(shares: dict[BadEvent, float]) -> None:
    with pytest.raises(ValueError, match=r"from 0 to 1|over 1"):
        BadDay(1, shares)


def test_counter_has_fewer_parcels_of_a_short_order() -> None:
    assert parcels_there(None, 2) == 2
    assert parcels_there(BadEvent.MISSING, 2) == 0
    assert parcels_there(BadEvent.SHORT, 2) == 1
    assert parcels_there(BadEvent.SHORT, 1) == 1  # one parcel cannot be short
    assert BadEvent.SHORT not in UNDELIVERABLE
