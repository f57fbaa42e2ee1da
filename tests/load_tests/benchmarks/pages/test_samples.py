from pathlib import Path

import pytest

from load_tests.benchmarks.pages.samples import Results, Run, read_results, sample, write_results


def run_of(*drivers: int, commit: str = "abc", contestant: str = "ours") -> Run:
    samples = [
        sample(
            {"drivers": count, "racing": 1}, contestant, "latency p50", "ms", [1.0, 2.0], [[1.0]]
        )
        for count in drivers
    ]
    return Run(
        commit, "2026-11-25T16:00:00Z", "bench", 1.5, {"cores": "2"}, {"Redis": "7"}, samples
    )


def test_results_come_back_as_they_were_written(tmp_path: Path) -> None:
    results = Results("match").with_run(run_of(1_000, 10_000)).with_run(run_of(5))
    path = write_results(results, tmp_path)
    assert read_results("match", tmp_path) == results
    assert path.read_text().count('\n{"case":') == 3  # a sample a line


def test_missing_results_file_has_no_runs(tmp_path: Path) -> None:
    assert read_results("match", tmp_path) == Results("match")


def test_invalid_results_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "match.json").write_text('{"bench": 1}')
    with pytest.raises(ValueError, match=r"match\.json holds no results"):
        read_results("match", tmp_path)


def test_case_measured_again_replaces_all_its_contestants() -> None:
    before = Results("match").with_run(run_of(1_000, 10_000, contestant="theirs"))
    after = before.with_run(run_of(1_000, commit="def"))
    assert [(run.commit, len(run.samples)) for run in after.runs] == [("abc", 1), ("def", 1)]
    assert after.find("theirs", "latency p50", drivers=1_000) is None
    assert after.find("theirs", "latency p50", drivers=10_000) is not None


def test_fully_replaced_run_is_removed() -> None:
    after = Results("match").with_run(run_of(1_000)).with_run(run_of(1_000, commit="def"))
    assert [run.commit for run in after.runs] == ["def"]


def test_find_wants_one_sample() -> None:
    results = Results("match").with_run(run_of(1_000, 10_000))
    assert results.case_values("drivers") == [1_000, 10_000]
    assert results.find("ours", "other") is None
    with pytest.raises(ValueError, match="2 samples"):
        results.find("ours", "latency p50")


def test_values_are_stored_with_five_digits() -> None:
    kept = sample({}, "ours", "latency", "ms", [0.123456789], [[1234567.0]])
    assert (kept.values, kept.raw) == ([0.12346], [[1234600.0]])
