import random
from pathlib import Path

import pytest

from load_tests.histograms import Histograms, Latencies


def test_percentiles_are_good_to_three_digits() -> None:
    latencies = Latencies()
    for us in range(1, 100_001):
        latencies.record(us / 1000)
    for percent in (1, 50, 90, 99, 99.9):
        assert latencies.percentile_ms(percent) == pytest.approx(percent, rel=0.002)
    assert latencies.max_ms == pytest.approx(100, rel=0.002)
    assert latencies.mean_ms == pytest.approx(50, rel=0.002)


def test_long_waits_keep_their_precision() -> None:
    latencies = Latencies()
    latencies.record(4_734.98)
    assert latencies.percentile_ms(99) == pytest.approx(4_734.98, rel=0.001)


def test_out_of_range_values_are_clamped() -> None:
    latencies = Latencies()
    latencies.record(-3.0)
    latencies.record(1e12)
    assert latencies.count == 2
    assert latencies.percentile_ms(1) == pytest.approx(0.001)
    assert latencies.max_ms == pytest.approx(3_600_000, rel=0.001)


def test_workers_add_up_to_what_one_would_have_recorded() -> None:
    rng = random.Random(1)
    alone, master = Histograms(), Histograms()
    workers = [Histograms(), Histograms()]
    for _ in range(3):  # reports: each holds what is new since the last one
        for worker in workers:
            for _ in range(200):
                ms, failed = rng.lognormvariate(2, 1), rng.random() < 0.1
                worker.record("reconnect", ms, failed=failed)
                alone.record("reconnect", ms, failed=failed)
            master.add(worker.take())
    assert master["reconnect"].count == 1200
    assert master["reconnect"].failures == alone["reconnect"].failures > 0
    assert master["reconnect"].failed_share == alone["reconnect"].failed_share
    for percent in (10, 50, 99, 100):
        expected = alone["reconnect"].percentile_ms(percent)
        assert master["reconnect"].percentile_ms(percent) == expected


def test_take_without_new_values_is_empty() -> None:
    histograms = Histograms()
    histograms.record("reconnect", 5.0)
    assert histograms.take().keys() == {"reconnect"}
    assert histograms.take() == {}


def test_name_that_was_never_recorded_is_empty() -> None:
    histograms = Histograms()
    assert histograms["reconnect"].count == 0
    assert histograms["reconnect"].percentile_ms(99) == 0
    assert list(histograms.names()) == []


def test_new_run_begins_with_nothing() -> None:
    histograms = Histograms()
    histograms.record("reconnect", 5.0)
    histograms.clear()
    assert histograms["reconnect"].count == 0


def test_each_distribution_is_written_in_milliseconds(tmp_path: Path) -> None:
    histograms = Histograms()
    histograms.record("POST /v1/jobs", 5.0)
    histograms.record("location → visible", 7.5)
    histograms.write(tmp_path / "results")
    written = {path.name: path.read_text() for path in (tmp_path / "results").iterdir()}
    assert written.keys() == {"post-v1-jobs.hgrm", "location-visible.hgrm"}
    assert "7.5" in written["location-visible.hgrm"]
