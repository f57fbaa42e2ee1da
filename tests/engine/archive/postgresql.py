"""A PostgreSQL server for tests, where its programs are installed."""

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

USER = "postgres"
_SETTINGS = ("listen_addresses=", "fsync=off", "shared_buffers=16MB", "max_connections=20")


def lacking() -> str | None:
    """What this machine lacks to run a server; None: nothing."""
    if _programs() is None:
        return "PostgreSQL is not installed"
    if os.geteuid() == 0:
        if shutil.which("runuser") is None:
            return "the command runuser is missing, and root may not run PostgreSQL"
        try:
            pwd.getpwnam(USER)
        except KeyError:
            return f"there is no user {USER} to run PostgreSQL"
    return None


def _programs() -> Path | None:
    named = shutil.which("pg_ctl")
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    found = Path(named).resolve() if named else (debian[-1] if debian else None)
    return found.parent if found and found.with_name("initdb").exists() else None


class PostgresServer:
    """A server on a UNIX socket that can be stopped and started again."""

    def __init__(self) -> None:
        self._as_user = ["runuser", "-u", USER, "--"] if os.geteuid() == 0 else []
        self.folder = Path(tempfile.mkdtemp(prefix="mallard-pg-"))
        if self._as_user:
            owner = pwd.getpwnam(USER)
            os.chown(self.folder, owner.pw_uid, owner.pw_gid)
        flags = ("--username", USER, "--auth", "trust", "--encoding", "UTF8", "--no-sync")
        self._run("initdb", "--pgdata", self.folder / "data", *flags)

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://{USER}@/{database}?host={self.folder}"

    def start(self) -> None:
        options = " ".join(
            f"-c {it}" for it in (*_SETTINGS, f"unix_socket_directories={self.folder}")
        )
        self._ctl("--log", self.folder / "log", "--options", options, "start")

    def stop(self) -> None:
        self._ctl("--mode", "immediate", "stop")

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _ctl(self, *arguments: Any) -> None:
        self._run("pg_ctl", "--pgdata", self.folder / "data", "--wait", *arguments)

    def _run(self, program: str, *arguments: Any) -> None:
        programs = _programs()
        assert programs is not None
        subprocess.run(
            [*self._as_user, programs / program, *arguments],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            timeout=60,
        )
