"""Which goals of events hold, from what was measured."""

import argparse
import asyncio

import pytest

from load_tests.events.beside import Runs, bounded, latency_goal, offers_goal, report_goals
from load_tests.events.webhooks import Kind, goals


class Offers(Runs):
    """Runs whose offers took so long."""

    def __init__(self, *p99_ms: float) -> None:
        super().__init__()
        self._p99_ms = list(p99_ms)

    def p99_ms(self) -> list[float]:
        return self._p99_ms


def test_median_of_the_runs_is_compared() -> None:
    assert latency_goal("x", [10, 40, 900], 50)[1]
    assert not latency_goal("x", [10, 60, 60], 50)[1]
    assert offers_goal("x", Offers(5, 9), Offers(1, 9, 20))[1]
    assert not offers_goal("x", Offers(5, 9), Offers(10, 11, 3))[1]


@pytest.mark.parametrize("seen", [[], [float("nan")]])
def test_nothing_measured_is_a_miss(seen: list[float]) -> None:
    assert not latency_goal("x", seen, 50)[1]


def test_each_goal_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert report_goals([("one", True), ("two", False), ("three", True)])
    assert capsys.readouterr().out == "HOLDS one\nMISSED two\nHOLDS three\n"
    assert not report_goals([("one", True)])


def test_dead_endpoints_must_not_slow_down_the_others() -> None:
    runs = {str(number): Offers(10) for number in range(3)}
    usual = Kind(10, delays_s=[[0.1] * 9, [0.2] * 9], wanted=18)

    def missed(delay_s: float, missing: int = 0) -> list[str]:
        kinds = [Kind(0), usual, Kind(10, 1, 1, [[delay_s] * 9], missing, 9)]
        return [goal for goal, holds in goals(runs, kinds) if not holds]

    assert missed(0.2) == []
    assert [goal for goal in missed(0.22) if "as beside" in goal] == missed(0.22) != []
    assert len(missed(0.3)) == 2
    assert missed(0.1, 1) == ["8 healthy, 1 dead, 1 slow: 1 of 9 changes are missing"]


async def test_measurement_that_hangs_is_ended() -> None:
    options = argparse.Namespace(within_s=0.01)
    with pytest.raises(SystemExit, match="NOT MEASURED"):
        await bounded(asyncio.sleep(60), options)
