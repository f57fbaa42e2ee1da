"""MetricReadings out of metrics as a node really renders them."""

import pytest

from mallard_engine.demo.metric_readings import Histogram, MetricReadings
from mallard_engine.metrics import Metrics


def _node(*latencies_s: float, offered: int = 0, declined: int = 0) -> Metrics:
    metrics = Metrics()
    for latency_s in latencies_s:
        metrics.offer_sent(latency_s)
    for _ in range(offered):
        metrics.offer("offered")
    for _ in range(declined):
        metrics.offer("declined")
    return metrics


def test_metrics_are_summed_except_jobs() -> None:
    first, second = _node(0.002, 0.002, offered=3, declined=1), _node(0.02, offered=1)
    for node in (first, second):
        node.count_drivers("phoenix", {"available": 2})
        node.count_jobs("phoenix", {"queued": 5})
    metrics = MetricReadings(node.render().decode() for node in (first, second))
    assert metrics.offers == {"offered": 4, "declined": 1}
    assert metrics.reassigned == 1
    assert metrics.drivers["available"] == 4
    assert metrics.jobs["queued"] == 5
    assert metrics.histogram("mallard_offer_latency_seconds").count == 3
    assert metrics.histogram("no_such_metric").quantile_ms(0.5) is None


def test_begun_transfers_are_summed() -> None:
    first, second = _node(), _node()
    for node, result in ((first, "begun"), (second, "begun"), (second, "delivered")):
        node.transfer(result)
    assert MetricReadings(node.render().decode() for node in (first, second)).transfers == 2


def test_node_without_metrics_counts_as_zero() -> None:
    assert MetricReadings(["", ""]).reassigned == 0


def test_quantiles_are_interpolated_within_a_bucket() -> None:
    histogram = Histogram((0.01, 0.02, float("inf")), (50, 100, 101))
    assert histogram.quantile_ms(0.25) == pytest.approx(5.05)
    assert histogram.quantile_ms(0.75) == pytest.approx(15.15)
    assert histogram.quantile_ms(1.0) == 20
    assert histogram.share_within(0.02) == pytest.approx(100 / 101)
