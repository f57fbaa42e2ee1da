"""Lets Redis fail over repeatedly under orders and open sockets, and evaluates what apps saw.

    python -m load_tests.faults.failover sentinel:killed cluster:killed --failovers 20

A row is a Redis and what happens to its master: `killed` (a replica takes over, the killed server
comes back as a replica), `planned` (it changes places with a replica, as for maintenance) or
`forget` (it is killed after its replicas were cut off for a moment: confirmed writes are lost). The
servers are set up as docs/howto/high-availability.md recommends.

Goals: no socket closed; each confirmed order delivered, and the first new offer within two seconds
of the promotion; with `forget` every loss noticed within a second of the promotion, each lost order
an alert, and every other order delivered; no step of a kept order refused for good or confirmed to
two drivers; no violation found by `mallard check`. A line of a table for each row; exit status 1 if
a goal is missed. With `--over-http 0.5`, half of the drivers accept and report over HTTP.
"""

import argparse
import asyncio
import os
import secrets
import shutil
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
from load_tests.faults.http_driver import HttpApp
from load_tests.faults.outage import MARKET, App, Seen, Shop
from mallard_engine.workload.nodes import Node
from mallard_engine.workload.redis_groups import ClusterGroup, SentinelGroup, kill

Group = SentinelGroup | ClusterGroup

ROWS: Final = tuple(
    f"{store}:{how}" for how in ("killed", "planned", "forget") for store in ("sentinel", "cluster")
)
_STEP_S: Final = 0.5
_NODES: Final = 2
KEY: Final = f"mallard:{{{MARKET}}}:due"
_LINEAGE: Final = f"mallard:{{{MARKET}}}:lineage"
_WITHIN_S: Final = 60.0
_CUT_OFF_S: Final = 0.3
_POLL_S: Final = 0.02
_READS: Final = 16
_SHOWN: Final = 20
# The recommended deployment: see docs/howto/high-availability.md.
_DOWN_AFTER_MS: Final = 2_000
_REPLICAS: Final = 2
_OPTIONS: Final = {"appendfsync": "everysec"}
_WITH_REPLICAS: Final = {"min-replicas-to-write": "1", "min-replicas-max-lag": "10"}
_HEAD: Final = (
    "| store, master | failovers | orders a second | confirmed | forgotten, of them alerts | "
    "undelivered | sockets closed | first new offer, median, at most | noticed, at most | check |"
)


def master_of(group: Group) -> Any:
    """Return the server that has the market."""
    return group.master() if isinstance(group, SentinelGroup) else group.primary_of(KEY)


def replicas_of(group: Group, master: Any) -> list[Any]:
    """Return the servers of which one will take over."""
    if isinstance(group, ClusterGroup):
        return list(group.replicas_of(master))
    return [server for server in group.servers if server is not master]


def lost_ms(group: Group, server: Any) -> int:
    """Return when the market was last found to have lost writes."""
    return int(group.client(server).hget(_LINEAGE, "lost") or 0)


def exchange(group: Group, master: Any) -> None:
    """Let the master change places with a replica. Sentinels refuse it soon after the last time."""
    ends_s = time.monotonic() + _WITHIN_S
    while True:
        try:
            if isinstance(group, SentinelGroup):
                group.fail_over()
            else:
                group.fail_over(master)
        except redis.ResponseError:
            if time.monotonic() > ends_s:
                raise
            time.sleep(0.2)
        else:
            return


class Failovers:
    """One row: its orders, its drivers, and what is seen of each failover."""

    def __init__(self, group: Group, nodes: Sequence[Node], secret: str, how: str) -> None:
        self.group = group
        self._how = how
        self._urls = [node.url for node in nodes]
        self._credentials = Credentials(secret)
        self.seen = Seen()
        self.shop = Shop(self._urls, self._credentials.orders)
        self.offer_s: list[float] = []
        self.noticed_s: list[float] = []
        self.ordered_s = 0.0
        self._orders: set[asyncio.Task[None]] = set()
        self._delivered: set[str] = set()

    async def run(
        self, failovers: int, minutes: float, rate: float, drivers: int, over_http: float = 0.0
    ) -> None:
        """Let Redis fail over, as often as is asked for or as there is time for."""
        apps: list[App] = []
        running: list[asyncio.Task[None]] = []
        for n in range(drivers):
            token = self._credentials.driver(f"d{n}", MARKET).token
            if n < round(drivers * over_http):
                over = HttpApp(self.shop.http, token, self.seen, step_s=_STEP_S)
                running.append(asyncio.create_task(over.work(self._urls)))
                apps.append(over)
            else:
                apps.append(App(token, self.seen, step_s=_STEP_S))
                url = self._urls[n % len(self._urls)]
                running.append(asyncio.create_task(apps[-1].run(url)))
        ordering: asyncio.Task[None] | None = None
        try:
            waits = (app.available.wait() for app in apps)
            await asyncio.wait_for(asyncio.gather(*waits), _WITHIN_S)
            began_s = time.monotonic()
            ordering = asyncio.create_task(self._order(rate))
            for number in range(1, failovers + 1):
                await asyncio.sleep(1.0)
                await self.disturb(number)
                if time.monotonic() - began_s > minutes * 60:
                    break
            ordering.cancel()
            if self._orders:
                await asyncio.wait(self._orders, timeout=_WITHIN_S)
            self.ordered_s = time.monotonic() - began_s
            await self._settle()
        finally:
            everything = [it for it in (ordering, *self._orders, *running) if it is not None]
            for task in everything:
                task.cancel()
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

    async def disturb(self, number: int) -> None:
        """Let Redis fail over, and note what is seen of it."""
        group = self.group
        before = await asyncio.to_thread(master_of, group)
        known_ms = await asyncio.to_thread(lost_ms, group, before)
        replicas = await asyncio.to_thread(replicas_of, group, before)
        if self._how == "planned":
            await asyncio.to_thread(exchange, group, before)
        else:
            await self._kill(before, replicas)
        killed_ms = time.time() * 1000
        now = None
        while now is None:
            await asyncio.sleep(_POLL_S)
            now = await asyncio.to_thread(_other_master, group, before)
        promoted_s, offers = time.monotonic(), len(self.seen.offers)
        print(
            f"{killed_ms:.0f} ms: {before.url} fails; "
            f"{time.time() * 1000:.0f} ms: {now.url} is the master",
            flush=True,
        )
        noticed = asyncio.create_task(self._notice(now, known_ms, promoted_s))
        self.offer_s.append(await self.seen.next_offer(offers) - promoted_s)
        self.noticed_s.append(await noticed)
        print(
            f"failover {number}: first new offer {self.offer_s[-1]:.2f} s after the promotion, "
            f"noticed after {self.noticed_s[-1]:.2f} s; sockets closed: {dict(self.seen.closed)}",
            flush=True,
        )
        await asyncio.to_thread(group.heal)

    async def _kill(self, master: Any, replicas: Sequence[Any]) -> None:
        if self._how == "forget":
            for replica in replicas:
                os.kill(replica.pid, signal.SIGSTOP)
            # What is sent from now on reaches no replica, not even its socket.
            self.group.client(master).execute_command("CLIENT", "KILL", "TYPE", "replica")
            await asyncio.sleep(_CUT_OFF_S)
        kill(master)
        for replica in replicas if self._how == "forget" else ():
            os.kill(replica.pid, signal.SIGCONT)

    async def _notice(self, server: Any, known_ms: int, promoted_s: float) -> float:
        while time.monotonic() < promoted_s + _WITHIN_S:
            with suppress(redis.RedisError):
                if await asyncio.to_thread(lost_ms, self.group, server) > known_ms:
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
        """Return the confirmed jobs that Redis has not, and those that are not delivered."""
        gone, open_jobs = [], []
        unread = [each for each in self.shop.jobs if each[1] not in self._delivered]
        for start in range(0, len(unread), _READS):
            some = unread[start : start + _READS]
            answers = await asyncio.gather(
                *(self.shop.http.get(f"{url}/v1/jobs/{job}") for url, job in some)
            )
            for (_, job), answer in zip(some, answers, strict=True):
                if answer.status_code == httpx2.codes.NOT_FOUND:
                    gone.append(job)
                elif answer.json().get("state") == "delivered":
                    self._delivered.add(job)
                else:
                    open_jobs.append(job)
        return gone, open_jobs

    async def job(self, job: str) -> str:
        """Return a job as the operator sees it."""
        headers = {"Authorization": f"Bearer {self._credentials.operator}"}
        answer = await self.shop.http.get(f"{self._urls[0]}/v1/jobs/{job}", headers=headers)
        return answer.text

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


async def _judge(
    run: Failovers, row: str, within: float, breaches: Sequence[str]
) -> tuple[str, list[str]]:
    """Return the line of the table, and the goals that were missed."""
    gone, open_jobs = await run.left()
    alerts = await run.alerts()
    offers, noticed = sorted(run.offer_s), sorted(run.noticed_s)
    forget = row.endswith("forget")
    closed = dict(run.seen.closed)
    print(
        f"put off over HTTP: {run.seen.put_off}; steps refused for good: {len(run.seen.refused)}, "
        f"of lost orders {sum(job in gone for job, _ in run.seen.refused)}"
    )
    for job in gone[:_SHOWN]:
        print(f"{run.shop.confirmed_ms[job]:.0f} ms: {job} was confirmed, and is gone")
    for job in open_jobs[:_SHOWN]:
        print(
            f"{run.shop.confirmed_ms[job]:.0f} ms: {job} was confirmed; it is {await run.job(job)}"
        )
    line = (
        f"| {row} | {len(offers)} | {len(run.shop.jobs) / run.ordered_s:.1f} | "
        f"{len(run.shop.jobs)} | {len(gone)}, {len(alerts & set(gone))} | {len(open_jobs)} | "
        f"{closed or 0} | {offers[len(offers) // 2]:.2f} s, {offers[-1]:.2f} s | "
        f"{noticed[-1]:.2f} s | {'breaches' if breaches else 'no breach'} |"
    )
    failures = list(breaches)
    if closed:
        failures.append(f"sockets closed: {closed}")
    if offers[-1] > within and not forget:
        failures.append(f"an offer came only {offers[-1]:.2f} s after the promotion")
    if noticed[-1] > 1.0 and forget:
        failures.append(f"a failover was noticed only after {noticed[-1]:.2f} s")
    if open_jobs:
        failures.append(f"{len(open_jobs)} jobs not delivered: {open_jobs[:5]}")
    if gone and not forget:
        failures.append(f"{len(gone)} confirmed orders forgotten: {gone[:5]}")
    if refused := [it for it in run.seen.refused if it[0] not in gone]:
        failures.append(f"{len(refused)} steps refused for good: {refused[:5]}")
        for job, _ in refused[:_SHOWN]:
            print(f"a step was refused for good: {job} is {await run.job(job)}")
    if twice := run.seen.delivered_twice - set(gone):
        failures.append(f"{len(twice)} jobs delivered by two drivers: {sorted(twice)[:5]}")
    if missing := set(gone) - alerts:
        failures.append(f"{len(missing)} forgotten orders without an alert: {sorted(missing)[:5]}")
    return line, failures


def check(url: str, folder: Path) -> list[str]:
    """Return the findings of `mallard check`."""
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


def _run_row(row: str, options: argparse.Namespace) -> tuple[str, list[str]]:
    store, _, how = row.partition(":")
    secret = secrets.token_hex(32)
    kind: type[Group] = SentinelGroup if store == "sentinel" else ClusterGroup
    confirms_on_replicas = how != "forget" and options.durability == "replica"
    group = kind(
        _REPLICAS,
        binary=options.binary,
        persistent=True,
        options=_OPTIONS | (_WITH_REPLICAS if confirms_on_replicas else {}),
        down_after_ms=_DOWN_AFTER_MS,
    )
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mallard-failover-")))
        stack.enter_context(group)
        environment = {
            "MALLARD_SECRET": secret,
            "MALLARD_OPENING_HOURS": "off",
            "MALLARD_REDIS_URL": group.url,
            "MALLARD_DURABILITY": "replica" if confirms_on_replicas else "none",
            "MALLARD_LOG_LEVEL": "warning",
        }
        nodes = [Node(number, folder, environment) for number in range(1, _NODES + 1)]
        for node in nodes:
            stack.callback(node.stop)
            node.start()

        async def run() -> tuple[str, list[str]]:
            failovers = Failovers(group, nodes, secret, how)
            try:
                await failovers.run(
                    options.failovers,
                    options.minutes,
                    options.rate,
                    options.drivers,
                    options.over_http,
                )
                # Here, as the servers that a thread has started end with it.
                breaches = await asyncio.to_thread(check, group.url, folder)
                return await _judge(failovers, row, options.within, breaches)
            finally:
                await failovers.shop.close()

        result = asyncio.run(run())
        if options.logs is not None:
            options.logs.mkdir(parents=True, exist_ok=True)
            group.keep_logs(options.logs)
            for log in folder.glob("*.log"):
                shutil.copy(log, options.logs)
        return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the test and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="load_tests.faults.failover", description=__doc__.split("\n")[0]
    )
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"{', '.join(ROWS)}; default: all")
    parser.add_argument("--failovers", type=int, default=20, help="of each row")
    parser.add_argument(
        "--minutes", type=float, default=6.0, help="most for the failovers of a row"
    )
    parser.add_argument("--rate", type=float, default=60.0, help="orders a second")
    parser.add_argument("--drivers", type=int, default=300)
    parser.add_argument(
        "--over-http", type=float, default=0.0, metavar="SHARE", help="of the drivers (0)"
    )
    parser.add_argument("--durability", choices=["none", "replica"], default="replica")
    parser.add_argument("--within", type=float, default=2.0, help="seconds to the first offer")
    parser.add_argument("--logs", type=Path, help="where to keep the logs of servers and nodes")
    parser.add_argument("--binary", type=Path, help="another Redis server, such as Debian's")
    options = parser.parse_args(arguments)
    if unknown := set(options.rows) - set(ROWS):
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    lines, failed = [], False
    for row in options.rows or ROWS:
        print(f"-- {row}", flush=True)
        line, failures = _run_row(row, options)
        lines.append(line)
        for failure in failures:
            failed = True
            print(f"FAILED: {row}: {failure}", flush=True)
    print("\n".join((_HEAD, "|---" * (_HEAD.count("|") - 1) + "|", *lines)))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
