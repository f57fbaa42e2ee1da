"""Whether another driver reaches the gate before a silent or stuck holder."""

from mallard_engine.core.matching.reassignment import earlier, expected_ms, has_slipped
from mallard_engine.core.model import Position, RankedDriver
from tests.engine.core.makers import MALL, NOW_MS, TRAVEL

GATE = next(iter(MALL.gates.values()))


def seen(north_m: float, ago_ms: int) -> Position:
    at_ms = NOW_MS - ago_ms
    return Position(GATE.lat + north_m / 111_195, GATE.lon, 5.0, at_ms, at_ms)


def ranked(name: str, eta_s: int, *, eligible: bool = True) -> RankedDriver:
    return RankedDriver(name, eligible, None, 1.0, (), eta_s, 0, GATE.id)


def test_silent_holder_is_assumed_to_keep_driving() -> None:
    just_seen = expected_ms(seen(9_000, 0), GATE, NOW_MS, TRAVEL)
    long_ago = expected_ms(seen(9_000, 60_000), GATE, NOW_MS, TRAVEL)
    assert just_seen > NOW_MS + 1_000_000
    assert long_ago == just_seen - 60_000


def test_overdue_holder_is_expected_now() -> None:
    assert expected_ms(seen(90, 60_000), GATE, NOW_MS, TRAVEL) == NOW_MS


def test_earlier_driver_must_win_even_with_a_late_answer() -> None:
    ranking = [ranked("slow", 571), ranked("quick", 569), ranked("equal", 570)]
    ranking.append(ranked("out", 10, eligible=False))
    better = earlier(ranking, NOW_MS + 600_000, NOW_MS, 30_000)
    assert [each.driver for each in better] == ["quick"]


def test_no_driver_is_earlier_than_an_overdue_holder() -> None:
    assert earlier([ranked("near", 0)], NOW_MS, NOW_MS, 30_000) == ()


def test_standing_still_delays_the_expected_arrival() -> None:
    collect_ms, promised_ms = 120_000, NOW_MS + 720_000  # at the gate in ten minutes
    gate_ms = NOW_MS + 600_000
    assert not has_slipped(gate_ms + 179_999, promised_ms, collect_ms, 180.0)
    assert has_slipped(gate_ms + 180_000, promised_ms, collect_ms, 180.0)
    # If the parcel itself is late, the holder is not late before it is ready.
    assert not has_slipped(gate_ms + 180_000, promised_ms + 60_000, collect_ms, 180.0)
    assert not has_slipped(gate_ms + 180_000, None, collect_ms, 180.0)
