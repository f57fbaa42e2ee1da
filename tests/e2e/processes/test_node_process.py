"""A node's process: its signals, its ports and its open files."""

import contextlib
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import POLICY, START_WITHIN_S, make_token
from tests.support import GUARD_S

SECRET = "another secret of thirty-two bytes or more"
# Time for three requests of a process that may stand still meanwhile.
LINGER_S = 5


class Process:
    """`mallard serve` on an embedded Redis, with its output in a file."""

    def __init__(self, folder: Path, *, files: int | None = None, **settings: str) -> None:
        self.log = folder / "node.log"
        inherited = {name: it for name, it in os.environ.items() if not name.startswith("MALLARD_")}
        command = [str(Path(sys.executable).with_name("mallard")), "serve", "--port", "0"]

        def limit_files() -> None:
            if files is not None:
                resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [*command, "--data", str(folder)],
                env=inherited | POLICY | settings,
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=limit_files,  # noqa: PLW1509  nothing else forks meanwhile
            )
        self.port = int(self.wait_for(r"listens on http://127\.0\.0\.1:(\d+)"))

    def wait_for(self, pattern: str, within_s: float = START_WITHIN_S) -> str:
        """Wait for a pattern in the log and return its first group."""
        deadline = time.monotonic() + within_s
        while not (match := re.search(pattern, self.log.read_text(errors="replace"))):
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)
        return match[match.lastindex or 0]

    def status(self, path: str, token: str | None = None, port: int | None = None) -> int:
        request = urllib.request.Request(f"http://127.0.0.1:{port or self.port}{path}")
        if token is not None:
            request.add_header("Authorization", f"Bearer {token}")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=GUARD_S) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[list[Process]]:
    started: list[Process] = []
    yield started
    for each in started:
        each.process.kill()
        each.process.wait()


@pytest.mark.finding("D15", "A14", "D14")
def test_signals_and_the_port_for_metrics(processes: list[Process], tmp_path: Path) -> None:
    secret = tmp_path / "file-of-the-secret"
    secret.write_text(SECRET)
    node = Process(
        tmp_path,
        MALLARD_SECRET="",
        MALLARD_SECRET_FILE=str(secret),
        MALLARD_OPS_PORT="0",
        MALLARD_DRAIN_LINGER_S=str(LINGER_S),
    )
    processes.append(node)
    ops_port = int(node.wait_for(r"metrics on http://127\.0\.0\.1:(\d+)"))
    assert node.status("/metrics") == 404
    assert node.status("/metrics", port=ops_port) == 200

    # SIGHUP reads the keys again, and a bad file changes nothing.
    token = make_token("shop", "orders")  # signed with the secret of these tests
    assert node.status("/v1/markets", token) == 401
    secret.write_text(POLICY["MALLARD_SECRET"])
    node.process.send_signal(signal.SIGHUP)
    node.wait_for("configuration reloaded")
    assert node.status("/v1/markets", token) == 200
    secret.write_text("")
    node.process.send_signal(signal.SIGHUP)
    node.wait_for("configuration refused")
    assert node.status("/v1/markets", token) == 200

    # SIGTERM: unready at once on both ports, still serving, stopped within 10 s.
    began_s = time.monotonic()
    node.process.send_signal(signal.SIGTERM)
    node.wait_for("node leaving")
    assert node.status("/readyz") == 503
    assert node.status("/readyz", port=ops_port) == 503
    assert node.status("/v1/markets", token) == 200
    assert node.process.wait(GUARD_S) == 0
    assert time.monotonic() - began_s >= LINGER_S
    assert "Traceback" not in node.log.read_text()


@pytest.mark.slow
@pytest.mark.finding("A4")
def test_connections_stay_below_the_descriptor_limit(
    processes: list[Process], tmp_path: Path
) -> None:
    node = Process(tmp_path, files=200)
    processes.append(node)
    token = make_token("shop", "orders")
    with contextlib.ExitStack() as stack:
        for number in range(400):
            raw = stack.enter_context(socket.socket())
            raw.bind((f"127.0.{number % 7}.2", 0))
            raw.connect(("127.0.0.1", node.port))
            with contextlib.suppress(OSError):
                raw.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        open_files = len(list(Path(f"/proc/{node.process.pid}/fd").iterdir()))
        assert open_files <= 200 - 30
        # A client with a token comes in, and the log of Redis is still synced.
        assert node.status("/v1/markets", token) == 200
        # The log is synced each second and a sync that works leaves no trace: this takes real time.
        time.sleep(1.5)
        log = node.log.read_text()
        assert "too many open files" not in log.lower()
        assert "Traceback" not in log
        assert 0 < log.count("connections refused") <= 10
