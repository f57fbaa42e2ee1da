"""`mallard roads`: building a network from an extract, and its errors."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mallard_engine.cli.main import main
from tests.engine.travel.streets import real_extract, write_town
from tests.support import GUARD_S


def test_network_is_built_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "country.roads"
    assert main(["roads", "build", str(real_extract()), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "2,346 of 4,660 highways are for cars" in printed
    assert f"{out.stat().st_size:,} bytes" in printed
    assert "OpenStreetMap contributors" in printed
    assert main(["roads", "show", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "liechtenstein-latest.osm.pbf, data of 2015-07-27" in shown
    assert "3,375 junctions" in shown


def test_network_is_written_to_the_current_folder_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    extract = write_town(elsewhere / "town.osm.pbf", 33.3, -111.9)
    monkeypatch.chdir(tmp_path)
    assert main(["roads", "build", str(extract)]) == 0
    assert (tmp_path / "town.roads").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("build", "nowhere.osm.pbf"), "nowhere.osm.pbf: no such file"),
        (("build", "text"), "text cannot be read as an OpenStreetMap extract"),
        (("build", "town.osm.pbf", "--out", "no/folder"), "no/folder cannot be written"),
        (("show", "nowhere.roads"), "nowhere.roads: No such file"),
        (("show", "town.osm.pbf"), "town.osm.pbf is not a road network of Mallard"),
    ],
)
def test_invalid_input_is_reported(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_town(tmp_path / "town.osm.pbf", 33.3, -111.9)
    (tmp_path / "text").write_text("no map")
    assert main(["roads", *arguments]) == 1
    assert message in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text", "town.osm.pbf"]


@pytest.mark.parametrize("command", [["roads", "build"], ["serve", "--config"]])
def test_without_the_extra_only_roads_are_missing(tmp_path: Path, command: list[str]) -> None:
    extract = write_town(tmp_path / "town.osm.pbf", 33.3, -111.9)
    assert main(["roads", "build", str(extract), "--out", str(tmp_path / "town.roads")]) == 0
    config = tmp_path / "mallard.toml"
    config.write_text(f'[policy.travel]\nsource = "roads"\nroads = "{tmp_path}/town.roads"\n')
    plain = "import sys\nsys.modules['osmium'] = sys.modules['routingkit_cch'] = None\n"
    run = f"{plain}from mallard_engine.cli.main import main\nsys.exit(main(sys.argv[1:]))"
    argument = str(config if command[0] == "serve" else extract)
    inherited = {name: v for name, v in os.environ.items() if not name.startswith("MALLARD_")}
    done = subprocess.run(
        [sys.executable, "-c", run, *command, argument],
        env=inherited | {"MALLARD_DATA": str(tmp_path / "data"), "MALLARD_PORT": "0"},
        capture_output=True,
        text=True,
        timeout=GUARD_S,
        check=False,
    )
    assert done.returncode in {1, 2}
    assert "pip install 'mallard-engine[roads]'" in done.stderr
