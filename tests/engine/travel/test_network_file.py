"""Network files: round trips, and files that are foreign or damaged."""

from pathlib import Path

import numpy as np
import pytest

from mallard_engine.travel.network import Network, RoadsError, array_names, network_of
from mallard_engine.travel.network_file import About, read_network, write_network
from mallard_engine.travel.osm_extract import read_extract
from mallard_engine.travel.roads import in_order
from tests.engine.travel.streets import write_town

ABOUT = About("town.osm.pbf", "2026-11-01T00:00:00Z")


@pytest.fixture
def town(extract: Path) -> Network:
    return in_order(network_of(read_extract(write_town(extract, 47.0, 9.5)).ways))


@pytest.fixture
def file(town: Network, tmp_path: Path) -> Path:
    path = tmp_path / "town.roads"
    assert write_network(path, town, ABOUT) == path.stat().st_size
    return path


def test_written_network_is_read_back(town: Network, file: Path, tmp_path: Path) -> None:
    network, about = read_network(file)
    assert about == ABOUT
    for name in array_names():
        assert np.array_equal(getattr(network, name), getattr(town, name)), name
    again = tmp_path / "again.roads"
    write_network(again, network, about)
    assert again.read_bytes() == file.read_bytes()
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".pbf", ".roads", ".roads"]


def test_any_changed_byte_is_detected(file: Path) -> None:
    whole = file.read_bytes()
    for at in (0, 20, 100, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(RoadsError, match=r"damaged|is not a road network"):
            read_network(file)


@pytest.mark.parametrize("kept", [0, 10, 14, 30, 5_000])
def test_truncated_file_is_refused(file: Path, kept: int) -> None:
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(RoadsError, match=r"is not a road network|damaged"):
        read_network(file)


def test_extract_is_refused_as_a_network(extract: Path) -> None:
    write_town(extract, 47.0, 9.5)
    with pytest.raises(RoadsError, match="is not a road network of Mallard: build one with"):
        read_network(extract)


def test_other_format_version_is_refused(file: Path) -> None:
    whole = bytearray(file.read_bytes())
    whole[14] = 9
    file.write_bytes(whole)
    with pytest.raises(RoadsError, match="is of format 9, and this is format 1: build it again"):
        read_network(file)


def test_other_car_profile_is_refused(town: Network, file: Path) -> None:
    write_network(file, town, ABOUT._replace(profile="car-0"))
    with pytest.raises(RoadsError, match=r"made by other rules for cars \(car-0\)"):
        read_network(file)


def test_missing_file_and_unwritable_folder_are_reported(town: Network, tmp_path: Path) -> None:
    with pytest.raises(RoadsError, match="No such file"):
        read_network(tmp_path / "nowhere.roads")
    with pytest.raises(RoadsError, match="cannot be written: No such file"):
        write_network(tmp_path / "no" / "folder.roads", town, ABOUT)
