import argparse
from pathlib import Path

import pytest

from load_tests.benchmarks.benches import bench_of
from load_tests.benchmarks.capacity.measure import at_share
from load_tests.benchmarks.offers.chapter import chapter as offers_chapter
from load_tests.benchmarks.offers.measure import by_part
from load_tests.benchmarks.pages import report
from load_tests.benchmarks.pages.document import Chapter
from load_tests.benchmarks.pages.samples import Results, Run, read_results, write_results
from load_tests.benchmarks.sockets.chapter import chapter as sockets_chapter
from load_tests.benchmarks.sockets.measure import MEMORY
from load_tests.benchmarks.system.arena import LINE, MALLARD, SINK
from load_tests.benchmarks.system.rows import cases, named
from load_tests.benchmarks.system.tally import Tally, in_turn
from load_tests.measurements import Measure


def results(bench: str, tally: Tally) -> Results:
    run = Run("abc", "2026-11-25T16:00:00Z", "bench", 1.0, {}, {}, tally.samples())
    return Results(bench, [run])


def test_capacity_lies_between_the_two_rates_around_it() -> None:
    assert at_share([(100, 0.4), (200, 0.6), (300, 1.0)], 0.8) == pytest.approx(250)


@pytest.mark.parametrize(
    ("points", "carried"), [([(100, 0.2), (200, 0.4)], 400), ([(100, 1.0), (110, 1.0)], 80)]
)
def test_capacity_beyond_the_measured_rates_is_proportional(
    points: list[tuple[float, float]], carried: float
) -> None:
    assert at_share(points, 0.8) == pytest.approx(carried)


def test_without_a_delivery_there_is_no_capacity() -> None:
    with pytest.raises(ValueError, match="nothing was delivered"):
        at_share([], 0.8)


def test_contestants_take_turns_and_each_repetition_is_a_value() -> None:
    tally, printed = Tally(), list[str]()

    def run(name: str) -> str:
        tally.add({"drivers": 9}, name, "memory", "KiB", len(printed))
        return "done"

    in_turn(("a", "b"), 2, printed.append, run)
    assert [line.split(":")[0] for line in printed] == ["1/2 a", "1/2 b", "2/2 a", "2/2 b"]
    assert [it.values for it in tally.samples()] == [[0, 2], [1, 3]]


def test_case_is_formatted() -> None:
    tally = Tally()
    tally.add({"orders": 500.0, "spread": "at once"}, MALLARD, "x", "ms", 1)
    tally.add({"orders": 500.0, "spread": "at once"}, MALLARD, "y", "ms", 1)
    (case,) = cases(results("flash", tally))
    assert named(case) == "500 orders, at once"


def test_chapter_shows_the_ratio_and_holds_it_to_its_aim() -> None:
    tally = Tally()
    for ours, theirs in ((30.0, 20.0), (33.0, 20.0), (31.0, 20.0)):
        tally.add({"drivers": 9000}, MALLARD, MEMORY, "KiB", ours)
        tally.add({"drivers": 9000}, SINK, MEMORY, "KiB", theirs)
    chapter: Chapter = sockets_chapter(results("sockets", tally))
    (aim,) = chapter.aims
    assert aim.holds
    assert aim.measured.median == pytest.approx(1.55)


def test_latency_lies_between_its_best_and_worst_minute() -> None:
    tally, metric = Tally(), f"{Measure.OFFER.value} p50"
    case = {"orders a second": 100.0}
    for name, whole, minutes in ((MALLARD, 3.0, (2.0, 3.5, 9.0)), (LINE, 1.5, (1.0, 1.75, 2.0))):
        tally.add(case, name, metric, "ms", whole)
        for minute in minutes:
            tally.add(case, name, by_part(metric), "ms", minute)
    chapter: Chapter = offers_chapter(results("offers", tally))
    latency, floor = chapter.aims
    assert latency.measured == (3.0, 2.0, 9.0)
    assert not latency.holds
    assert floor.measured == (2.0, 2.0, 4.5)
    assert floor.holds


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bench", "flags"),
    [
        ("reporting", ["--drivers", "20", "--seconds", "2"]),
        # Their memory must exceed what the kernel may take back from the process meanwhile.
        ("sockets", ["--drivers", "300"]),
        # Orders arrive at random: so many that none is as good as impossible.
        ("capacity", ["--drivers", "20", "--rate", "20", "--seconds", "2"]),
        ("offers", ["--drivers", "60", "--rate", "15", "--seconds", "2", "--hold-s", "0.5"]),
        ("flash", ["--orders", "10", "--crowd", "20", "--others", "20"]),
    ],
)
def test_each_benchmark_measures_and_has_its_chapter(
    bench: str, flags: list[str], tmp_path: Path
) -> None:
    """The values of such a short run are meaningless; the test checks that all are present."""
    parser = argparse.ArgumentParser()
    measure = bench_of(bench)
    measure.add_flags(parser)
    nodes = ["--nodes", "1"] if bench in {"offers", "flash"} else []
    measured = measure.measure(
        parser.parse_args([*flags, *nodes, "--repetitions", "1"]), lambda _line: None
    )
    machine = {"processor": "CPU", "cores": "2", "memory": "1 GiB", "kernel": "Linux"}
    run = Run("abc", "2026-11-25T16:00:00Z", "bench", 1.0, machine, {}, measured.samples)
    write_results(Results(bench, [run]), tmp_path)
    assert read_results(bench, tmp_path).samples == measured.samples
    assert all(value >= 0 for it in measured.samples for value in it.values)
    text = report.documents(tmp_path)["performance.md"]
    assert f"(../load_tests/results/{bench}.json)" in text
