"""The exposition of `/metrics` as Prometheus and its linter want it."""

import re
import shutil
import subprocess

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mallard_engine.metrics import Metrics

pytestmark = pytest.mark.finding("D19")

# promtool takes these for units that have a base unit.
_NO_BASE_UNITS = re.compile(
    r"_(ms|milliseconds?|us|microseconds?|minutes?|hours?|days?|km|kilometers?|kb|mb|"
    r"kilobytes?|megabytes?|percent|celsius|grams?)(_|$)"
)


def used() -> str:
    """The text of a node's figures, of which none is without a sample."""
    metrics = Metrics()
    metrics.offer("offered")
    metrics.fixes("ok")
    metrics.store_called("accept", 0.001)
    metrics.store_refused("OOM")
    metrics.socket_closed(4001)
    metrics.connection_refused("full")
    metrics.travel_asked("phoenix", "osrm", "slow", 0.1)
    metrics.travel_fell_back("phoenix", "osrm", 1)
    metrics.count_drivers("phoenix", {"available": 2})
    metrics.count_jobs("phoenix", {"queued": 1})
    metrics.fair("phoenix", 0.25, 0.5)
    metrics.dwell("phoenix", "arizona-mills", 240.0, 600.0)
    return metrics.render().decode()


def test_names_labels_and_help_follow_the_conventions() -> None:
    families = list(text_string_to_metric_families(used()))
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


@pytest.mark.parametrize("name", ["mallard_jobs", "mallard_work_gini", "mallard_dwell_seconds"])
def test_help_says_how_to_add_up_what_every_node_tells(name: str) -> None:
    families = {it.name: it for it in text_string_to_metric_families(used())}
    assert "max() over nodes" in families[name].documentation


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_finds_nothing() -> None:
    done = subprocess.run(
        ["promtool", "check", "metrics"],
        input=used(),
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
