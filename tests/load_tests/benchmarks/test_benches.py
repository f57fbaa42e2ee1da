"""Each benchmark runs once, small, with real processes as contestants."""

from pathlib import Path

import pytest

from load_tests.benchmarks.__main__ import main
from load_tests.benchmarks.benches import BENCHES, CannotMeasure, chapter_of
from load_tests.benchmarks.contestants import Contestant, running
from load_tests.benchmarks.driver_locations import invented_metro, read_zips
from load_tests.benchmarks.match.measure import load
from load_tests.benchmarks.pages.document import chapter_text
from load_tests.benchmarks.pages.samples import Results, read_results
from load_tests.benchmarks.postgres import programs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture
def datasets() -> None:
    """Real runs need the ZIP table."""
    try:
        read_zips()
    except CannotMeasure as error:
        pytest.skip(str(error))


@pytest.fixture
def postgres() -> None:
    """The PostGIS contestant needs PostgreSQL."""
    try:
        programs()
    except CannotMeasure as error:
        pytest.skip(str(error))


def measured(bench: str, folder: Path, *words: str) -> Results:
    """Run it as a person would; what it kept."""
    assert main(["--results", str(folder), bench, "--repetitions", "2", *words]) == 0
    results = read_results(bench, folder)
    (run,) = results.runs
    assert "--results" not in run.command
    assert str(folder) not in run.command
    assert run.versions["Python"]
    assert all(len(sample.values) == 2 for sample in results.samples)
    return results


def test_match_benchmark_runs(datasets: None, tmp_path: Path) -> None:
    words = ("--drivers", "1000", "--racing", "1", "16", "--without", "postgis")
    results = measured("match", tmp_path, *words)
    for racing in (1, 16):
        for name in ("ours", "hand-written", "brute force"):
            served = results.find(name, "served", drivers=1_000, racing=racing)
            latency = results.find(name, "p50", racing=racing)
            assert served is not None
            assert latency is not None
            assert served.values == [100, 100]
            assert min(latency.values) > 0
    text = chapter_text(chapter_of("match", results), results, "performance")
    assert "### 16 jobs at once" in text


def test_postgis_serves_a_race_by_its_index(postgres: None, tmp_path: Path) -> None:
    area = [(-112.5, 33.0), (-111.5, 33.0), (-111.5, 34.0), (-112.5, 34.0)]
    where = {"lat": 33.3, "lon": -111.9}
    points = invented_metro(1_000, area, (where["lat"], where["lon"]))
    contestant = Contestant("postgis", "load_tests.benchmarks.match.postgis")
    with running([contestant]):
        load([contestant], points, where, tmp_path, print)
        answer = contestant.ask("race", jobs=32, times=2)
        plan = contestant.ask("plan")["plan"]
    assert [len(race) for race in answer["latencies_ms"]] == [32, 32]
    assert any("Index Scan using by_place" in line for line in plan), plan
    assert not any("Seq Scan" in line for line in plan), plan
    assert contestant.versions["PostGIS"]


def test_line_benchmark_runs(tmp_path: Path) -> None:
    results = measured("line", tmp_path, "--calls", "320")
    ours, pool = (results.find(n, "client CPU a call", at_once=32) for n in ("ours", "redis-py"))
    assert ours is not None
    assert pool is not None
    assert "redis-py" in chapter_text(chapter_of("line", results), results, "performance")


def test_positions_benchmark_runs(datasets: None, tmp_path: Path) -> None:
    results = measured("positions", tmp_path, "--drivers", "600")
    for name in ("ours", "GEOADD + HSET"):
        figure = results.find(name, "Redis time in commands a fix", drivers=600)
        assert figure is not None
        assert min(figure.values) > 0
    assert "600" in chapter_text(chapter_of("positions", results), results, "performance")


@pytest.mark.parametrize("bench", BENCHES)
def test_benchmark_help_lists_its_flags(bench: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([bench, "--help"])
    assert ended.value.code == 0
    assert f"load_tests.benchmarks {bench}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words", [("match", "--drivers", "7"), ("match", "--without", "ours"), ("nothing",)]
)
def test_invalid_input_is_reported(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert words[-1] in capsys.readouterr().err
