"""A day's charts: every one drawn, each a document, and what they say is the day's."""

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from mallard_engine.simulation.mdrp import instance_files
from mallard_engine.simulation.reports.plots import write_plots
from mallard_engine.simulation.run_day import simulate
from mallard_engine.simulation.scenario import Day
from tests.engine.simulation.instances import write_instance

pytestmark = pytest.mark.slow

CHARTS = {"waits", "lateness", "kilometres", "offers", "earnings", "hours", "map"}


@pytest.fixture
def day(tmp_path: Path, redis_url: str) -> Day:
    instance = instance_files.read_instance(write_instance(tmp_path / "town"))
    return simulate(
        instance_files.scenario_of(instance, instance_files.default_policy(instance.parameters)),
        redis_url,
    )


def test_every_chart_is_written(day: Day, tmp_path: Path) -> None:
    files = write_plots(day, tmp_path / "plots" / "town")
    assert {path.stem for path in files} == CHARTS
    for path in files:
        root = ET.fromstring(path.read_text(encoding="utf-8"))
        assert root.tag.endswith("svg")
        assert "nan" not in path.read_text(encoding="utf-8")
    waits = (tmp_path / "plots" / "town" / "waits.svg").read_text(encoding="utf-8")
    assert f"{len(day.trips)} jobs" in waits


def test_charts_of_a_day_without_trips_are_written(day: Day, tmp_path: Path) -> None:
    empty = replace(day, trips=(), events=(), offers={})
    assert {path.stem for path in write_plots(empty, tmp_path / "none")} == CHARTS
