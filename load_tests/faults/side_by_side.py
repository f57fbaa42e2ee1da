"""Runs an older version and this one on one Redis under load, then upgrades the older node.

    python -m load_tests.faults.side_by_side ../mallard-of-the-last-release

The argument is a checkout of the older version, which runs with this environment's packages. Both
nodes serve drivers and orders for `--seconds`; then the older node drains and this version takes
its port, and the load continues. All ended jobs are packed before that, and the older version
lists them. Goals: every order is delivered, and `mallard check` finds no violation. Exit status
1 if one is missed.
"""

import argparse
import asyncio
import json
import os
import secrets
import subprocess
import sys
import tempfile
import urllib.request
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from load_tests.credentials import Credentials
from load_tests.swarm.coordinator import Swarm, SwarmFailed
from load_tests.swarm.plan import SwarmPlan
from mallard_engine.workload.nodes import EngineFailed, Node, running_redis

_MARKET: Final = "phoenix"
_PAGE: Final = 200
_SETTLES_S: Final = 60.0
_POLL_S: Final = 0.5
_ENGINE: Final = {
    "MALLARD_OPENING_HOURS": "off",
    "MALLARD_OFFER_TIMEOUT_MS": "5000",
    "MALLARD_COOLDOWN_S": "1",
}
# This version packs the jobs of its share of the markets almost at once.
_PACKS: Final = {"MALLARD_PACK_AFTER_S": "1"}
_ENDED: Final = frozenset({"delivered", "returned", "cancelled", "expired", "lost"})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the test and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m load_tests.faults.side_by_side", description=__doc__
    )
    parser.add_argument("older", type=Path, help="a checkout of the older version")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each phase (%(default)g)")
    parser.add_argument("--drivers", type=int, default=60, help="(%(default)d)")
    parser.add_argument("--rate", type=float, default=4.0, help="orders a second (%(default)g)")
    options = parser.parse_args(arguments)
    if not (options.older / "engine").is_dir():
        parser.error(f"{options.older} is no checkout of an engine")
    with tempfile.TemporaryDirectory(prefix="mallard-side-by-side-") as name:
        folder = Path(name)
        try:
            with running_redis(folder) as redis:
                return asyncio.run(_run(options, folder, f"unix://{redis}"))
        except (EngineFailed, SwarmFailed) as error:
            print(error, file=sys.stderr)
            return 1


async def _run(options: Any, folder: Path, redis: str) -> int:
    secret = secrets.token_hex(32)
    credentials = Credentials(secret=secret)
    environment = {**_ENGINE, "MALLARD_SECRET": secret, "MALLARD_REDIS_URL": redis}
    older = _older_node(options.older.resolve(), folder, environment)
    environment |= _PACKS
    newer = Node(2, folder, environment)
    nodes = (older, newer)
    try:
        for node in nodes:
            node.start()
        plan = SwarmPlan(
            urls=tuple(node.url for node in nodes),
            drivers=options.drivers,
            markets=(_MARKET,),
            hold_s=3.0,
            grace_s=15.0,
        )
        async with Swarm(plan, credentials) as swarm:
            await swarm.phase(rate=options.rate, seconds=options.seconds)
            await asyncio.to_thread(_pack, redis, environment)
            read = await asyncio.to_thread(_states, older.url, credentials)
            print(f"the older node reads {read.total()} jobs, {read['delivered']} of them packed")
            await asyncio.to_thread(older.upgrade, environment)
            await swarm.phase(rate=options.rate, seconds=options.seconds)
            swarm.set_rate(0)
            states = await _ended_states(newer.url, credentials)
        return _judge(states, read, _check(redis, environment, folder), folder)
    finally:
        for node in nodes:
            node.stop()


def _older_node(checkout: Path, folder: Path, environment: Mapping[str, str]) -> Node:
    """Return a node of the checkout's engine; up to 0.2.0 the packages were its top folders."""
    is_flat = (checkout / "engine" / "__main__.py").is_file()
    homes = (
        [checkout]
        if is_flat
        else [checkout / it for it in ("engine", "clients/python", "protocol")]
    )
    # Without the current folder, which `python -m` would search first.
    modules = {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(map(str, homes))}
    module = "engine" if is_flat else "mallard_engine"
    command = (sys.executable, "-m", module, "serve", "--data", folder)
    return Node(1, folder, {**environment, **modules}, command)


async def _ended_states(url: str, credentials: Credentials) -> Counter[str]:
    """Wait until every job has ended, up to a minute; return how many are in each state."""
    loop = asyncio.get_running_loop()
    ends_s = loop.time() + _SETTLES_S
    while True:
        states = await asyncio.to_thread(_states, url, credentials)
        if states.keys() <= _ENDED or loop.time() > ends_s:
            return states
        await asyncio.sleep(_POLL_S)


def _states(url: str, credentials: Credentials) -> Counter[str]:
    states: Counter[str] = Counter()
    token = credentials.operator
    cursor = ""
    while True:
        page = _get(f"{url}/v1/jobs?market={_MARKET}&limit={_PAGE}{cursor}", token)
        states.update(job["state"] for job in page["items"])
        if page["next_cursor"] is None:
            return states
        cursor = f"&cursor={page['next_cursor']}"


def _pack(redis: str, environment: Mapping[str, str]) -> None:
    """Pack all jobs that have ended, as a node of this version does in its share of the markets."""
    subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", "load_tests.benchmarks.engine.ended_jobs", redis, "--pack"],
        env={**os.environ, **environment},
        check=True,
    )


def _get(url: str, token: str) -> Any:
    request = urllib.request.Request(  # noqa: S310 - our own node on loopback
        url, headers={"Authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310 - as above
        return json.load(response)


def _check(redis: str, environment: Mapping[str, str], folder: Path) -> str:
    done = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", "mallard_engine", "check", "--redis", redis, "--data", folder],
        env={**environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def _judge(states: Counter[str], read: Counter[str], breaches: str, folder: Path) -> int:
    print(f"{states.total()} orders: {dict(states)}")
    errors = [
        f"{log.name}: {line}"
        for log in sorted(folder.glob("node-*.log"))
        for line in log.read_text(errors="replace").splitlines()
        if "Traceback" in line or "[error" in line
    ]
    failures = [line for line in (breaches, *errors[:10]) if line]
    if not states.total() or states.keys() - {"delivered"}:
        failures.append("not every order was delivered")
    if not read["delivered"]:
        failures.append("the older node has read no packed job")
    print("\n".join(failures) or "every order delivered, no breach, no error logged")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
