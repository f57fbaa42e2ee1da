from pathlib import Path

import numpy as np
import pytest

from load_tests.benchmarks.benches import CannotMeasure
from load_tests.benchmarks.driver_locations import (
    Zips,
    invented_metro,
    is_inside,
    read_zips,
    real_metro,
)

SQUARE = [(-112.0, 33.0), (-111.0, 33.0), (-111.0, 34.0), (-112.0, 34.0)]


def zips(*rows: tuple[float, float, float, float]) -> Zips:
    return Zips(*(np.array(column) for column in zip(*rows, strict=True)))


def test_point_is_inside_its_ring_or_not() -> None:
    lat, lon = np.array([33.5, 33.5, 34.5]), np.array([-111.5, -110.5, -111.5])
    assert is_inside(lat, lon, SQUARE).tolist() == [True, False, False]


def test_zip_code_has_drivers_by_its_households() -> None:
    points = real_metro(
        4_000, SQUARE, zips((33.3, -111.5, 500, 9_000), (33.7, -111.5, 500, 1_000), (40, 0, 1, 1e9))
    )
    assert points.shape == (4_000, 2)
    assert np.mean(points[:, 0] < 33.5) == pytest.approx(0.9, abs=0.03)
    metres = np.hypot((points[:, 0] - 33.3) * 111_195, (points[:, 1] + 111.5) * 92_900)
    assert np.sort(metres)[3_000] <= 510


def test_drivers_are_inside_and_small_counts_are_prefixes() -> None:
    table = zips((33.0, -112.0, 9_000, 1.0))
    many = real_metro(2_000, SQUARE, table)
    assert is_inside(many[:, 0], many[:, 1], SQUARE).all()
    assert (real_metro(10, SQUARE, table) == many[:10]).all()


def test_invented_metro_is_denser_in_the_middle() -> None:
    points = invented_metro(4_000, SQUARE, (33.5, -111.5))
    assert is_inside(points[:, 0], points[:, 1], SQUARE).all()
    metres = np.hypot((points[:, 0] - 33.5) * 111_195, (points[:, 1] + 111.5) * 92_700)
    assert np.mean(metres < 2_000) == pytest.approx(0.1, abs=0.03)


def test_missing_datasets_are_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MALLARD_DATASETS", str(tmp_path))
    with pytest.raises(CannotMeasure, match="MALLARD_DATASETS"):
        read_zips()
