"""How many deliveries are under way: slow and failing endpoints leave room for the others."""

from mallard_engine.gateway.webhooks.deliveries import (
    FAILING_SLOTS,
    MOST_QUICK,
    MOST_SLOW,
    NEW_SLOTS,
    QUICK_SLOTS,
    SLOW_SLOTS,
    Line,
    slots_for,
)

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
    assert slots_for(lines, lines, NOW_S) == {
        "new": NEW_SLOTS,
        "quick": QUICK_SLOTS,
        "busy": QUICK_SLOTS - 3,
        "slow": SLOW_SLOTS,
        "waits": SLOW_SLOTS - 1,
        "fails": FAILING_SLOTS,
    }


def test_slow_endpoints_leave_the_quick_ones_their_slots() -> None:
    lines = {f"slow{number}": busy(4, NOW_S - 5) for number in range(1_000)}
    lines["more"] = Line(is_slow=True)
    lines["quick"] = Line(is_quick=True)
    assert slots_for(lines, lines, NOW_S) == {"quick": QUICK_SLOTS}


def test_totals_bound_what_is_under_way() -> None:
    quick = {f"q{number}": Line() for number in range(1_000)}
    slow = {f"s{number}": Line(is_slow=True) for number in range(1_000)}
    slots = slots_for(quick | slow, quick | slow, NOW_S)
    assert sum(slots[name] for name in quick if name in slots) == MOST_QUICK
    assert sum(slots[name] for name in slow if name in slots) == MOST_SLOW


def test_endpoint_leased_by_another_node_gets_nothing() -> None:
    lines = {"gone": busy(2), "own": Line()}
    assert slots_for(lines, {"own"}, NOW_S) == {"own": NEW_SLOTS}
