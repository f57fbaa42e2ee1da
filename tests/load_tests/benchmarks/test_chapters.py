from load_tests.benchmarks.line.chapter import chapter as line_chapter
from load_tests.benchmarks.match.chapter import chapter as match_chapter
from load_tests.benchmarks.pages.document import Chapter, Table, aims_table
from load_tests.benchmarks.pages.samples import Case, Results, Run, Sample, sample
from load_tests.benchmarks.positions.chapter import chapter as positions_chapter


def results(bench: str, *samples: Sample) -> Results:
    return Results(bench).with_run(Run("abc", "now", "bench", 1, {}, {}, list(samples)))


def matches(case: Case, contestant: str, p50: float, p99: float, served: float) -> list[Sample]:
    return [
        sample(case, contestant, "p50", "ms", [p50, p50]),
        sample(case, contestant, "p99", "ms", [p99, p99]),
        sample(case, contestant, "served", "%", [served, served]),
    ]


def tables(chapter: Chapter) -> list[Table]:
    return [block for block in chapter.blocks if isinstance(block, Table)]


def test_faster_peer_is_shown_as_faster() -> None:
    case: Case = {"drivers": 100_000, "racing": 16}
    measured = results(
        "match",
        *matches(case, "ours", 2, 8, 100),
        *matches(case, "hand-written", 40, 80, 100),
        *matches(case, "postgis", 1, 10, 100),
    )
    chapter = match_chapter(measured)
    figures, ratios = tables(chapter)
    assert figures.rows == [("100 000", "2.00 / 8.00", "40.0 / 80.0", "1.00 / 10.0", "- / -")]
    (row,) = ratios.rows
    assert row[1] == "0.0500 (0.0500–0.0500)"
    assert row[2] == "**2.00 (2.00–2.00)**"
    (aim,) = chapter.aims
    assert not aim.holds
    assert "PostGIS" in aim.figure
    assert [plot.name for plot in chapter.plots] == ["match-16"]


def test_jobs_without_a_driver_are_shown() -> None:
    case: Case = {"drivers": 1_000, "racing": 64}
    measured = results(
        "match", *matches(case, "ours", 2, 8, 100), *matches(case, "hand-written", 40, 80, 34)
    )
    *_, served = tables(match_chapter(measured))
    assert served.rows == [("1 000, 64", "100 %", "34 %", "-", "-")]


def test_goal_bounds_the_growth_with_the_drivers() -> None:
    few: Case = {"drivers": 1_000, "racing": 1}
    many: Case = {"drivers": 1_000_000, "racing": 1}
    both = [*matches(few, "ours", 1, 2, 100), *matches(many, "ours", 1.4, 3, 100)]
    measured = results("match", *both)
    (row,) = aims_table(match_chapter(measured).aims).rows
    assert row[0].startswith("match p50, 1 million")
    assert row[3] == "holds"


def test_other_chapters_have_a_row_per_case_and_their_aims() -> None:
    calls = [
        sample({"at_once": 32}, name, "client CPU a call", "µs", [us])
        for name, us in (("ours", 10), ("redis-py", 100))
    ]
    chapter = line_chapter(results("line", *calls))
    assert tables(chapter)[0].rows[0][3] == "0.100 (0.100–0.100)"
    assert [aim.holds for aim in chapter.aims] == [True]
    fixes = [
        sample({"drivers": 5_000}, name, "Redis CPU a fix", "µs", [us])
        for name, us in (("ours", 9), ("GEOADD + HSET", 3))
    ]
    chapter = positions_chapter(results("positions", *fixes))
    assert tables(chapter)[0].rows[0][0] == "5 000: Redis CPU a fix"
    assert [aim.holds for aim in chapter.aims] == [False]
