"""A load test against an engine of its own, on loopback: ``python -m
load_tests.users.with_engine``.

Starts the nodes, runs locust headless with the HTML report in `load_tests/results/`, restarts nodes
as the shape requires, and stops everything it started. Unknown arguments are passed to locust. The
exit status is locust's: 0 if every objective was met.
"""

import argparse
import os
import secrets
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from load_tests.shapes import SHAPES
from mallard_engine.workload.nodes import EngineFailed, Node, running_nodes

_HERE: Final = Path(__file__).resolve().parents[1]
_POLL_S: Final = 0.1
# Short limits, so that two minutes include their expiry.
_ENGINE: Final = {
    "MALLARD_OPENING_HOURS": "off",
    # One service sends the load of a market's.
    "MALLARD_SERVICE_RATE_PER_S": "0",
    "MALLARD_WAITS": "0",
    "MALLARD_SERVICE_OPEN_JOBS": "0",
    "MALLARD_SERVICE_STORED_BYTES": "0",
    "MALLARD_OFFER_TIMEOUT_MS": "5000",
    "MALLARD_COOLDOWN_S": "5",
    "MALLARD_LOG_LEVEL": "warning",
}
_OBJECTIVES: Final = (
    "POST /v1/jobs:p99<250ms,failures<0.1%",
    "offer latency:p99<250ms,failures<0.1%",
    "accept round trip:failures<0.1%",
)
# argparse formats help texts with the % operator.
_DEFAULT_OBJECTIVES: Final = "; ".join(_OBJECTIVES).replace("%", "%%")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a load test and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m load_tests.users.with_engine", description=__doc__
    )
    parser.add_argument("--shape", choices=tuple(SHAPES), default="steady")
    parser.add_argument("--nodes", type=int, help="of the engine (1; for rolling-restart 2)")
    parser.add_argument("--drivers", type=int, default=200)
    parser.add_argument("--rate", type=float, default=5.0, help="jobs a second at the peak")
    parser.add_argument("--seconds", type=int, default=120, help="for how long orders arrive")
    parser.add_argument(
        "--setting", action="append", default=[], metavar="NAME=VALUE", help="of the nodes"
    )
    parser.add_argument("--slo", action="append", help=f"(default: {_DEFAULT_OBJECTIVES})")
    parser.add_argument("--results", type=Path, default=_HERE / "results")
    options, further = parser.parse_known_args(arguments)
    if wrong := [setting for setting in options.setting if "=" not in setting]:
        parser.error(f"--setting {wrong[0]} is not NAME=VALUE")
    # SIGTERM stops the started processes, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    count = options.nodes or (2 if options.shape == "rolling-restart" else 1)
    secret = secrets.token_hex(32)
    settings = dict(setting.split("=", 1) for setting in options.setting)
    environment = {**_ENGINE, **settings, "MALLARD_SECRET": secret}
    with tempfile.TemporaryDirectory(prefix="mallard-load-") as folder:
        try:
            with running_nodes(count, Path(folder), environment) as nodes:
                return _run_locust(nodes, options, further, secret)
        except EngineFailed as error:
            print(error, file=sys.stderr)
            return 1


def _run_locust(nodes: Sequence[Node], options: Any, further: Sequence[str], secret: str) -> int:
    asked: list[int] = []
    signal.signal(signal.SIGUSR1, lambda *_: asked.append(1))
    options.results.mkdir(parents=True, exist_ok=True)
    report = options.results / f"{options.shape}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.html"
    process = subprocess.Popen(  # noqa: S603 - locust, with our own arguments
        _command(nodes, options, report, further),
        env={**os.environ, "MALLARD_SECRET": secret},
        cwd=_HERE.parent,
    )
    restarted = 0
    try:
        while process.poll() is None:
            if restarted < len(asked):
                nodes[restarted % len(nodes)].restart()
                restarted += 1
            time.sleep(_POLL_S)
    except KeyboardInterrupt:  # locust receives it too, and ends with its report
        process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
    print(f"report: {report}")
    return process.returncode


def _command(
    nodes: Sequence[Node], options: Any, report: Path, further: Sequence[str]
) -> list[str]:
    # `sh` drops the node's number, which the load test appends to the command.
    restart = shlex.join(["sh", "-c", f"kill -USR1 {os.getpid()}"])
    return [
        *(sys.executable, "-m", "locust", "-f", str(_HERE / "locustfile.py"), "--headless"),
        *("--only-summary", "--host", nodes[0].url),
        *(word for node in nodes[1:] for word in ("--node", node.url)),
        *("--shape", options.shape, "--users", str(options.drivers)),
        *("--rate", str(options.rate), "--run-time", f"{options.seconds}s"),
        *("--html", str(report), "--on-restart", restart),
        *(word for slo in options.slo or _OBJECTIVES for word in ("--slo", slo)),
        *further,
    ]


if __name__ == "__main__":
    sys.exit(main())
