"""Runs every attack at once against an engine of its own: ``python -m load_tests.attacks``.

Drivers and a neighbour (an order service at a steady rate) run beside the attackers. A control run
follows, in which a dummy uses the attackers' CPU. The exit status is 0 if every goal was met.
"""

import argparse
import asyncio
import json
import secrets
import signal
import sys
import tempfile
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from load_tests.attacks.registry import attacks
from load_tests.attacks.report import Findings, counters, events
from load_tests.credentials import Credentials
from load_tests.meters import process_bytes
from load_tests.swarm.coordinator import Swarm, SwarmFailed
from load_tests.swarm.plan import SwarmPlan
from load_tests.swarm.result import SwarmResult
from mallard_engine.workload.nodes import EngineFailed, Node, running_nodes

_ENGINE: Final = {
    "MALLARD_OPENING_HOURS": "off",
    "MALLARD_OFFER_TIMEOUT_MS": "5000",
    "MALLARD_COOLDOWN_S": "5",
    "MALLARD_DRAIN_LINGER_S": "0",
    "MALLARD_LOG_LEVEL": "info",
    "MALLARD_LOG_FORMAT": "json",
    # Quotas within the reach of the bounded attacks: 20,000 jobs would take long to post.
    "MALLARD_SERVICE_OPEN_JOBS": "1500",
    "MALLARD_SERVICE_STORED_BYTES": str(8 << 20),
}
_WARM_S: Final = 10.0
_SETTLES_S: Final = 12.0
_SAMPLE_S: Final = 0.5
_MIB: Final = 1 << 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Attack, report, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m load_tests.attacks", description=__doc__)
    names = [it.name for it in attacks()]
    parser.add_argument("--seconds", type=float, default=60.0, help="of attack (%(default)g)")
    parser.add_argument("--drivers", type=int, default=100, help="(%(default)d)")
    parser.add_argument("--rate", type=float, default=5.0, help="orders a second (%(default)g)")
    parser.add_argument("--only", action="append", choices=names, help="this attack; repeatable")
    parser.add_argument("--list", action="store_true", help="the attacks, and nothing else")
    options = parser.parse_args(arguments)
    options.only = options.only or names
    if options.list:
        print("\n".join(f"{it.row:4} {it.name}" for it in attacks()))
        return 0
    # SIGTERM stops the started processes, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    secret = secrets.token_hex(32)
    with tempfile.TemporaryDirectory(prefix="mallard-attack-") as folder:
        try:
            environment = {**_ENGINE, "MALLARD_SECRET": secret}
            with running_nodes(1, Path(folder), environment) as nodes:
                run = Run(nodes[0], Path(folder), options, secret)
                findings = asyncio.run(run.whole())
        except (EngineFailed, SwarmFailed) as error:
            print(error, file=sys.stderr)
            return 1
    print(findings.text())
    return 0 if findings.met else 1


class Run:
    """One run against one node."""

    def __init__(self, node: Node, folder: Path, options: Any, secret: str) -> None:
        self._node = node
        self._log = folder / "node-1.log"
        self._options = options
        self._secret = secret
        self._played = [it for it in attacks() if it.name in options.only]
        self._peak = 0
        self._attacked: dict[str, Any] = {}

    async def whole(self) -> Findings:
        """Warm up, attack, let things settle, and run the control."""
        options = self._options
        plan = SwarmPlan(urls=(self._node.url,), drivers=options.drivers, hold_s=5.0)
        async with Swarm(plan, Credentials(secret=self._secret)) as swarm:
            await self._phase(swarm, _WARM_S)
            before, counted = process_bytes(self._node.pid), self._counters()
            logged = len(self._log.read_bytes())
            attacked = await self._phase(swarm, options.seconds, self._attack)
            log = self._log.read_bytes()[logged:]
            swarm.set_rate(0)
            await asyncio.sleep(_SETTLES_S)
            after = process_bytes(self._node.pid)
            moved = {
                name: value - counted.get(name, 0.0)
                for name, value in self._counters().items()
                if value != counted.get(name, 0.0)
            }
            control = await self._phase(swarm, options.seconds, self._burn)
        return Findings(
            attacked=attacked,
            control=control,
            before_mib=before / _MIB,
            peak_mib=self._peak / _MIB,
            after_mib=after / _MIB,
            attackers_cpu=self._attacked["cpu_s"] / options.seconds,
            logged=events(log),
            done=self._attacked["done"],
            counted=moved,
            wanted_counters={it.counter for it in self._played if it.counter},
        )

    async def _phase(self, swarm: Swarm, seconds: float, during: Any = None) -> SwarmResult:
        return await swarm.phase(rate=self._options.rate, seconds=seconds, during=during)

    async def _attack(self, _: Swarm) -> None:
        url = urlsplit(self._node.url)
        setup = {
            "attacks": [it.name for it in self._played],
            "seconds": self._options.seconds,
            "host": url.hostname,
            "port": url.port,
            "secret": self._secret,
        }
        watching = asyncio.create_task(self._watch_memory())
        try:
            output = await _output_of(
                "load_tests.attacks.generator", stdin=json.dumps(setup).encode()
            )
        finally:
            watching.cancel()
        self._attacked = json.loads(output)

    async def _burn(self, _: Swarm) -> None:
        seconds = self._options.seconds
        share = self._attacked["cpu_s"] / seconds
        await _output_of("load_tests.attacks.burner", f"{seconds}", f"{share:.4f}")

    async def _watch_memory(self) -> None:
        while True:
            self._peak = max(self._peak, process_bytes(self._node.pid))
            await asyncio.sleep(_SAMPLE_S)

    def _counters(self) -> dict[str, float]:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{self._node.url}/metrics", timeout=10) as response:
            return counters(response.read().decode())


async def _output_of(module: str, *arguments: str, stdin: bytes = b"") -> bytes:
    """Run a module to its end. Raises `EngineFailed` if it fails."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        output, _ = await process.communicate(stdin)
    except BaseException:
        process.kill()
        await process.wait()
        raise
    if process.returncode:
        raise EngineFailed(f"{module} ended with {process.returncode}")
    return output


if __name__ == "__main__":
    sys.exit(main())
