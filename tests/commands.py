"""Runs `mallard` commands as processes forked from one that has imported the engine.

Starting Python and importing the engine takes more than a second of CPU, and tests run many
commands. A forked process has an environment, a folder, output and an exit status of its own. What
only a new interpreter shows (the encoding of its output, a package that is missing, the installed
script) needs `subprocess`.
"""

import functools
import gc
import importlib
import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mallard_engine import cli
from mallard_engine.cli.main import main

_ROOT = Path(__file__).parents[1]
_WITHIN_S = 60.0
_MESSAGE_BYTES = 1 << 17


def run(
    *arguments: str | Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `mallard ARGUMENTS…` to its end, without input; `env` missing: that of this process."""
    call = {
        "arguments": [str(argument) for argument in arguments],
        "env": dict(os.environ if env is None else env),
        "cwd": str(cwd or Path.cwd()),
    }
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        status = _template().call(call, output.fileno(), errors.fileno())
        output.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess(
            ["mallard", *call["arguments"]],
            status,
            output.read().decode(),
            errors.read().decode(),
        )


class _Template:
    """The process that is forked; it ends when this process closes its socket."""

    def __init__(self) -> None:
        self._link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._link.settimeout(_WITHIN_S)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.commands", str(theirs.fileno())],
                cwd=_ROOT,
                # A forked process has no other thread of its parent, so there may be none.
                env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    def call(self, call: Mapping[str, Any], output: int, errors: int) -> int:
        """Return the exit status; as in `subprocess`, a signal is negative."""
        try:
            socket.send_fds(self._link, [json.dumps(call).encode()], [output, errors])
            return int(self._link.recv(_MESSAGE_BYTES))
        except (OSError, ValueError):
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            _template.cache_clear()
            raise


@functools.cache
def _template() -> _Template:
    return _Template()


def _forked(link: socket.socket) -> dict[str, Any]:
    """Fork for each call, and return the call in the forked process."""
    while True:
        message, (*files,), _, _ = socket.recv_fds(link, _MESSAGE_BYTES, 2)
        if not message:
            sys.exit(0)
        pid = os.fork()
        if not pid:
            for number, file in enumerate(files, start=1):
                os.dup2(file, number)
                os.close(file)
            link.close()
            return dict(json.loads(message))
        for file in files:
            os.close(file)
        _, status = os.waitpid(pid, 0)
        link.send(b"%d" % os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    for module in pkgutil.iter_modules(cli.__path__):
        importlib.import_module(f"{cli.__name__}.{module.name}")
    gc.freeze()
    called = _forked(socket.socket(fileno=int(sys.argv[1])))
    os.environ.clear()
    os.environ.update(called["env"])
    os.chdir(called["cwd"])
    sys.exit(main(called["arguments"]))
