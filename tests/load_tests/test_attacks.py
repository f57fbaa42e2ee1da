"""The attacks' list, and the judge of what they did."""

import json
from dataclasses import replace

import pytest

from load_tests.attacks.registry import attacks
from load_tests.attacks.report import Findings, counters, events
from load_tests.histograms import Histograms
from load_tests.measurements import Measure
from load_tests.swarm.result import SwarmResult
from mallard_engine.metrics import Metrics
from mallard_protocol.codes import Close


def phase(*, p99_ms: float = 10.0, failures: int = 0, lost: int = 0) -> SwarmResult:
    histograms = Histograms()
    for measure in (Measure.POST_JOB, Measure.OFFER):
        for _ in range(100):
            histograms.record(measure.value, p99_ms)
        for _ in range(failures):
            histograms.record(measure.value, 0.0, failed=True)
    return SwarmResult(
        rate=5.0,
        seconds=20.0,
        drivers=10,
        histograms=histograms,
        counts={"socket closed 4001": lost},
        generator_cpu=0.1,
        generator_lag_ms=1.0,
    )


GOOD = Findings(
    attacked=phase(),
    control=phase(),
    before_mib=130.0,
    peak_mib=150.0,
    after_mib=135.0,
    attackers_cpu=0.2,
    logged={"requests limited": 21},
    done={"bad_tokens": {"429": 4}},
    counted={"mallard_requests_limited_total": 4.0},
    wanted_counters={"mallard_requests_limited_total"},
)


def missed(findings: Findings) -> list[str]:
    return [name for name, *_, met in findings.goals() if not met]


@pytest.mark.finding("A7", "A9", "A10")
def test_each_row_with_attackers_of_a_service_is_played() -> None:
    rows = [it.row for it in attacks()]
    assert {"A7", "A9", "A10"} <= set(rows)
    assert rows.count("A9") == 5
    assert rows.count("A10") == 2


def test_each_counter_named_is_one_of_the_engine() -> None:
    metrics = Metrics()
    exposed = metrics.render().decode()
    for one in attacks():
        if one.counter:
            assert f"# TYPE {one.counter.partition('{')[0]} counter" in exposed, one.name
    closes = [it.counter for it in attacks() if it.counter and "ws_closed" in it.counter]
    codes = {int(name.partition('"')[2].partition('"')[0]) for name in closes}
    assert codes <= {1007, *map(int, Close)}


def test_attacks_on_quotas_do_not_use_up_each_others() -> None:
    """Rejected for its stored bytes, a service never reaches its number of open jobs."""
    filling = [it for it in attacks() if it.counter and "quota_refusals" in it.counter]
    assert len({it.service for it in filling}) == len(filling) > 1


def test_quiet_run_meets_every_goal() -> None:
    assert GOOD.met, missed(GOOD)
    assert "MISSED" not in GOOD.text()


@pytest.mark.parametrize(
    ("findings", "goals"),
    [
        (replace(GOOD, after_mib=140.1), ["memory"]),
        (replace(GOOD, attacked=phase(lost=1)), ["drivers lost"]),
        (
            replace(GOOD, attacked=phase(p99_ms=31.0)),
            ["POST /v1/jobs: p99 / control"],
        ),
        (
            replace(GOOD, attacked=phase(failures=1)),
            ["POST /v1/jobs: failed", "offer latency: failed"],
        ),
        (replace(GOOD, logged={"bad": 24}), ["lines of one event a second"]),
        (replace(GOOD, counted={}), ["counters that did not move"]),
    ],
)
def test_each_failure_misses_its_goal(findings: Findings, goals: list[str]) -> None:
    assert missed(findings) == goals
    assert not findings.met


def test_events_of_a_log_are_counted_and_other_lines_kept() -> None:
    lines = [json.dumps({"event": "requests limited", "count": n}) for n in range(2)]
    log = "\n".join([*lines, "Traceback (most recent call last):"]).encode()
    assert events(log) == {"requests limited": 2, "Traceback (most recent call last):": 1}


def test_counters_are_read_with_their_labels() -> None:
    metrics = Metrics()
    metrics.request_limited("token")
    assert counters(metrics.render().decode())['mallard_requests_limited_total{kind="token"}'] == 1
