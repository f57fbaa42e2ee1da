"""Consecutive phases, reported as one."""

import pytest

from load_tests.histograms import Histograms
from load_tests.measurements import Measure
from load_tests.swarm.result import SwarmResult, joined


def phase(
    latencies_ms: list[float], *, failed: int, cpu: float, lag_ms: float, edges: tuple[str, str]
) -> SwarmResult:
    histograms = Histograms()
    for ms in latencies_ms:
        histograms.record(Measure.OFFER.value, ms)
    for _ in range(failed):
        histograms.record(Measure.OFFER.value, 0, failed=True)
    return SwarmResult(
        rate=100,
        seconds=60,
        drivers=5000,
        histograms=histograms,
        counts={"delivered": len(latencies_ms)},
        generator_cpu=cpu,
        generator_lag_ms=lag_ms,
        edges=edges,
    )


def test_phases_are_joined() -> None:
    first = phase([1.0] * 98, failed=0, cpu=0.1, lag_ms=7, edges=("a", "b"))
    second = phase([50.0] * 2, failed=1, cpu=0.3, lag_ms=2, edges=("c", "d"))
    whole = joined([first, second])
    assert (whole.rate, whole.seconds, whole.drivers) == (100, 120, 5000)
    assert whole.counts == {"delivered": 100}
    assert whole.percentile_ms(Measure.OFFER, 50) == pytest.approx(1.0, rel=0.01)
    assert whole.percentile_ms(Measure.OFFER, 99) == pytest.approx(50.0, rel=0.01)
    assert whole.failed_share(Measure.OFFER) == pytest.approx(1 / 101)
    assert whole.generator_cpu == pytest.approx(0.2)
    assert whole.generator_lag_ms == 7
    assert whole.edges == ("a", "d")
