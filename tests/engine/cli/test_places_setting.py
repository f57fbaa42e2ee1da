"""`MALLARD_PLACES`: markets and malls of one's own, in place of those of the package."""

import re
from importlib import resources
from pathlib import Path

import pytest

from mallard_engine.cli.main import main
from mallard_engine.cli.options import places_named
from mallard_engine.config.settings import Settings
from mallard_engine.gateway.auth.token_keys import load_token_keys

pytestmark = pytest.mark.finding("D9")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one market of another name, as the variable names it."""
    text = (resources.files("mallard_engine") / "places" / "phoenix.toml").read_text(
        encoding="utf-8"
    )
    folder = tmp_path / "places"
    folder.mkdir()
    own = text.replace('id = "phoenix"', 'id = "tucson"', 1)
    (folder / "tucson.toml").write_text(own, encoding="utf-8")
    monkeypatch.setenv("MALLARD_PLACES", str(folder))
    return folder


def check(capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    status = main(["config", "check"])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def test_named_places_replace_those_of_the_package(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = check(capsys)
    assert status == 0
    assert f"places = {folder}" in out
    assert "markets: tucson; " in out
    assert set(places_named(opening_hours=False).markets) == {"tucson"}


def test_token_knows_the_markets_of_the_named_places(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert folder.exists()
    load_token_keys(Settings(data=tmp_path))
    data = ["--data", str(tmp_path)]
    assert main(["token", "driver", "d", "--market", "tucson", *data]) == 0
    assert main(["token", "driver", "d", "--market", "phoenix", *data]) == 2
    assert "there are tucson" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tucson.toml", "floors = \n", r"tucson\.toml: cannot be read: .*line 1"),
        ("tucson.toml", "\ufeffid = 7", r"tucson\.toml:1: id is 7"),
        ("tucson.toml", "a = " + "[" * 100_000, r"tucson\.toml: cannot be read"),
        ("notes.txt", "", r"no \.toml file"),
    ],
)
def test_wrong_places_are_one_line_and_exit_status_2(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    content: str,
    message: str,
) -> None:
    (folder / "tucson.toml").unlink()
    (folder / name).write_text(content, encoding="utf-8")
    status, _, err = check(capsys)
    assert status == 2
    assert re.search(message, err)
    assert len(err.splitlines()) == 1


def test_missing_places_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MALLARD_PLACES", "nowhere.toml")
    status, _, err = check(capsys)
    assert (status, len(err.splitlines())) == (2, 1)
    assert "nowhere.toml" in err
