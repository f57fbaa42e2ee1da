"""How many deliveries are under way: slow and failing endpoints leave room for the others."""

from collections.abc import Mapping
from typing import Any, cast

import pytest

from mallard_engine.core.event_ids import Place
from mallard_engine.core.market_events import MarketEvent
from mallard_engine.gateway.events.views import Reader
from mallard_engine.gateway.webhooks import deliveries as deliveries_module
from mallard_engine.gateway.webhooks.deliveries import (
    FAILING_SLOTS,
    MOST_ASKED,
    MOST_QUICK,
    MOST_SLOW,
    NEW_SLOTS,
    QUICK_SLOTS,
    SLOW_SLOTS,
    Deliveries,
    Line,
    Slots,
    reached,
    slots_for,
)
from mallard_engine.ports import WaitingDelivery
from tests.engine.gateway.webhooks.test_fan_out import endpoint
from tests.support import eventually

NOW_S = 100.0


def busy(count: int, since_s: float = NOW_S, **fields: bool) -> Line:
    return Line(dict.fromkeys(range(count), since_s), **fields)


def test_quick_slow_and_failing_endpoints_have_their_slots() -> None:
    lines = {
        "new": Line(),
        "quick": Line(is_quick=True),
        "busy": busy(3, is_quick=True),
        "slow": Line(is_slow=True),
        "waits": busy(1, NOW_S - 1),
        "fails": Line(is_failing=True),
        "full": busy(1, is_failing=True),
    }
    quick, slow = slots_for(lines, lines, NOW_S)
    assert quick.each == {"new": NEW_SLOTS, "quick": QUICK_SLOTS, "busy": QUICK_SLOTS - 3}
    assert slow.each == {"slow": SLOW_SLOTS, "waits": SLOW_SLOTS - 1, "fails": FAILING_SLOTS}
    assert (quick.most, slow.most) == (MOST_QUICK - 3, MOST_SLOW - 2)


def test_slow_endpoints_leave_the_quick_ones_their_slots() -> None:
    lines = {f"slow{number}": busy(4, NOW_S - 5) for number in range(1_000)}
    lines["more"] = Line(is_slow=True)
    lines["quick"] = Line(is_quick=True)
    assert slots_for(lines, lines, NOW_S) == [Slots({"quick": QUICK_SLOTS}, MOST_QUICK)]


def test_no_endpoint_waits_for_slots_that_others_do_not_use() -> None:
    lines = {f"q{number}": Line(is_quick=True) for number in range(MOST_ASKED)}
    assert slots_for(lines, lines, NOW_S) == [
        Slots(dict.fromkeys(lines, QUICK_SLOTS), MOST_QUICK),
    ]


def test_one_call_reads_the_queues_of_a_bounded_number_of_endpoints() -> None:
    quick = {f"q{number}": Line() for number in range(1_000)}
    slow = {f"s{number}": Line(is_slow=True) for number in range(1_000)}
    found = slots_for(quick | slow, quick | slow, NOW_S)
    assert [len(slots.each) for slots in found] == [MOST_ASKED, MOST_ASKED]


def test_endpoint_leased_by_another_node_gets_nothing() -> None:
    lines = {"gone": busy(2), "own": Line()}
    assert slots_for(lines, {"own"}, NOW_S) == [Slots({"own": NEW_SLOTS}, MOST_QUICK - 2)]


class Queues:
    """Queues in which nothing is due. `asked`: the endpoints whose queues each call read."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    async def take(
        self, slots: Mapping[str, int], _most: int, _hold_ms: int
    ) -> list[WaitingDelivery]:
        self.asked.append(list(slots))
        return []


def deliveries_to(names: list[str], queues: Queues) -> Deliveries:
    none: Any = None
    deliveries = Deliveries(cast(Any, queues), none, none, none, lambda: 0, lambda: None)
    deliveries.work_on({name: endpoint(name, "toys") for name in names})
    return deliveries


async def test_endpoints_take_turns_to_be_asked() -> None:
    names, queues = [f"wh{number}" for number in range(3 * MOST_ASKED + 1)], Queues()
    deliveries = deliveries_to(names, queues)
    for _ in range(8):
        await deliveries.send_due()
    asked = [name for call in queues.asked for name in call]
    assert asked == (names * 3)[: 8 * MOST_ASKED]


async def test_all_endpoints_are_asked_before_a_pause() -> None:
    queues = Queues()
    deliveries = deliveries_to([f"wh{number}" for number in range(2 * MOST_ASKED + 1)], queues)
    assert [await deliveries.send_due() for _ in range(6)] == [True, True, False] * 2


async def test_delivery_that_was_taken_is_sent_though_its_endpoint_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It would fall due again, at another node, only after a delivery's longest time."""
    event = MarketEvent("phoenix", Place(1, 0), 1, "job")
    made: list[tuple[MarketEvent, Reader]] = []

    async def payloads(_views: object, wanted: list[tuple[MarketEvent, Reader]]) -> dict[Any, Any]:
        made.extend(wanted)
        return {}

    class Leaving(Queues):
        async def take(
            self, _slots: Mapping[str, int], _most: int, _hold_ms: int
        ) -> list[WaitingDelivery]:
            deliveries.work_on({})
            return [WaitingDelivery("wh1", "1", event, 0, 0)]

    monkeypatch.setattr(deliveries_module, "payloads", payloads)
    deliveries = deliveries_to(["wh1"], Leaving())
    await deliveries.send_due()
    assert len(deliveries) == 1
    await eventually(lambda: len(deliveries) == 0)
    assert made == [(event, Reader("toys"))]


def test_endpoints_beyond_the_total_are_not_counted_as_asked() -> None:
    event = MarketEvent("phoenix", Place(1, 0), 1, "job")
    due = [WaitingDelivery("b", str(number), event, 0, 0) for number in range(3)]
    slots = {"a": 3, "b": 3, "c": 3}
    assert reached(Slots(slots, 3), due) == ["a", "b"]
    assert reached(Slots(slots, 4), due) == ["a", "b", "c"]
