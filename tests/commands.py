"""Runs `mallard` commands as processes forked from one that has imported the engine.

Starting Python and importing the engine takes more than a second of CPU, and tests run many
commands. A forked process has an environment, a folder, output and an exit status of its own. What
only a new interpreter shows (the encoding of its output, a package that is missing, the installed
script) needs `subprocess`.
"""

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from mallard_engine.cli import commands
from mallard_engine.cli.main import main
from mallard_engine.storage.client.client import Link
from tests.support import PATIENCE

_ROOT = Path(__file__).parents[1]
_WITHIN_S = 60.0
_MESSAGE_BYTES = 1 << 17


class Process:
    """A command that has been started; what tests use of `subprocess.Popen`."""

    def __init__(self, pid: int, keeper: socket.socket) -> None:
        self.pid = pid
        self._keeper = keeper
        self._status: int | None = None

    def poll(self) -> int | None:
        """Return the exit status, negative for a signal; None while it runs."""
        return self._status if self._ended_within(0) else None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit status. Raises `TimeoutError`."""
        if not self._ended_within(timeout):
            raise TimeoutError(f"process {self.pid} runs for longer than {timeout} s")
        assert self._status is not None
        return self._status

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def _ended_within(self, timeout: float | None) -> bool:
        if self._status is None and select.select([self._keeper], [], [], timeout)[0]:
            self._status = int(self._keeper.recv(_MESSAGE_BYTES))
            self._keeper.close()
        return self._status is not None


def start(
    *arguments: str | Path,
    env: Mapping[str, str],
    output: IO[bytes],
    errors: IO[bytes],
    cwd: Path | None = None,
) -> Process:
    """Start `mallard ARGUMENTS…` without input."""
    call = {
        "arguments": [str(argument) for argument in arguments],
        "env": dict(env),
        "cwd": str(cwd or Path.cwd()),
    }
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        files = [output.fileno(), errors.fileno(), theirs.fileno()]
        socket.send_fds(_template(), [json.dumps(call).encode()], files)
    assert select.select([ours], [], [], _WITHIN_S)[0], "the engine was not imported in time"
    return Process(int(ours.recv(_MESSAGE_BYTES)), ours)


def run(
    *arguments: str | Path, env: Mapping[str, str], cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `mallard ARGUMENTS…` to its end. Raises `TimeoutError` after a minute."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = start(*arguments, env=env, output=output, errors=errors, cwd=cwd)
        try:
            status = process.wait(_WITHIN_S)
        finally:
            process.send_signal(signal.SIGKILL)
        output.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess(
            arguments, status, output.read().decode(), errors.read().decode()
        )


@functools.cache
def _template() -> socket.socket:
    """Start the process that is forked; it ends when the socket is closed."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.commands", str(theirs.fileno())],
            cwd=_ROOT,
            # A forked process has no other thread of its parent, so there may be none.
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
    atexit.register(process.wait)
    atexit.register(ours.close)  # the last one registered is called first
    return ours


def _forked(link: socket.socket) -> dict[str, Any]:
    """Fork for each call, and return the call in the forked process.

    A keeper between the two waits for the end of the command and tells it to the caller.
    """
    while True:
        message, files, _, _ = socket.recv_fds(link, _MESSAGE_BYTES, 3)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not message:
            sys.exit(0)
        if os.fork():
            for file in files:
                os.close(file)
            continue
        link.close()
        *outputs, caller = files
        pid = os.fork()
        if not pid:
            for number, file in enumerate(outputs, start=1):
                os.dup2(file, number)
            for file in files:
                os.close(file)
            return dict(json.loads(message))
        for file in outputs:
            os.close(file)
        with socket.socket(fileno=caller) as channel, contextlib.suppress(BrokenPipeError):
            channel.send(b"%d" % pid)
            _, status = os.waitpid(pid, 0)
            channel.send(b"%d" % os.waitstatus_to_exitcode(status))
        os._exit(0)


if __name__ == "__main__":
    for module in pkgutil.iter_modules(commands.__path__):
        importlib.import_module(f"{commands.__name__}.{module.name}")
    limits = Link.__init__.__kwdefaults__
    assert limits is not None
    limits.update(PATIENCE)
    gc.freeze()
    called = _forked(socket.socket(fileno=int(sys.argv[1])))
    os.environ.clear()
    os.environ.update(called["env"])
    os.chdir(called["cwd"])
    sys.exit(main(called["arguments"]))
