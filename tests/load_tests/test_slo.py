import pytest

from load_tests.histograms import Histograms
from load_tests.slo import BadObjective, Verdict, judge, parse_objective


def recorded(*times_ms: float, failures: int = 0, name: str = "offer latency") -> Histograms:
    histograms = Histograms()
    for ms in times_ms:
        histograms.record(name, ms)
    for _ in range(failures):
        histograms.record(name, 0.0, failed=True)
    return histograms


def verdicts(objective: str, histograms: Histograms) -> list[bool]:
    return [verdict.met for verdict in judge([parse_objective(objective)], histograms)]


def test_objective_has_a_name_and_conditions() -> None:
    objective = parse_objective("offer latency: p99 < 50ms, failures<0.1%")
    assert objective.name == "offer latency"
    assert [it.text for it in objective.conditions] == ["p99 < 50ms", "failures<0.1%"]
    assert [it.bound for it in objective.conditions] == [50, pytest.approx(0.001)]


def test_name_may_contain_colons() -> None:
    assert parse_objective("location → visible:max<1s").name == "location → visible"
    assert parse_objective("POST /v1/jobs:count>=1").name == "POST /v1/jobs"


@pytest.mark.parametrize(
    ("objective", "met"),
    [
        ("offer latency:p50<50.1ms", True),
        ("offer latency:p50<50ms", False),
        ("offer latency:p50<=50100us", True),
        ("offer latency:p99.9<0.2s", True),
        ("offer latency:max>99ms", True),
        ("offer latency:mean<50ms", False),
        ("offer latency:count>=100", True),
        ("offer latency:count>100", False),
    ],
)
def test_each_value_is_compared_with_its_bound(objective: str, met: bool) -> None:
    assert verdicts(objective, recorded(*range(1, 101))) == [met]


def test_failures_are_a_share_or_a_number() -> None:
    histograms = recorded(*[5.0] * 99, failures=1)
    objective = "offer latency:failures<=1%,failures<1%,failures<=1,failures<1"
    assert verdicts(objective, histograms) == [True, False, True, False]


def test_failures_are_not_in_percentiles() -> None:
    assert verdicts("offer latency:p50>4ms", recorded(5.0, failures=99)) == [True]


def test_objective_of_a_name_without_requests_is_missed() -> None:
    objective = parse_objective("ofer latency:p99<50ms,failures<1%")
    assert judge([objective], recorded(1.0)) == [
        Verdict("ofer latency", "p99<50ms", "no request", met=False),
        Verdict("ofer latency", "failures<1%", "no request", met=False),
    ]


def test_verdict_shows_what_was_seen() -> None:
    objective = parse_objective("offer latency:p99<5ms,failures<0.1%,count>9")
    seen = [verdict.seen for verdict in judge([objective], recorded(7.0, failures=1))]
    assert seen == ["7.00 ms", "50.000%", "2"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("p99<50ms", "NAME:CONDITION"),
        (":p99<50ms", "NAME:CONDITION"),
        ("offer latency:", "no condition"),
        ("offer latency:p99<50", "takes us or ms or s"),
        ("offer latency:p99<1%", "takes us or ms or s"),
        ("offer latency:failures<5ms", "takes %"),
        ("offer latency:count>5ms", "takes no unit"),
        ("offer latency:p99=50ms", "no condition"),
        ("offer latency:p101<50ms", "no condition"),
        ("offer latency:p99<-1ms", "no condition"),
        ("offer latency:p99<50ms,", "no condition"),
        ("offer latency:p٩٩<50ms", "no condition"),
    ],
)
def test_invalid_objective_is_refused_with_the_reason(text: str, complaint: str) -> None:
    with pytest.raises(BadObjective, match=complaint):
        parse_objective(text)
