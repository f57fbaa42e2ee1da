"""The benchmark of the pure decisions runs, and measures what it says."""

import json
from pathlib import Path

import pytest

from load_tests.benchmarks.engine import decisions


def test_decisions_benchmark_writes_its_results(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    assert (
        decisions.main(["--jobs", "5", "--drivers", "20", "--times", "2", "--json", str(path)]) == 0
    )
    results = json.loads(path.read_text())
    assert (results["jobs"], results["drivers"], results["planned"]) == (5, 20, 5)
    assert all(results[name] >= 0 for name in ("rank_p50_us", "batch_p50_ms", "loop_paused_p50_ms"))
    assert results["held_jobs"] == 5
    assert all(results[name] > 0 for name in ("runs_p50_ms", "runs_in_a_thread_p50_ms"))


def test_sizes_below_one_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        decisions.main(["--jobs", "0"])
    assert "must be at least 1" in capsys.readouterr().err
