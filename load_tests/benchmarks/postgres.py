"""Runs a temporary PostgreSQL cluster on a UNIX socket."""

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from load_tests.benchmarks.benches import CannotMeasure

_USER: Final = "postgres"
_INSTALL: Final = "apt-get install postgresql-15-postgis-3, or leave it out with --without postgis"
# The durability of Redis: a power cut may lose the last moments. Enough memory for a million
# drivers and their index, no checkpoint during a race, no JIT.
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


class Cluster:
    """A PostgreSQL cluster on a UNIX socket in its folder.

    Args:
        folder: The folder.
        control: `pg_ctl` and its arguments for this cluster.
    """

    def __init__(self, folder: Path, control: Sequence[str | Path]) -> None:
        self.folder: Final = folder
        self.url: Final = f"postgresql://{_USER}@/postgres?host={folder}"
        self._control = control

    def start(self) -> None:
        """Start it and wait until it answers. Raises `CannotMeasure`."""
        _run([*self._control, "--log", self.folder / "log", "start"])

    def stop(self, mode: str = "immediate") -> None:
        """Stop it, by default as a crash would. Raises `CannotMeasure`."""
        _run([*self._control, "--mode", mode, "stop"])


def programs() -> Path:
    """Return the folder of `initdb` and `pg_ctl`.

    Raises `CannotMeasure` if they, the user that runs them or PostGIS are missing. The folder that
    this very `initdb` reads must have PostGIS: a machine may have several PostgreSQLs, links to
    one of them, and no `pg_config`.
    """
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), key=_version)
    named = shutil.which("pg_ctl")
    found = Path(named).resolve() if named else (debian[-1] if debian else None)
    if found is None or not found.with_name("initdb").exists():
        raise CannotMeasure(f"PostgreSQL is not installed: {_INSTALL}")
    shown = _output([*_as_user(), found.with_name("initdb"), "--show", "--pgdata", "/nonexistent"])
    shares = [line.partition("=")[2] for line in shown.splitlines() if "share_path=" in line]
    if not any((Path(share) / "extension" / "postgis.control").exists() for share in shares):
        raise CannotMeasure(f"PostgreSQL has no PostGIS: {_INSTALL}")
    return found.parent


def _as_user() -> list[str]:
    """Return the prefix to run a command as PostgreSQL's user: root may not run the server."""
    if os.geteuid() != 0:
        return []
    try:
        pwd.getpwnam(_USER)
    except KeyError:
        raise CannotMeasure(f"there is no user {_USER} to run PostgreSQL: {_INSTALL}") from None
    if shutil.which("runuser") is None:
        raise CannotMeasure("the command runuser is missing, and root may not run PostgreSQL")
    return ["runuser", "-u", _USER, "--"]


@contextlib.contextmanager
def postgres_cluster() -> Iterator[Cluster]:
    """Run a cluster, which may be stopped and started meanwhile. Raises `CannotMeasure`."""
    bin_folder = programs()
    as_user = _as_user()
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
        cluster = Cluster(folder, [*as_user, bin_folder / "pg_ctl", "--pgdata", data, "--wait"])
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop("fast")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def running_postgres() -> Iterator[Path]:
    """Start a cluster; yield the folder of its socket. Raises `CannotMeasure`."""
    with postgres_cluster() as cluster:
        yield cluster.folder


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


def _output(command: list[str | Path]) -> str:
    """Return what a program prints on both streams; nothing if it cannot be run."""
    try:
        done = subprocess.run(  # noqa: S603 - PostgreSQL's own programs
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
        )
    except OSError:
        return ""
    return done.stdout.decode(errors="replace")


def _version(program: Path) -> float:
    try:
        return float(program.parts[-3])
    except ValueError:
        return 0.0
