"""Lets Redis fail over repeatedly under orders and open sockets, and evaluates what apps saw.

    python -m load_tests.faults.failover --store cluster --failovers 20

The master is killed, a replica takes over, and the killed server comes back as a replica. With
`--forget` the replica is cut off for a moment before, so that confirmed orders are lost.

Goals: no socket closed; without `--forget` every confirmed order is delivered; with it every loss
is noticed within a second of the promotion, and each lost order is an alert; no violation found by
`mallard check`. Exit status 1 if one is missed.
"""

import argparse
import asyncio
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final

import httpx2
import redis

from load_tests.credentials import Credentials
from load_tests.faults.outage import MARKET, App, Seen, Shop
from mallard_engine.workload.nodes import Node
from mallard_engine.workload.stores import ClusterGroup, SentinelGroup, kill

Group = SentinelGroup | ClusterGroup

_NODES: Final = 2
_KEY: Final = f"mallard:{{{MARKET}}}:due"
_LINEAGE: Final = f"mallard:{{{MARKET}}}:lineage"
_WITHIN_S: Final = 60.0
_CUT_OFF_S: Final = 0.3
_POLL_S: Final = 0.02


def master_of(group: Group) -> Any:
    """Return the server that has the market."""
    return group.master() if isinstance(group, SentinelGroup) else group.primary_of(_KEY)


def replicas_of(group: Group, master: Any) -> list[Any]:
    """Return the servers of which one will take over."""
    if isinstance(group, ClusterGroup):
        return list(group.replicas_of(master))
    return [server for server in group.servers if server is not master]


def lost_ms(group: Group, server: Any) -> int:
    """Return when the market was last found to have lost writes."""
    return int(group.client(server).hget(_LINEAGE, "lost") or 0)


class Failovers:
    """One run: its orders, its drivers, and what is seen of each failover."""

    def __init__(self, group: Group, nodes: Sequence[Node], secret: str, *, forget: bool) -> None:
        self._group = group
        self._forget = forget
        self._urls = [node.url for node in nodes]
        self._credentials = Credentials(secret)
        self.seen = Seen()
        self.shop = Shop(self._urls, self._credentials.orders)
        self.offer_s: list[float] = []
        self.noticed_s: list[float] = []
        self._orders: set[asyncio.Task[None]] = set()

    async def run(self, failovers: int, rate: float, drivers: int) -> None:
        """Let the store fail over."""
        apps = [
            App(self._credentials.driver(f"d{n}", MARKET).token, self.seen) for n in range(drivers)
        ]
        running = [
            asyncio.create_task(app.run(self._urls[n % len(self._urls)]))
            for n, app in enumerate(apps)
        ]
        ordering = asyncio.create_task(self._order(rate))
        try:
            waits = (app.available.wait() for app in apps)
            await asyncio.wait_for(asyncio.gather(*waits), _WITHIN_S)
            for number in range(1, failovers + 1):
                await asyncio.sleep(1.0)
                await self._fail_over(number)
            ordering.cancel()
            await asyncio.wait(self._orders, timeout=_WITHIN_S)
            await self._settle()
        finally:
            for task in (ordering, *self._orders, *running):
                task.cancel()
            everything = (ordering, *self._orders, *running)
            await asyncio.gather(*everything, return_exceptions=True)

    async def _order(self, rate: float) -> None:
        """Post orders at their times, however long the earlier ones take."""
        next_s = time.monotonic()
        while True:
            task = asyncio.create_task(self.shop.order())
            self._orders.add(task)
            task.add_done_callback(self._orders.discard)
            next_s += 1 / rate
            await asyncio.sleep(max(0.0, next_s - time.monotonic()))

    async def _fail_over(self, number: int) -> None:
        group = self._group
        before = await asyncio.to_thread(master_of, group)
        known_ms = await asyncio.to_thread(lost_ms, group, before)
        replicas = await asyncio.to_thread(replicas_of, group, before)
        if self._forget:
            for replica in replicas:
                os.kill(replica.pid, signal.SIGSTOP)
            # What is sent from now on reaches no replica, not even its socket.
            group.client(before).execute_command("CLIENT", "KILL", "TYPE", "replica")
            await asyncio.sleep(_CUT_OFF_S)
        kill(before)
        for replica in replicas if self._forget else ():
            os.kill(replica.pid, signal.SIGCONT)
        now = None
        while now is None:
            await asyncio.sleep(_POLL_S)
            now = await asyncio.to_thread(_other_master, group, before)
        promoted_s, offers = time.monotonic(), len(self.seen.offers)
        noticed = asyncio.create_task(self._notice(now, known_ms, promoted_s))
        self.offer_s.append(await self.seen.next_offer(offers) - promoted_s)
        self.noticed_s.append(await noticed)
        print(
            f"failover {number}: first offer {self.offer_s[-1]:.2f} s after the promotion, noticed "
            f"after {self.noticed_s[-1]:.2f} s; sockets closed: {dict(self.seen.closed)}",
            flush=True,
        )
        await asyncio.to_thread(group.heal)

    async def _notice(self, server: Any, known_ms: int, promoted_s: float) -> float:
        while time.monotonic() < promoted_s + _WITHIN_S:
            with suppress(redis.RedisError):
                if await asyncio.to_thread(lost_ms, self._group, server) > known_ms:
                    break
            await asyncio.sleep(_POLL_S)
        return time.monotonic() - promoted_s

    async def _settle(self) -> None:
        ends_s = time.monotonic() + _WITHIN_S
        while time.monotonic() < ends_s:
            if not (await self.left())[1]:
                return
            await asyncio.sleep(1)

    async def left(self) -> tuple[list[str], list[str]]:
        """Return the confirmed jobs that the store has not, and those that are not delivered."""
        gone, open_jobs = [], []
        for url, job in self.shop.jobs:
            answer = await self.shop.http.get(f"{url}/v1/jobs/{job}")
            if answer.status_code == httpx2.codes.NOT_FOUND:
                gone.append(job)
            elif answer.json().get("state") != "delivered":
                open_jobs.append(job)
        return gone, open_jobs

    async def alerts(self) -> set[str]:
        """Return the jobs of the alerts about lost orders."""
        headers = {"Authorization": f"Bearer {self._credentials.operator}"}
        found: set[str] = set()
        cursor = ""
        while True:
            answer = await self.shop.http.get(
                f"{self._urls[0]}/v1/alerts?market={MARKET}&limit=100{cursor}", headers=headers
            )
            page = answer.json()
            found |= {it["job"] for it in page["items"] if it["what"] == "job_lost"}
            if not page["next_cursor"]:
                return found
            cursor = f"&cursor={page['next_cursor']}"


def _other_master(group: Group, before: Any) -> Any:
    try:
        now = master_of(group)
    except (LookupError, redis.RedisError, StopIteration):
        return None
    return None if now is before else now


async def _judge(run: Failovers, *, forget: bool, within: float) -> list[str]:
    gone, open_jobs = await run.left()
    alerts = await run.alerts()
    offers, noticed = sorted(run.offer_s), sorted(run.noticed_s)
    print(
        f"{len(offers)} failovers, {len(run.shop.jobs)} orders confirmed, {len(gone)} forgotten, "
        f"{len(alerts & set(gone))} of them alerts; first offer after the promotion: median "
        f"{offers[len(offers) // 2]:.2f} s, at most {offers[-1]:.2f} s; noticed after "
        f"{noticed[-1]:.2f} s at most; {run.seen.welcomes} welcomes"
    )
    failures = []
    if run.seen.closed:
        failures.append(f"sockets closed: {dict(run.seen.closed)}")
    if offers[-1] > within and not forget:
        failures.append(f"an offer came only {offers[-1]:.2f} s after the promotion")
    if noticed[-1] > 1.0:
        failures.append(f"a failover was noticed only after {noticed[-1]:.2f} s")
    if open_jobs:
        failures.append(f"{len(open_jobs)} jobs not delivered: {open_jobs[:5]}")
    if gone and not forget:
        failures.append(f"{len(gone)} confirmed orders forgotten: {gone[:5]}")
    if missing := set(gone) - alerts:
        failures.append(f"{len(missing)} forgotten orders without an alert: {sorted(missing)[:5]}")
    return failures


def _check(url: str, folder: Path) -> list[str]:
    found = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", "mallard_engine", "check", "--redis", url, "--data", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    print(found.stdout.strip()[-2_000:])
    return (
        [] if found.returncode == 0 else [f"mallard check: {(found.stdout + found.stderr)[-500:]}"]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the test and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="load_tests.faults.failover", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--store", choices=["sentinel", "cluster"], default="sentinel")
    parser.add_argument("--failovers", type=int, default=20)
    parser.add_argument("--rate", type=float, default=60.0, help="orders a second")
    parser.add_argument("--drivers", type=int, default=300)
    parser.add_argument("--durability", choices=["none", "replica"], default="replica")
    parser.add_argument("--forget", action="store_true", help="lose the last writes each time")
    parser.add_argument("--within", type=float, default=2.0, help="seconds to the first offer")
    parser.add_argument("--binary", type=Path, help="another Redis server, such as Debian's")
    options = parser.parse_args(arguments)
    secret = secrets.token_hex(32)
    kind: type[Group] = SentinelGroup if options.store == "sentinel" else ClusterGroup
    group = kind(binary=options.binary, persistent=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mallard-failover-")))
        stack.enter_context(group)
        environment = {
            "MALLARD_SECRET": secret,
            "MALLARD_OPENING_HOURS": "off",
            "MALLARD_REDIS_URL": group.url,
            "MALLARD_DURABILITY": "none" if options.forget else options.durability,
            "MALLARD_LOG_LEVEL": "warning",
        }
        nodes = [Node(number, folder, environment) for number in range(1, _NODES + 1)]
        for node in nodes:
            stack.callback(node.stop)
            node.start()

        async def run() -> list[str]:
            failovers = Failovers(group, nodes, secret, forget=options.forget)
            try:
                await failovers.run(options.failovers, options.rate, options.drivers)
                found = await _judge(failovers, forget=options.forget, within=options.within)
                # Here, as the servers that a thread has started end with it.
                return found + await asyncio.to_thread(_check, group.url, folder)
            finally:
                await failovers.shop.close()

        failures = asyncio.run(run())
    for failure in failures:
        print(f"FAILED: {failure}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
