import pytest

from mallard_engine.core.matching.capacity import Load, load_of, misfit
from tests.engine.core.makers import need, vehicle


def test_load_is_the_sum_of_its_jobs() -> None:
    needs = [
        need(weight_g=1_000, volume_l=5.0, requires=("cool_box",)),
        need(weight_g=2_500, volume_l=7.5, requires=("id_check", "cart")),
    ]
    assert load_of(needs) == Load(2, 3_500, 12.5, frozenset({"cool_box", "cart"}))


def test_no_jobs_are_an_empty_load() -> None:
    assert load_of([]) == Load()
    assert misfit(vehicle(), Load()) is None


@pytest.mark.parametrize(
    ("load", "why"),
    [
        (Load(3, 10_000, 40.0, frozenset()), None),
        (Load(4, 10_000, 40.0, frozenset()), "too_many_jobs"),
        (Load(3, 10_001, 40.0, frozenset()), "too_heavy"),
        (Load(3, 10_000, 40.5, frozenset()), "too_big"),
        (Load(3, 10_000, 40.0, frozenset({"cart"})), "lacks_equipment"),
    ],
)
def test_each_limit_is_inclusive(load: Load, why: str | None) -> None:
    car = vehicle(max_jobs=3, max_weight_g=10_000, max_volume_l=40.0)
    assert misfit(car, load, max_jobs=8) == why


def test_market_limits_a_large_vehicle() -> None:
    van = vehicle(max_jobs=16)
    assert misfit(van, Load(2), max_jobs=1) == "too_many_jobs"
    assert misfit(van, Load(2), max_jobs=2) is None


def test_vehicle_without_a_job_limit_takes_one() -> None:
    assert misfit(vehicle(max_jobs=0), Load(1), max_jobs=8) is None
