"""The metrics of a node: names, labels and help that Prometheus and its linter accept."""

import asyncio
import re
import shutil
import subprocess

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mallard_engine.metrics import Metrics
from tests.support import GUARD_S, eventually

NAMES = {
    "mallard_match_duration_seconds",
    "mallard_offer_latency_seconds",
    "mallard_offer_lateness_seconds",
    "mallard_offers",
    "mallard_risk_changes",
    "mallard_packed_jobs",
    "mallard_packed_bytes",
    "mallard_event_lag_seconds",
    "mallard_archive_lag_seconds",
    "mallard_archive_lost_jobs",
    "mallard_archive_waiting_jobs",
    "mallard_event_streams",
    "mallard_hellos_postponed",
    "mallard_event_streams_cut",
    "mallard_events_sent",
    "mallard_webhook_attempt_seconds",
    "mallard_webhook_lag_seconds",
    "mallard_webhook_waiting",
    "mallard_webhooks",
    "mallard_webhooks_disabled",
    "mallard_drivers",
    "mallard_jobs",
    "mallard_location_fixes",
    "mallard_store_call_seconds",
    "mallard_store_ready",
    "mallard_store_refusals",
    "mallard_connections",
    "mallard_connections_refused",
    "mallard_requests_limited",
    "mallard_quota_refusals",
    "mallard_work_gini",
    "mallard_ws_closed",
    "mallard_event_loop_lag_seconds",
    "mallard_travel_ask_seconds",
    "mallard_travel_fallback_ways",
    "mallard_build_info",
    "mallard_dwell_seconds",
    "mallard_driver_reasons",
    "mallard_alerts",
    "mallard_problems",
    "mallard_transfers",
    "mallard_shop_outcomes",
}

# promtool takes these for units that have a base unit.
_NO_BASE_UNITS = re.compile(
    r"_(ms|milliseconds?|us|microseconds?|minutes?|hours?|days?|km|kilometers?|kb|mb|"
    r"kilobytes?|megabytes?|percent|celsius|grams?)(_|$)"
)


# Each value of a label is a time series. The malls are few and configured; all others are from
# fixed sets.
LABELS = {
    *("market", "mall", "state", "result", "call", "code", "kind", "reason", "quota", "source"),
    *("type", "risk", "step", "given", "of", "outcome", "statistic", "version", "le"),
}


def sampled() -> Metrics:
    """Return the metrics of a node in which each labelled metric has a sample."""
    metrics = Metrics()
    metrics.offer("offered")
    metrics.shop_outcome("held", "missing")
    metrics.risk("phoenix", "late")
    metrics.alert("lost")
    metrics.events_sent("job.created", 2)
    metrics.webhook_attempt("delivered", 0.1)
    metrics.webhook_disabled("gone")
    metrics.transfer("begun")
    metrics.problem("unsafe")
    metrics.reason("decline", given=True)
    metrics.fixes("ok", 2)
    metrics.store_called("accept", 0.001)
    metrics.store_called("accept", 0.001)
    metrics.store_refused("OOM")
    metrics.socket_closed(4001)
    metrics.socket_closed(4999)
    metrics.request_limited("token")
    metrics.quota_exceeded("open_jobs")
    metrics.connection_refused("full")
    metrics.travel_asked("phoenix", "osrm", "slow", 0.1)
    metrics.travel_fell_back("phoenix", "osrm", 16)
    metrics.count_drivers("phoenix", {"available": 2})
    metrics.count_jobs("phoenix", {"queued": 1, "submitted": 9})
    metrics.fair("phoenix", 0.25, 0.5)
    metrics.archive_behind("phoenix", lag_s=2.5, waiting=3, lost=0)
    metrics.dwell("phoenix", "arizona-mills", 240.0, 600.0)
    return metrics


def exposition() -> str:
    """Return what Prometheus reads of these metrics."""
    return sampled().render().decode()


@pytest.mark.finding("D19")
def test_names_labels_and_help_follow_conventions() -> None:
    families = list(text_string_to_metric_families(exposition()))
    assert families
    for family in families:
        assert len(family.documentation) > 10, family.name
        assert not _NO_BASE_UNITS.search(family.name), family.name
        names = {sample.name for sample in family.samples}
        labels = {label for sample in family.samples for label in sample.labels}
        if family.type == "counter":
            assert {name for name in names if not name.endswith("_created")} <= {
                f"{family.name}_total"
            }
        else:
            assert not family.name.endswith(("_total", "_count", "_sum", "_bucket")), family.name
        assert ("le" in labels) == (family.type == "histogram"), family.name
        assert "quantile" not in labels, family.name
        assert family.type not in family.name.split("_"), family.name


@pytest.mark.finding("D19")
@pytest.mark.parametrize("name", ["mallard_jobs", "mallard_work_gini", "mallard_dwell_seconds"])
def test_help_says_how_to_aggregate_over_nodes(name: str) -> None:
    families = {it.name: it for it in text_string_to_metric_families(exposition())}
    assert "max() over nodes" in families[name].documentation


@pytest.mark.finding("D19")
@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_finds_nothing() -> None:
    done = subprocess.run(
        ["promtool", "check", "metrics"],
        input=exposition(),
        capture_output=True,
        text=True,
        check=False,
        timeout=GUARD_S,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_each_labelled_metric_has_a_sample() -> None:
    families = {family.name: family for family in sampled().registry.collect()}
    labelled = {it.name.removesuffix("_total") for it in Metrics().catalogue if it.labels}
    assert {name for name in labelled if not families[name].samples} == set()


def test_every_metric_has_help_and_no_id_as_label() -> None:
    families = {family.name: family for family in Metrics().registry.collect()}
    assert families.keys() == NAMES
    assert all(len(family.documentation) > 10 for family in families.values())
    labels = {
        label
        for family in sampled().registry.collect()
        for sample in family.samples
        for label in sample.labels
    }
    assert labels == LABELS
    text = exposition()
    assert 'mallard_ws_closed_total{code="other"} 1.0' in text
    assert 'mallard_store_call_seconds_count{call="accept"} 2.0' in text
    assert 'mallard_jobs{market="phoenix",state="delivered"} 0.0' in text
    assert "submitted" not in text


def test_metrics_of_two_nodes_are_separate() -> None:
    one, other = Metrics(), Metrics()
    one.offer("offered")
    assert "offered" not in other.render().decode()


async def test_event_loop_lag_is_sampled() -> None:
    metrics = Metrics()

    def samples() -> bool:
        return "mallard_event_loop_lag_seconds_count 0.0" not in metrics.render().decode()

    assert not samples()
    async with metrics.watching_loop():
        await eventually(samples)
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "loop lag"]


def test_archive_of_another_nodes_share_is_left_out() -> None:
    metrics = sampled()
    metrics.archive_behind("las-vegas", lag_s=1.0, waiting=1, lost=0)
    for _ in range(2):
        metrics.archives_here(["las-vegas"])
    shown = metrics.render().decode()
    assert 'mallard_archive_waiting_jobs{market="las-vegas"} 1.0' in shown
    assert 'mallard_archive_waiting_jobs{market="phoenix"}' not in shown
