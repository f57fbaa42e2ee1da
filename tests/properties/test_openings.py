"""Orders around closing time: none is refused or shortened if an opening is in time."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from mallard_engine.contract.reading.bodies import body_as
from mallard_engine.core.model import Need
from mallard_engine.core.places.markets import Mall, Places
from mallard_engine.core.places.opening_hours import (
    OpeningHours,
    is_open,
    next_collection_ms,
    opening_at,
    parse_spans,
    together,
)
from mallard_engine.gateway.orders import intake
from mallard_engine.gateway.orders.complete_order import CompleteOrder
from mallard_engine.gateway.orders.intake import InvalidOrder, ValidOrder, read_order
from mallard_protocol.codes import ProblemCode, ServiceLevel
from mallard_protocol.resources import JobRequest
from tests.properties.profiles import DEEP

pytestmark = pytest.mark.finding("D3")

MINUTE_MS = 60_000
SHIPPED = Places.load().market("phoenix")
MALLS = ("chandler-fashion-center", "arizona-mills")
MONDAY_MS = int(datetime(2026, 11, 23, tzinfo=UTC).timestamp()) * 1000
submission_need = intake._need
SETTINGS = settings(
    max_examples=2_000 if DEEP else 150,
    deadline=None,
    database=None,
    derandomize=not DEEP,
    report_multiple_bugs=False,
)

days = st.sampled_from(
    ("10:00-21:00", "closed", "00:00-24:00", "09:00-12:00, 14:00-18:30", "18:00-02:00")
)
weeks = st.lists(days, min_size=7, max_size=7).filter(lambda week: set(week) != {"closed"})
zones = st.sampled_from(("America/Phoenix", "America/New_York", "UTC"))


@dataclass(frozen=True)
class OrderTimes:
    """Times of an order in minutes: `now_min` since Monday, others from now on; None: absent."""

    now_min: int
    ready_min: int
    window_min: int | None
    deadline_min: int | None


orders = st.builds(
    OrderTimes,
    now_min=st.integers(0, 8 * 1_440),
    ready_min=st.integers(0, 1_440),
    window_min=st.none() | st.integers(1, 2 * 1_440),
    deadline_min=st.none() | st.integers(1, 3 * 1_440),
)


def places_with(mall: str, hours: OpeningHours, own: OpeningHours | None = None) -> Places:
    """Places with these hours of a mall, and of its first store."""
    shop, *others = SHIPPED.malls[mall].stores.values()
    stores = {it.id: it for it in (replace(shop, hours=own), *others)}
    changed = replace(SHIPPED.malls[mall], hours=hours, stores=stores)
    return Places([replace(SHIPPED, malls={**SHIPPED.malls, mall: changed})])


def request(mall: Mall, times: OrderTimes, now_ms: int) -> JobRequest:
    def at(minutes: int) -> str:
        return datetime.fromtimestamp((now_ms + minutes * MINUTE_MS) / 1000, UTC).isoformat()

    store = {"store": next(iter(mall.stores)), "ready_at": at(times.ready_min)}
    collection: dict[str, object] = {"mall": mall.id, "stores": [store]}
    dropoff: dict[str, object] = {"lat": mall.lat, "lon": mall.lon}
    if times.window_min is not None:
        collection["window_end"] = at(times.window_min)
    if times.deadline_min is not None:
        dropoff["deadline"] = at(times.deadline_min)
    return body_as({"pickup": collection, "dropoff": dropoff}, JobRequest)


def read(request: JobRequest, places: Places, now_ms: int) -> ValidOrder | InvalidOrder:
    try:
        return read_order(request, places, lambda _: ServiceLevel.POOLED, now_ms)
    except InvalidOrder as refusal:
        return refusal


def starts_ms(hours: OpeningHours, from_ms: int, until_ms: int) -> Iterator[int]:
    """When a collection could start: at once, or when the mall opens."""
    at_ms = from_ms
    while at_ms < until_ms:
        opening = opening_at(hours, at_ms)
        yield max(opening.from_ms, at_ms)
        at_ms = until_ms if opening.to_ms is None else opening.to_ms


def check(
    mall_id: str, hours: OpeningHours, times: OrderTimes, own: OpeningHours | None = None
) -> None:
    places = places_with(mall_id, hours, own)
    hours = together((hours, own)) if own else hours
    mall = places.malls[mall_id]
    now_ms = MONDAY_MS + times.now_min * MINUTE_MS
    ready_ms = now_ms + times.ready_min * MINUTE_MS
    deadline_ms = now_ms + (1_440 if times.deadline_min is None else times.deadline_min) * MINUTE_MS
    window_ms = deadline_ms if times.window_min is None else now_ms + times.window_min * MINUTE_MS
    ends_ms = min(window_ms, deadline_ms)
    walk_ms = next(iter(mall.stores.values())).walk_s * 1000

    def can_start(at_ms: int) -> bool:
        closes_ms = opening_at(hours, at_ms).to_ms
        is_in_time = closes_ms is None or at_ms + walk_ms <= closes_ms
        return is_open(hours, at_ms) and is_in_time and at_ms + walk_ms < ends_ms

    first = next((at for at in starts_ms(hours, ready_ms, ends_ms) if can_start(at)), None)
    outcome = read(request(mall, times, now_ms), places, now_ms)
    if isinstance(outcome, InvalidOrder):
        is_closed = outcome.code is ProblemCode.MALL_CLOSED
        assert not (is_closed and first), f"refused, and could be collected at {first}"
        assert is_closed or ends_ms <= ready_ms, outcome.errors
        return
    assert outcome.need.expires_ms == ends_ms, "the order expires before its deadline"
    assert first is None or outcome.need.ready_ms <= first, "an opening is skipped"
    # A driver who is late for the order's end is none; so no opening that is in time remains.
    late = opening_at(hours, max(outcome.need.ready_ms, now_ms)).from_ms > outcome.need.ready_ms
    assert first is None or not late, "sent to a closed shop"


def check_random_orders(profile: settings) -> None:
    """Check orders at random."""

    @given(
        mall=st.sampled_from(MALLS),
        week=weeks,
        zone=zones,
        times=orders,
        own_week=st.none() | weeks,
    )
    @profile
    def each(
        mall: str, week: list[str], zone: str, times: OrderTimes, own_week: list[str] | None
    ) -> None:
        hours = OpeningHours(zone, tuple(map(parse_spans, week)))
        own = OpeningHours(zone, tuple(map(parse_spans, own_week))) if own_week else None
        check(mall, hours, times, own)

    each()


def test_no_order_is_refused_or_cut_short_by_closing() -> None:
    check_random_orders(SETTINGS)


def _always_closed(_hours: OpeningHours, at_ms: int, _needs_ms: int) -> tuple[int, int | None]:
    return at_ms + 7 * 1_440 * MINUTE_MS, None


def _next_day(hours: OpeningHours, at_ms: int, needs_ms: int) -> tuple[int, int | None]:
    """The opening after the next."""
    opens_ms, closes_ms = next_collection_ms(hours, at_ms, needs_ms)
    if opens_ms == at_ms or closes_ms is None:
        return opens_ms, closes_ms
    return next_collection_ms(hours, closes_ms, needs_ms)


def _cut_at_closing(order: CompleteOrder, mall: Mall, now_ms: int) -> Need:
    need = submission_need(order, mall, now_ms)
    closes_ms = opening_at(mall.hours, max(need.ready_ms, now_ms)).to_ms
    return need if closes_ms is None else replace(need, expires_ms=min(need.expires_ms, closes_ms))


@pytest.mark.parametrize(
    ("name", "bug"),
    [
        ("next_collection_ms", _always_closed),
        ("next_collection_ms", _next_day),
        ("_need", _cut_at_closing),
    ],
)
def test_planted_bug_around_closing_is_found(
    monkeypatch: pytest.MonkeyPatch, name: str, bug: Callable[..., object]
) -> None:
    monkeypatch.setattr(intake, name, bug)
    with pytest.raises(AssertionError):
        check_random_orders(settings(SETTINGS, phases=[Phase.generate]))


def _of_the_mall(mall: Mall, _stores: Sequence[str]) -> OpeningHours:
    return mall.hours


def test_hours_of_a_shop_that_are_ignored_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Mall, "hours_of", _of_the_mall)
    with pytest.raises(AssertionError):
        check_random_orders(settings(SETTINGS, phases=[Phase.generate]))
