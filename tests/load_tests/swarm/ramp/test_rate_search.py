from xml.etree import ElementTree as ET

import pytest

from load_tests.histograms import Histograms
from load_tests.measurements import Measure
from load_tests.meters import Usage
from load_tests.slo import Verdict
from load_tests.swarm.plan import BadPlan
from load_tests.swarm.ramp.plot import ramp_plot
from load_tests.swarm.ramp.rate_search import RampPlan, Step, knee, next_rate
from load_tests.swarm.ramp.terminal import ramp_table
from load_tests.swarm.result import SwarmResult

OURS = Usage(10.0, 0.4, 90.0, 0.1, 12.0, 0.5, 5.0)
NOBODYS = Usage(10.0, None, None, None, None, None, None)


def step(rate: float, *, met: bool, usage: Usage = OURS) -> Step:
    histograms = Histograms()
    for ms in (1.0, 2.0, 30.0):
        histograms.record(Measure.OFFER.value, ms)
    result = SwarmResult(
        rate=rate,
        seconds=10.0,
        drivers=5,
        histograms=histograms,
        counts={"delivered": 3},
        generator_cpu=0.1,
        generator_lag_ms=1.0,
    )
    return Step(result, usage, (Verdict("offer latency", "p99<50ms", "30 ms", met=met),))


def climbed(limit: float, ramp: RampPlan) -> list[Step]:
    """The steps of a ramp on an engine that takes so many a second."""
    steps: list[Step] = []
    while (rate := next_rate(ramp, steps)) is not None:
        steps.append(step(rate, met=rate <= limit))
    return steps


def test_rate_rises_until_a_miss_and_closes_in() -> None:
    steps = climbed(100, RampPlan(first=10, factor=2, last=1000, halvings=3))
    assert [step.rate for step in steps] == [10, 20, 40, 80, 160, 120, 100, 110]
    assert knee(steps) == 100


def test_ramp_ends_at_the_last_rate() -> None:
    steps = climbed(10_000, RampPlan(first=10, factor=3, last=100))
    assert [step.rate for step in steps] == [10, 30, 90, 100]
    assert knee(steps) == 100


def test_without_a_rate_that_meets_all_there_is_no_knee() -> None:
    steps = climbed(1, RampPlan(first=10))
    assert [step.rate for step in steps] == [10]
    assert knee(steps) is None


def test_rate_met_above_a_missed_one_is_no_knee() -> None:
    steps = [step(10, met=True), step(20, met=False), step(30, met=True)]
    assert knee(steps) == 10


@pytest.mark.parametrize(
    "wrong", [{"first": 0.0}, {"first": 9.0, "last": 3.0}, {"factor": 1.0}, {"halvings": -1}]
)
def test_invalid_ramp_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(BadPlan, match="ramp"):
        RampPlan(**wrong)  # type: ignore[arg-type]


def test_plot_shows_latency_and_what_was_used() -> None:
    svg = ramp_plot([step(20, met=False), step(10, met=True)])
    ET.fromstring(svg)
    for title in ("Offer latency", "CPU", "Memory", "Event-loop lag of the engine"):
        assert f">{title}<" in svg


def test_unknown_values_of_a_remote_engine_are_omitted() -> None:
    steps = [step(rate, met=True, usage=NOBODYS) for rate in (10, 20)]
    assert ">Memory<" not in ramp_plot(steps)
    assert "None" not in ramp_table(steps)


def test_table_lists_rates_in_ascending_order() -> None:
    text = ramp_table([step(20, met=False), step(10, met=True)])
    lines = [line for line in text.splitlines() if "met" in line or "MISSED" in line]
    assert [line.split()[1] for line in lines] == ["10", "20"]
    assert "MISSED" in lines[1]
