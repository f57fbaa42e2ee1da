"""A PostgreSQL of our own: a cluster in a temporary folder, on a Unix socket, gone at the end."""

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from load_tests.bench.benches import CannotMeasure

_USER: Final = "postgres"
# Claims are kept as Redis keeps them: a power cut may cost the last moments. Enough memory for a
# million drivers and their index, no checkpoint in the middle of a race, no compiling of plans.
_SETTINGS: Final = {
    "listen_addresses": "''",
    "synchronous_commit": "off",
    "shared_buffers": "'1GB'",
    "max_wal_size": "'4GB'",
    "checkpoint_timeout": "'30min'",
    "random_page_cost": "1.1",
    "jit": "off",
    "max_connections": "80",
}


def programs() -> Path:
    """Where `initdb` and `pg_ctl` are. Raises `CannotMeasure` if they, or PostGIS, are not here."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), key=_version)
    named = shutil.which("pg_ctl")
    found = Path(named) if named else (debian[-1] if debian else None)
    if found is None:
        raise CannotMeasure(
            "PostgreSQL is not here: apt-get install postgresql-15-postgis-3, "
            "or leave it out with --without postgis"
        )
    shared = _told(found.with_name("pg_config"), "--sharedir")
    if shared and not (Path(shared) / "extension" / "postgis.control").exists():
        raise CannotMeasure(
            "PostgreSQL has no PostGIS: apt-get install postgresql-15-postgis-3, "
            "or leave it out with --without postgis"
        )
    return found.parent


@contextlib.contextmanager
def running_postgres() -> Iterator[Path]:
    """Start one; the folder of its socket. Raises `CannotMeasure`."""
    bin_folder = programs()
    # Its own user, since the server refuses to be run by root.
    as_user = ["runuser", "-u", _USER, "--"] if os.geteuid() == 0 else []
    folder = Path(tempfile.mkdtemp(prefix="mallard-pg-"))
    try:
        if as_user:
            owner = pwd.getpwnam(_USER)
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        data = folder / "data"
        flags = ("--username", _USER, "--auth", "trust", "--encoding", "UTF8", "--no-sync")
        _run([*as_user, bin_folder / "initdb", "--pgdata", data, *flags])
        lines = [f"{name} = {value}" for name, value in _SETTINGS.items()]
        lines.append(f"unix_socket_directories = '{folder}'")
        with (data / "postgresql.conf").open("a") as configuration:
            configuration.write("\n".join(lines) + "\n")
        control: list[str | Path] = [*as_user, bin_folder / "pg_ctl", "--pgdata", data, "--wait"]
        _run([*control, "--log", folder / "log", "start"])
        try:
            yield folder
        finally:
            _run([*control, "--mode", "fast", "stop"])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(command: list[str | Path]) -> None:
    try:
        subprocess.run(  # noqa: S603 - PostgreSQL's own programs
            command,
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd="/",
        )
    except subprocess.CalledProcessError as error:
        raise CannotMeasure(f"PostgreSQL: {error.stderr.decode(errors='replace')}") from error


def _told(program: Path, *words: str) -> str:
    """What a program prints; nothing if it is not there."""
    try:
        done = subprocess.run(  # noqa: S603 - PostgreSQL's own programs
            [program, *words], check=True, capture_output=True, text=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def _version(program: Path) -> float:
    try:
        return float(program.parts[-3])
    except ValueError:
        return 0.0
