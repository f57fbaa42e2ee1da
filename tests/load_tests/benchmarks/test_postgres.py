"""PostgreSQL is optional: what is missing is named before anything is measured."""

import os
import pwd
from pathlib import Path

import pytest

from load_tests.benchmarks import postgres
from load_tests.benchmarks.benches import CannotMeasure

pytestmark = pytest.mark.finding("F")


def installation(folder: Path, *, postgis: bool) -> Path:
    """Make programs like PostgreSQL's, reached through a link, with no `pg_config`."""
    share = folder / "share"
    (share / "extension").mkdir(parents=True)
    if postgis:
        (share / "extension" / "postgis.control").touch()
    programs, links = folder / "programs", folder / "links"
    programs.mkdir()
    links.mkdir()
    for name in ("initdb", "pg_ctl"):
        program = programs / name
        program.write_text(f"#!/bin/sh\necho share_path={share} >&2\nexit 1\n")
        program.chmod(0o755)
    (links / "pg_ctl").symlink_to(programs / "pg_ctl")
    return links


@pytest.fixture
def as_ordinary_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)


def test_missing_postgis_is_named(
    as_ordinary_user: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(installation(tmp_path, postgis=False)))
    with pytest.raises(CannotMeasure, match="no PostGIS"):
        postgres.programs()


def test_postgis_is_found_through_a_link(
    as_ordinary_user: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(installation(tmp_path, postgis=True)))
    assert postgres.programs() == tmp_path / "programs"


def test_missing_user_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_name: str) -> None:
        raise KeyError

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(pwd, "getpwnam", unknown)
    with pytest.raises(CannotMeasure, match="no user postgres"):
        postgres._as_user()
