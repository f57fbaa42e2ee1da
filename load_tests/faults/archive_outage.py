"""Kills the archive and stops its database while jobs end, and compares it with the engine.

    python -m load_tests.faults.archive_outage --away 600 --kills 6

One node, Redis, PostgreSQL, and `mallard archive` under a supervisor that starts it again. It
writes to PostgreSQL and to files. Half of the kills come while the database is away. At the end
every job that has ended must be in both once, with its whole timeline and each of its changes
among its events. Exit status 1 if not.
"""

import argparse
import asyncio
import contextlib
import json
import secrets
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import asyncpg

from load_tests.benchmarks.benches import CannotMeasure
from load_tests.benchmarks.postgres import Cluster, postgres_cluster
from load_tests.credentials import Credentials
from load_tests.faults.event_kills import drive, read_stories
from load_tests.faults.heard import STATES
from load_tests.faults.outage import MARKET, App, Seen, Shop
from mallard_engine.workload.nodes import Node, running_nodes, running_redis

_POLL_S: Final = 1.0
_AGAIN_S: Final = 3.0
_CAUGHT_UP_S: Final = 120.0
_SHOWN: Final = 20


class Archive:
    """`mallard archive` under a supervisor."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self._command = command
        self._log = log
        self._process: asyncio.subprocess.Process | None = None
        self.starts = 0

    async def supervise(self) -> None:
        """Start it again and again, until cancelled; then let it end."""
        with self._log.open("ab") as log:
            try:
                while True:
                    self.starts += 1
                    self._process = await asyncio.create_subprocess_exec(
                        *self._command, stdout=log, stderr=log, stdin=asyncio.subprocess.DEVNULL
                    )
                    await self._process.wait()
                    await asyncio.sleep(_AGAIN_S)
            finally:
                if self._process is not None and self._process.returncode is None:
                    self._process.terminate()
                    await self._process.wait()

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()


async def outage(
    node: Node, archive: Archive, database: Cluster, credentials: Credentials, folder: Path,
    options: argparse.Namespace,
) -> list[str]:  # fmt: skip
    """Run the test; return what failed."""
    shop = Shop([node.url], credentials.orders)
    apps = [App(credentials.driver(f"d{n}", MARKET).token, Seen()) for n in range(options.drivers)]
    tasks = [asyncio.create_task(drive(app, [node.url], 0)) for app in apps]
    tasks.append(asyncio.create_task(archive.supervise()))
    enough = asyncio.Event()
    ordering = asyncio.create_task(order_until(enough, shop, options.rate))
    try:
        await _until_archived(database, 1)
        await _kills(archive, options.kills // 2, options.around)
        await asyncio.to_thread(database.stop)
        print("the database is away", flush=True)
        await _kills(archive, options.kills - options.kills // 2, options.away)
        await asyncio.to_thread(database.start)
        back_s = time.monotonic()
        lacks = len(shop.jobs) - await _archived(database)
        print(f"the database is back, {lacks} jobs are open or wait", flush=True)
        await asyncio.sleep(options.around)
        enough.set()
        await ordering
        await _until_archived(database, len(shop.jobs))
        print(f"all archived {time.monotonic() - back_s:.0f} s after its return", flush=True)
        stories = await read_stories(shop)
        rows, lines = await _rows(database), await asyncio.to_thread(_lines, folder)
        print(f"{len(stories)} jobs, {len(rows)} rows, {len(lines)} lines, "
              f"{archive.starts} starts of the archive")  # fmt: skip
        return _judge(stories, rows, lines)
    finally:
        for task in (*tasks, ordering):
            task.cancel()
        await asyncio.gather(*tasks, ordering, return_exceptions=True)
        await shop.close()


async def order_until(enough: asyncio.Event, shop: Shop, rate: float) -> None:
    """Post orders at a rate; once there are enough, wait for the answers to the last ones.

    An order without an answer may be a job that the shop does not know.
    """
    async with asyncio.TaskGroup() as group:
        while not enough.is_set():
            group.create_task(shop.order())
            await asyncio.sleep(1 / rate)


async def _kills(archive: Archive, count: int, seconds: float) -> None:
    """Kill the archive so many times within so many seconds."""
    for _ in range(count):
        await asyncio.sleep(seconds / (count + 1))
        archive.kill()
    await asyncio.sleep(seconds / (count + 1))


async def _archived(database: Cluster) -> int:
    """Return how many jobs the database has; 0 before the archive has made its tables."""
    connection = await asyncpg.connect(database.url)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM mallard_archive.jobs"))
    except asyncpg.UndefinedTableError:
        return 0
    finally:
        await connection.close()


async def _until_archived(database: Cluster, count: int) -> None:
    """Wait until the database has so many jobs; `_judge` says whether they are the right ones."""
    ends_s = time.monotonic() + _CAUGHT_UP_S
    while await _archived(database) < count and time.monotonic() < ends_s:  # noqa: ASYNC110
        await asyncio.sleep(_POLL_S)


async def _rows(database: Cluster) -> Mapping[str, Any]:
    """Return of each job in the database: its document, and the states of its events."""
    connection = await asyncpg.connect(database.url)
    try:
        jobs = await connection.fetch("SELECT id, document FROM mallard_archive.jobs")
        events = await connection.fetch(
            "SELECT job, type FROM mallard_archive.events ORDER BY job, sequence"
        )
    finally:
        await connection.close()
    states: dict[str, list[str]] = {}
    for job, kind in events:
        if kind in STATES:
            states.setdefault(job, []).append(STATES[kind])
    return {it["id"]: (json.loads(it["document"]), states.get(it["id"], [])) for it in jobs}


def _lines(folder: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for path in sorted(folder.glob("*.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]


def _judge(
    stories: Mapping[str, Sequence[Mapping[str, Any]]],
    rows: Mapping[str, Any],
    lines: Sequence[Mapping[str, Any]],
) -> list[str]:
    in_files = Counter(line["id"] for line in lines)
    failures = [f"{job} is in the archive alone" for job in rows.keys() - stories.keys()]
    failures += [f"{job} is there {n} times" for job, n in in_files.items() if n != 1]
    documents = {line["id"]: line for line in lines}
    for job, timeline in stories.items():
        lived = [entry["state"] for entry in timeline]
        if job not in rows or job not in documents:
            failures.append(f"{job} is missing: row {job in rows}, line {job in documents}")
            continue
        document, heard = rows[job]
        shown = [entry["state"] for entry in document["job"]["timeline"]]
        written = [STATES[it["type"]] for it in documents[job]["events"] if it["type"] in STATES]
        if not lived == shown == heard == written:
            failures.append(f"{job} was {lived}: row {shown}, events {heard}, line {written}")
    return failures


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the test; exit status 1 if something failed, 2 without PostgreSQL."""
    parser = argparse.ArgumentParser(
        prog="load_tests.faults.archive_outage", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--drivers", type=int, default=40)
    parser.add_argument("--rate", type=float, default=4.0, help="jobs a second")
    parser.add_argument("--away", type=float, default=600.0, help="seconds without the database")
    parser.add_argument("--around", type=float, default=20.0, help="seconds before and after that")
    parser.add_argument("--kills", type=int, default=6, help="of the archive")
    options = parser.parse_args(arguments)
    secret = secrets.token_hex(32)
    environment = {
        "MALLARD_SECRET": secret,
        "MALLARD_OPENING_HOURS": "off",
        "MALLARD_SERVICE_RATE_PER_S": "0",
        "MALLARD_SERVICE_OPEN_JOBS": "0",
        "MALLARD_SERVICE_STORED_BYTES": "0",
    }
    with contextlib.ExitStack() as started:
        folder = Path(started.enter_context(tempfile.TemporaryDirectory(prefix="mallard-archive-")))
        try:
            database = started.enter_context(postgres_cluster())
        except CannotMeasure as error:
            print(error, file=sys.stderr)
            return 2
        redis = started.enter_context(running_redis(folder))
        (node,) = started.enter_context(running_nodes(1, folder, environment, redis=redis))
        files = folder / "archive"
        command = [
            *(sys.executable, "-m", "mallard_engine", "archive", "--market", MARKET),
            *("--redis", f"unix://{redis}", "--data", str(folder)),
            *("--archive-postgres", database.url, "--archive-files", str(files)),
        ]
        archive = Archive(command, folder / "archive.log")
        credentials = Credentials(secret)
        failures = asyncio.run(outage(node, archive, database, credentials, files, options))
    for failure in failures[:_SHOWN]:
        print(f"FAILED: {failure}")
    print(f"{len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
