"""Pickup deadlines, drivers who are too late for them, and moves to another opening."""

from dataclasses import replace
from datetime import date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mallard_engine.core.batch.solver import BatchDriver, BatchJob, solve
from mallard_engine.core.matching.ranking import Matcher, offerable
from mallard_engine.core.model import Need, RankedDriver
from mallard_engine.core.pickup.pickup_deadline import at_next_opening, collect_by_ms, last_call_ms
from mallard_engine.core.pickup.pickup_plan import job_tour
from mallard_engine.core.places.mall import Mall
from mallard_engine.core.places.opening_hours import OpeningHours, is_open, opening_at, parse_spans
from mallard_engine.core.policy import MarketPolicy, RunCosts
from mallard_engine.core.runs.pooling import Pool
from mallard_engine.core.runs.run import RunDriver
from tests.engine.core import makers

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
POLICY = MarketPolicy()
DAY = parse_spans("10:00-21:00")
HOURS = OpeningHours(
    "America/Phoenix",
    (*(DAY,) * 6, parse_spans("11:00-18:00")),
    {date(2026, 11, 26): (), date(2026, 11, 27): parse_spans("06:00-22:00")},
)


def local_ms(text: str, offset: str = "-07:00") -> int:
    return int(datetime.fromisoformat(f"{text}:00{offset}").timestamp()) * 1000


# A Monday; the mall closes at nine.
CLOSES = local_ms("2026-11-23T21:00")
MALL = replace(makers.MALL, hours=HOURS)


def need(now_ms: int, **changes: Any) -> Need:
    return makers.need(now_ms, **({"deadline_ms": now_ms + 20 * HOUR_MS} | changes))


def ranked(mall: Mall, what: Need, now_ms: int, away_m: float) -> RankedDriver:
    near = makers.near("ann", away_m)
    (candidate,) = Matcher(mall, [near], now_ms, POLICY, makers.TRAVEL).rank(what)
    return candidate


@pytest.mark.finding("D2")
def test_driver_who_arrives_after_closing_is_no_candidate() -> None:
    now_ms = CLOSES - 10 * MINUTE_MS
    near, far = (ranked(MALL, need(now_ms), now_ms, away_m) for away_m in (500, 8_000))
    assert near.eligible
    assert (far.eligible, far.why_not) == (False, "too_late_for_pickup")
    assert ranked(makers.MALL, need(now_ms), now_ms, 8_000).eligible


@pytest.mark.finding("D2")
def test_driver_who_arrives_after_the_window_is_no_candidate() -> None:
    now_ms = CLOSES - 5 * HOUR_MS
    what = need(now_ms, expires_ms=now_ms + 8 * MINUTE_MS)
    assert ranked(MALL, what, now_ms, 500).eligible
    assert ranked(MALL, what, now_ms, 8_000).why_not == "too_late_for_pickup"


@pytest.mark.finding("D2")
def test_walk_and_counter_count_towards_closing() -> None:
    what = need(CLOSES)
    tour = job_tour(MALL, what, lambda *_: POLICY.store_dwell_s, CLOSES)
    probe = ranked(makers.MALL, what, CLOSES, 500)
    takes_ms = probe.eta_pickup_ms - CLOSES
    assert takes_ms > tour.collect_ms
    for early_ms, eligible in ((takes_ms, True), (takes_ms - 1, False)):
        now_ms = CLOSES - early_ms
        found = ranked(MALL, need(now_ms), now_ms, 500)
        assert (found.eligible, found.ask_by_ms) == (eligible, CLOSES - takes_ms)


@pytest.mark.finding("D2")
def test_parcel_ready_at_the_last_minute_may_be_waited_for() -> None:
    now_ms = CLOSES - 40 * MINUTE_MS
    assert ranked(MALL, need(now_ms, ready_ms=CLOSES), now_ms, 500).why_not is not None
    assert ranked(MALL, need(now_ms, ready_ms=CLOSES - 1), now_ms, 500).eligible


@pytest.mark.finding("D2")
@pytest.mark.parametrize(("before_min", "planned"), [(10, False), (40, True)])
def test_batch_plans_no_driver_late_for_pickup(before_min: int, planned: bool) -> None:
    now_ms = CLOSES - before_min * MINUTE_MS
    at = makers.near("ann", 8_000).position
    driver = BatchDriver(makers.driver("ann"), at.lat, at.lon)
    job = BatchJob(makers.waiting(need=need(now_ms)), MALL)
    plans = solve([job], [driver], now_ms, POLICY, makers.TRAVEL)
    assert bool(plans) is planned
    for plan in plans:
        (asked,) = plan.ranking()
        assert asked.eta_pickup_ms <= CLOSES
        assert abs(asked.ask_by_ms - (CLOSES - (asked.eta_pickup_ms - now_ms))) <= 1


@pytest.mark.finding("D2")
@pytest.mark.parametrize("plan", ["by_driver", "by_deadline"])
@pytest.mark.parametrize(("there_s", "leaves"), [(1_140.0, False), (60.0, True)])
def test_run_takes_no_driver_who_is_late_for_pickup(
    plan: str, there_s: float, leaves: bool
) -> None:
    now_ms = CLOSES - 10 * MINUTE_MS
    policy = MarketPolicy(max_run_jobs=4, run=RunCosts(plan=plan))  # type: ignore[arg-type]
    jobs = [makers.waiting(name, need=need(now_ms)) for name in "ab"]
    room = RunDriver("ann", makers.vehicle(max_jobs=4), there_s)
    pooled = Pool(MALL, jobs, now_ms, policy, makers.TRAVEL).runs([room])
    assert bool(pooled.runs) is leaves


@pytest.mark.finding("D2")
def test_add_on_that_would_be_collected_after_closing_stays() -> None:
    now_ms = CLOSES - 20 * MINUTE_MS
    policy = MarketPolicy(max_run_jobs=4)
    held = makers.held_job(deadline_ms=now_ms + 10 * HOUR_MS)
    for there_s, added in ((30.0, True), (1_140.0, False)):
        room = RunDriver("ann", makers.vehicle(max_jobs=4), there_s, carried=(held,))
        job = makers.waiting(need=need(now_ms))
        assert bool(Pool(MALL, [job], now_ms, policy, makers.TRAVEL).runs([room]).runs) is added


@pytest.mark.finding("D2")
def test_job_is_held_no_longer_than_closing_allows() -> None:
    now_ms = CLOSES - 3 * HOUR_MS
    policy = MarketPolicy(
        preset="same_day", max_run_jobs=4, hold_max_s=12 * 3_600.0, hold_margin_s=600.0
    )
    job = makers.waiting(need=need(now_ms))
    room = RunDriver("ann", makers.vehicle(max_jobs=4), 60.0)
    held = Pool(MALL, [job], now_ms, policy, makers.TRAVEL).runs([room]).held
    assert now_ms < held[job.job] < CLOSES - 600_000


# -- the next opening


@pytest.mark.finding("D3")
@pytest.mark.parametrize(
    ("now", "opens"),
    [
        ("2026-11-23T20:50", None),
        ("2026-11-23T20:59", "2026-11-24T10:00"),
        ("2026-11-23T21:00", "2026-11-24T10:00"),
        ("2026-11-24T03:00", "2026-11-24T10:00"),
        ("2026-11-28T20:59", "2026-11-29T11:00"),  # over to a Sunday
        ("2026-11-29T17:59", "2026-11-30T10:00"),
        ("2026-11-25T20:59", "2026-11-27T06:00"),  # past a holiday
    ],
)
def test_job_moves_if_no_driver_at_the_gate_can_collect_it(now: str, opens: str | None) -> None:
    now_ms = local_ms(now)
    what = makers.need(now_ms, deadline_ms=now_ms + 72 * HOUR_MS)
    moved = at_next_opening(MALL, what, 270_000, now_ms)
    if opens is None:
        assert moved is None
    else:
        assert moved == replace(what, ready_ms=local_ms(opens))
        assert at_next_opening(MALL, moved, 270_000, now_ms) is None


@pytest.mark.finding("D3")
def test_job_stays_if_it_expires_before_the_next_opening() -> None:
    now_ms = CLOSES - MINUTE_MS
    opens_ms = local_ms("2026-11-24T10:00")
    for expires_ms, moves in ((opens_ms + 269_999, False), (opens_ms + 270_000, True)):
        what = need(now_ms, expires_ms=expires_ms)
        assert (at_next_opening(MALL, what, 270_000, now_ms) is not None) is moves


@pytest.mark.finding("D3")
def test_mall_without_closing_moves_nothing() -> None:
    round_the_clock = replace(MALL, hours=OpeningHours("UTC", (parse_spans("00:00-24:00"),) * 7))
    for mall in (makers.MALL, round_the_clock):
        assert at_next_opening(mall, need(CLOSES), 270_000, CLOSES) is None
        assert last_call_ms(mall, need(CLOSES), 270_000, CLOSES) is None
        assert collect_by_ms(mall, need(CLOSES), CLOSES) == need(CLOSES).expires_ms


@pytest.mark.finding("D3")
@pytest.mark.parametrize(
    ("now", "opens"),
    [
        # In New York clocks go back in the night to 1 November 2026, and forward on 14 March 2027.
        ("2026-10-31T20:59:00-04:00", "2026-11-01T10:00:00-05:00"),
        ("2027-03-13T20:59:00-05:00", "2027-03-14T10:00:00-04:00"),
    ],
)
def test_next_opening_follows_the_wall_clock_over_a_change(now: str, opens: str) -> None:
    mall = replace(MALL, hours=OpeningHours("America/New_York", (DAY,) * 7))
    now_ms, opens_ms = (int(datetime.fromisoformat(at).timestamp()) * 1000 for at in (now, opens))
    moved = at_next_opening(mall, need(now_ms), 270_000, now_ms)
    assert moved is not None
    assert moved.ready_ms == opens_ms


spans = st.sampled_from(
    (
        "10:00-21:00",
        "closed",
        "00:00-24:00",
        "09:00-12:00, 14:00-18:30",
        "18:00-02:00",
        "10:00-10:02",
    )
)
weeks = st.lists(spans, min_size=7, max_size=7).filter(lambda week: set(week) != {"closed"})
zones = st.sampled_from(("America/Phoenix", "America/New_York", "Asia/Kathmandu", "UTC"))


@pytest.mark.finding("D2")
@pytest.mark.finding("D3")
@given(
    week=weeks,
    zone=zones,
    now_min=st.integers(0, 14 * 1_440),
    ready_min=st.integers(-600, 1_440),
    lasts_min=st.integers(1, 72 * 60),
    away_m=st.floats(0, 20_000),
    stores=st.sampled_from((("lego",), ("lego", "apple"))),
    own=st.none() | weeks,
)
def test_no_late_pickup_and_no_job_ends_before_an_opening(
    week: list[str],
    zone: str,
    now_min: int,
    ready_min: int,
    lasts_min: int,
    away_m: float,
    stores: tuple[str, ...],
    own: list[str] | None,
) -> None:
    shop = MALL.stores["lego"]
    if own:
        shop = replace(shop, hours=OpeningHours(zone, tuple(parse_spans(day) for day in own)))
    mall = replace(
        MALL,
        hours=OpeningHours(zone, tuple(parse_spans(day) for day in week)),
        stores={**MALL.stores, shop.id: shop},
    )
    hours = mall.hours_of(stores)
    now_ms = local_ms("2026-10-25T00:00") + now_min * MINUTE_MS
    what = makers.need(
        now_ms,
        stores=stores,
        ready_ms=now_ms + ready_min * MINUTE_MS,
        deadline_ms=now_ms + max(ready_min, 0) * MINUTE_MS + lasts_min * MINUTE_MS,
    )
    found = ranked(mall, what, now_ms, away_m)
    if found.eligible:
        assert found.eta_pickup_ms <= what.expires_ms
        opening = opening_at(hours, found.eta_pickup_ms - 1)
        assert opening.from_ms <= found.eta_pickup_ms
        assert opening.to_ms is None or found.eta_pickup_ms <= opening.to_ms
        assert offerable((found,)) == (found,)

    collect_ms = job_tour(mall, what, lambda *_: POLICY.store_dwell_s, now_ms).collect_ms
    moved = at_next_opening(mall, what, collect_ms, now_ms)
    assert moved is None or not found.eligible
    if moved is not None:
        assert is_open(hours, moved.ready_ms)
        assert now_ms <= moved.ready_ms < moved.expires_ms == what.expires_ms
        # A driver at the gate can collect it then, unless every opening is too short.
        late = collect_by_ms(mall, moved, moved.ready_ms)
        assert late >= moved.ready_ms
    else:
        # It stays: the present opening suffices, or no later one is long enough and in time.
        at_ms = max(now_ms, what.ready_ms)
        needs_ms = collect_ms
        if is_open(hours, at_ms):
            closes_ms = opening_at(hours, at_ms).to_ms
            if closes_ms is None or max(now_ms + collect_ms, at_ms) <= closes_ms:
                return
            at_ms = closes_ms
        while at_ms < what.expires_ms:
            from_ms, to_ms = opening_at(hours, at_ms)
            assert from_ms + needs_ms > min(to_ms or what.expires_ms, what.expires_ms)
            at_ms = to_ms or what.expires_ms
