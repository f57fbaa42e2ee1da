"""The demo's screen, with and without a terminal."""

import io
from collections import Counter, defaultdict

import pytest
from rich.console import Console

from mallard_engine.demo.audit import Finding
from mallard_engine.demo.metric_readings import MetricReadings
from mallard_engine.demo.reassignment_times import ReassignmentTimes
from mallard_engine.demo.screen import Screen, Snapshot, ms
from mallard_engine.demo.summary import Outcome, print_summary
from mallard_engine.metrics import Metrics
from mallard_engine.workload.fleet_tally import FleetTally


def _snapshot() -> Snapshot:
    metrics = Metrics()
    metrics.offer_sent(0.002)
    metrics.offer("offered")
    metrics.count_jobs("phoenix", {"queued": 3, "delivered": 7})
    return Snapshot(
        phase="arrivals",
        elapsed_s=12.3,
        submitted=10,
        expected=400,
        metrics=MetricReadings([metrics.render().decode()]),
        drivers=Counter(available=250, on_run=50),
        offers_per_s=11.5,
        reassigned_per_s=1.5,
        seen_ms=(3.0, 5.0, 9.0),
    )


def test_lines_are_printed_without_a_terminal() -> None:
    out = io.StringIO()
    with Screen(Console(file=out), "the demo") as screen:
        screen.show(_snapshot())
        screen.show(_snapshot())
    title, line = out.getvalue().splitlines()
    assert title == "the demo"
    assert "12.3 s arrivals: 10 submitted; jobs: 3 queued, 7 delivered;" in line
    assert "11.5 offers/s" in line


def test_live_view_is_shown_in_a_terminal() -> None:
    out = io.StringIO()
    with Screen(Console(file=out, force_terminal=True, width=130), "the demo") as screen:
        screen.show(_snapshot())
    seen = out.getvalue()
    for words in ("queued", "available", "reassigned a second", "p99", "7 jobs ended"):
        assert words in seen


@pytest.mark.parametrize(
    ("tally", "line"),
    [
        (FleetTally(), "preset pooled: no order was delivered"),
        (
            FleetTally(
                counts=Counter(delivered=4),
                driven_m=10_000,
                runs=2,
                collected_by=defaultdict(list, {f"j{n}": ["d"] for n in range(5)}),
            ),
            "preset pooled: 2.5 km an order, 2.5 orders a run",
        ),
    ],
)
def test_summary_shows_what_the_preset_costs(tally: FleetTally, line: str) -> None:
    out = io.StringIO()
    outcome = Outcome("pooled", [], _snapshot().metrics, ReassignmentTimes(), tally, [3.0], [2.0])
    print_summary(Console(file=out, width=120), outcome)
    assert line in out.getvalue()


def test_summary_names_failed_findings() -> None:
    out = io.StringIO()
    findings = [Finding("still open 0", True, "0"), Finding("nothing lost", False, "1: j1")]
    metrics, times = _snapshot().metrics, ReassignmentTimes()
    outcome = Outcome("pooled", findings, metrics, times, FleetTally(), [3.0], [2.0])
    assert not outcome.holds
    print_summary(Console(file=out, width=120), outcome)
    assert "✓ │ still open 0" in out.getvalue()
    assert "✗ │ nothing lost" in out.getvalue()
    assert "the audit failed" in out.getvalue()


def test_milliseconds_are_formatted() -> None:
    assert [ms(None), ms(2.34), ms(1234.5)] == ["–", "2.3 ms", "1234 ms"]
