"""MDRP instances: read, solved, and every solution held against the rules."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from mallard_engine.core.policy import Round
from mallard_engine.input_files import InputError
from mallard_engine.simulation.mdrp import instance_files
from mallard_engine.simulation.mdrp.report import as_json, read_published
from mallard_engine.simulation.mdrp.solution import MdrpStatistics, statistics_of, write_solution
from mallard_engine.simulation.run_day import simulate
from tests.engine.simulation.feasibility import breaches
from tests.engine.simulation.instances import write_instance

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
DATA = Path(os.environ.get("MALLARD_DATASETS", ROOT.parent / "shared" / "data")) / "mdrplib"
REAL = ("0o50t100s1p100", "1r50t75s1p125")


def solve(folder: Path, solution: Path, redis_url: str, how: Round = "batch") -> MdrpStatistics:
    instance = instance_files.read_instance(folder)
    policy = replace(instance_files.default_policy(instance.parameters), round=how)
    day = simulate(instance_files.scenario_of(instance, policy), redis_url)
    write_solution(day, instance, solution)
    return statistics_of(day, instance)


@pytest.mark.parametrize("how", ["instant", "batch"])
@pytest.mark.parametrize("seed", [1, 2])
def test_solutions_are_feasible(tmp_path: Path, redis_url: str, how: Round, seed: int) -> None:
    folder = write_instance(tmp_path / "town", couriers=16, seed=seed)
    statistics = solve(folder, tmp_path / "solution", redis_url, how)
    assert breaches(folder, tmp_path / "solution") == []
    assert statistics.delivered > 0.8 * statistics.orders
    assert statistics.rtp_mean is not None
    assert statistics.rtp_mean >= 0


def test_few_couriers_carry_bundles(tmp_path: Path, redis_url: str) -> None:
    folder = write_instance(tmp_path / "town", couriers=6, seed=1)
    statistics = solve(folder, tmp_path / "solution", redis_url)
    assert breaches(folder, tmp_path / "solution") == []
    assert statistics.orders_per_bundle is not None
    assert 1 < statistics.orders_per_bundle <= 3
    lines = (tmp_path / "solution/solution_info_assignments.txt").read_text().splitlines()[1:]
    assert statistics.delivered / len(lines) == pytest.approx(statistics.orders_per_bundle)


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_solutions_of_real_instances_are_feasible(
    tmp_path: Path, redis_url: str, name: str
) -> None:
    if not (DATA / name).is_dir():
        pytest.skip(f"no instances in {DATA}: set MALLARD_DATASETS")
    statistics = solve(DATA / name, tmp_path / "solution", redis_url)
    assert breaches(DATA / name, tmp_path / "solution") == []
    known = read_published(DATA)[name]
    # Better than the rolling horizon of Reyes et al., never better than full knowledge.
    assert statistics.rtp_mean is not None
    if known.reyes_rtp is not None and known.reyes_exact_rtp is not None:
        assert known.reyes_exact_rtp <= statistics.rtp_mean < known.reyes_rtp


def test_feasibility_checker_finds_errors(tmp_path: Path, redis_url: str) -> None:
    folder = write_instance(tmp_path / "town", orders=12)
    solution = tmp_path / "solution"
    solve(folder, solution, redis_url)
    path = solution / "solution_info_assignments.txt"
    header, first, *rest = path.read_text().splitlines()
    assigned, picked_up, *bundle = first.split(" ")
    hasty = " ".join([assigned, str(int(picked_up) - 1), *bundle])
    path.write_text("\n".join([header, hasty, *rest]) + "\n")
    assert any("picked up at" in breach for breach in breaches(folder, solution))
    path.write_text("\n".join([header, *rest]) + "\n")
    assert breaches(folder, solution) != []


def test_travel_takes_whole_minutes_in_the_plane(tmp_path: Path) -> None:
    travel = instance_files.PlaneTravel(320, (12_000, 3_000))
    here = travel.to_degrees(11_491, 2_806)
    for x, minutes in ((11_491, 0), (11_492, 1), (11_811, 1), (11_812, 2)):
        there = travel.to_degrees(x, 2_806)
        assert travel.seconds(*here, *there, 0) == 60 * minutes


def test_statistics_are_returned_as_json(tmp_path: Path, redis_url: str) -> None:
    folder = write_instance(tmp_path / "town", orders=12)
    statistics = solve(folder, tmp_path / "solution", redis_url)
    written = as_json([statistics, statistics], {}, {"seed": 0})
    assert written["mean"]["rtp_mean"] == statistics.rtp_mean
    assert written["instances"][0]["instance"] == "town"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("orders.txt", "order\tx\ty\no1\t1\t2\n", "there is no column 'placement_time'"),
        ("orders.txt", "", "it has no rows"),
        ("couriers.txt", "courier\tx\ty\ton_time\toff_time\nc1\t1\t2\tsoon\t9\n", "line 2"),
        ("instance_parameters.txt", None, "No such file"),
        ("restaurants.txt", "restaurant\tx\ty\nother\t1\t2\n", "there is no 'r"),
    ],
)
def test_unreadable_file_is_named(
    tmp_path: Path, name: str, content: str | None, message: str
) -> None:
    folder = write_instance(tmp_path / "town", orders=3)
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(content)
    with pytest.raises(InputError, match=message):
        instance_files.read_instance(folder)
    with pytest.raises(InputError, match="no such folder"):
        instance_files.read_instance(tmp_path / "nowhere")
