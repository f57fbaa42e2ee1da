"""Starts the workers of a swarm, sets their rate, and collects their logs."""

import asyncio
import os
import socket
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

from load_tests.credentials import Credentials
from load_tests.swarm.accounting import Accounting, Window
from load_tests.swarm.plan import SwarmPlan
from load_tests.swarm.result import SwarmResult
from load_tests.swarm.wire.framed_pipe import receive, send
from load_tests.swarm.worker import credentials_to_wire

_CONNECTED_WITHIN_S: Final = 60.0
# On a busy machine a worker alone takes half a minute until it has imported what it needs.
_ANSWERED_WITHIN_S: Final = 60.0
_ENDED_WITHIN_S: Final = 10.0
_TICK_S: Final = 0.25
_POLL_S: Final = 0.005
# A worker's log of a moment has arrived after this time.
_NOTES_WITHIN_S: Final = 0.6
# The engine considers a queued order again within 5 s.
_QUIET_S: Final = 6.0


class SwarmFailed(Exception):
    """A worker ended, or the engine rejected a driver for good; the message says why."""


@dataclass(slots=True)
class _Worker:
    """A worker process, and its last report."""

    process: asyncio.subprocess.Process
    writer: asyncio.StreamWriter
    listening: asyncio.Task[None]
    online: int = 0
    drivers: int = 0
    cpu_s: float = 0.0
    logged_until_s: float = 0.0
    is_ready: bool = False


@dataclass(frozen=True, slots=True)
class PhaseProgress:
    """The progress of a phase: seconds passed, drivers online, measures and counts."""

    seconds: float
    online: int
    window: Window
    counts: Counter[str]


Watch = Callable[[PhaseProgress], None]
Edge = Callable[[], Awaitable[Any]]
"""Reads meters, such as the CPU time of the engine, at the start and the end of a phase."""


class Swarm:
    """A swarm whose drivers are connected and report positions within the block.

    async with Swarm(plan, credentials) as swarm:
        result = await swarm.phase(rate=100, seconds=30)
    """

    def __init__(self, plan: SwarmPlan, credentials: Credentials) -> None:
        self.plan = plan
        self.connect_s = 0.0
        self._credentials = credentials
        self._workers: list[_Worker] = []
        self._accounting = Accounting(plan.processes)
        self._failed = asyncio.Event()
        self._why = ""
        self._lag_s = 0.0

    async def __aenter__(self) -> Self:
        """Start the workers and connect the drivers. Raises `SwarmFailed`."""
        try:
            for number in range(self.plan.processes):
                self._workers.append(await self._start(number))
            await self._until(lambda: all(it.is_ready for it in self._workers))
            await self._connect()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the workers."""
        await self._end()

    @property
    def online(self) -> int:
        """The number of drivers that came online."""
        return sum(worker.online for worker in self._workers)

    def set_rate(self, rate: float) -> None:
        """Set the orders per second of all workers together."""
        self._broadcast("rate", rate / len(self._workers))

    def keep_under_way(self, count: int) -> None:
        """Keep so many orders under way, instead of a rate. Needs one worker, with all drivers."""
        send(self._workers[0].writer, "under_way", count)

    def burst(self, count: int, seconds: float = 1.0) -> None:
        """Start a flash sale: `count` orders of the first mall within `seconds`."""
        send(self._workers[0].writer, "burst", (count, seconds))

    async def drain(self, within_s: float) -> None:
        """Stop ordering, and wait until no order is offered or delivered any more.

        Raises `SwarmFailed`.
        """
        self.set_rate(0)
        quiet_s = max(_QUIET_S, self.plan.hold_s / 3 + self.plan.think_s + _NOTES_WITHIN_S)
        ends_s = changed_s = time.monotonic()
        seen = -1
        while changed_s + quiet_s > time.monotonic() and time.monotonic() < ends_s + within_s:
            await self._pause(_TICK_S)
            counts = self._accounting.counts
            if (now := counts["offers"] + counts["delivered"]) != seen:
                seen, changed_s = now, time.monotonic()

    async def phase(
        self,
        *,
        rate: float,
        seconds: float,
        warm_s: float = 0.0,
        watch: Watch | None = None,
        edge: Edge | None = None,
        during: Callable[[Self], Awaitable[None]] | None = None,
    ) -> SwarmResult:
        """Order at a rate for `warm_s`, then measure `seconds`.

        The rate continues for the plan's `grace_s`, in which the last orders receive their offers.
        `during` runs concurrently. Raises `SwarmFailed`.
        """
        self.set_rate(rate)
        await self._pause(warm_s)
        await self._ask_all()
        before = await edge() if edge else None
        counts, cpu_s = Counter(self._accounting.counts), self._cpu_s()
        self._lag_s = 0.0
        window = self._accounting.window = Window(time.monotonic())
        beside = asyncio.ensure_future(during(self)) if during else None
        try:
            await self._pause(seconds, watch)
            if beside is not None:
                await beside
        finally:
            if beside is not None:
                beside.cancel()
        window.to_s = ended_s = time.monotonic()
        after = await edge() if edge else None
        await self._ask_all()
        passed_s = ended_s - window.from_s
        counted = Counter(self._accounting.counts)
        counted.subtract(counts)
        cpu = (self._cpu_s() - cpu_s) / passed_s
        await self._pause(self.plan.grace_s)
        # A worker that was kept waiting has yet to log the offers that came meanwhile.
        await self._ask_all()
        late = Counter(self._accounting.counts)
        self._accounting.settle(time.monotonic(), self.plan.grace_s)
        counted.update(self._accounting.counts - late)
        self._accounting.window = None
        return SwarmResult(
            rate=rate,
            seconds=passed_s,
            drivers=self.online,
            histograms=window.histograms,
            counts={name: count for name, count in counted.items() if count},
            generator_cpu=cpu,
            generator_lag_ms=self._lag_s * 1000,
            edges=(before, after),
        )

    # -- workers

    async def _start(self, number: int) -> _Worker:
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "load_tests.swarm.worker", str(theirs.fileno())),
                env={name: it for name, it in os.environ.items() if "MALLARD_" not in name},
                pass_fds=(theirs.fileno(),),
                stdin=asyncio.subprocess.DEVNULL,
                start_new_session=True,  # a Ctrl-C is for the coordinator, which ends the workers
            )
        reader, writer = await asyncio.open_connection(sock=ours)
        listening = asyncio.create_task(self._listen(number, reader), name=f"worker {number}")
        setup = {"plan": self.plan.to_wire(), "worker": number}
        send(writer, "begin", setup | {"credentials": credentials_to_wire(self._credentials)})
        return _Worker(process, writer, listening)

    async def _connect(self) -> None:
        began_s = time.monotonic()
        self._broadcast("connect", None)
        within_s = _CONNECTED_WITHIN_S + self.plan.drivers / self.plan.connects_per_s

        def all_online() -> bool:
            return all(0 < worker.drivers <= worker.online for worker in self._workers)

        await self._until(all_online, within_s)
        self.connect_s = time.monotonic() - began_s
        self._broadcast("report", None)

    async def _listen(self, number: int, reader: asyncio.StreamReader) -> None:
        while (said := await receive(reader)) is not None:
            kind, what = said
            worker = self._workers[number]
            match kind:
                case "ready":
                    worker.is_ready = True
                case "drivers":
                    worker.drivers = what
                case "failed":
                    self._fail(what)
                case "log":
                    worker.online, worker.cpu_s = what["online"], what["cpu_s"]
                    worker.logged_until_s = what["until_s"]
                    self._lag_s = max(self._lag_s, what["lag_s"])
                    self._accounting.take(number, what)
        self._fail(f"worker {number} ended")

    async def _ask_all(self) -> None:
        """Wait until the logs up to now have arrived."""
        asked_s = time.monotonic()
        self._broadcast("send_log", None)
        await self._until(lambda: all(it.logged_until_s >= asked_s for it in self._workers))

    def _fail(self, why: str) -> None:
        self._why = self._why or why
        self._failed.set()

    def _broadcast(self, kind: str, what: Any) -> None:
        for worker in self._workers:
            send(worker.writer, kind, what)

    def _cpu_s(self) -> float:
        return sum(worker.cpu_s for worker in self._workers)

    async def _until(self, holds: Callable[[], bool], within_s: float = _ANSWERED_WITHIN_S) -> None:
        ends_s = time.monotonic() + within_s
        while not holds():
            if time.monotonic() > ends_s:
                wanted = sum(worker.drivers for worker in self._workers)
                raise SwarmFailed(
                    f"not complete within {within_s:g} s: {self.online} of {wanted} drivers "
                    f"online; {dict(self._accounting.counts)}"
                )
            await self._pause(_POLL_S)

    async def _pause(self, seconds: float, watch: Watch | None = None) -> None:
        """Wait; raise `SwarmFailed` if the swarm fails meanwhile."""
        began_s = time.monotonic()
        while (left_s := began_s + seconds - time.monotonic()) > 0 or self._failed.is_set():
            if self._failed.is_set():
                raise SwarmFailed(self._why)
            try:
                await asyncio.wait_for(self._failed.wait(), min(left_s, _TICK_S))
            except TimeoutError:
                window = self._accounting.window
                if watch and window:
                    passed_s = time.monotonic() - began_s
                    watch(PhaseProgress(passed_s, self.online, window, self._accounting.counts))

    async def _end(self) -> None:
        for worker in self._workers:
            worker.listening.cancel()
            worker.writer.close()
        for worker in self._workers:
            try:
                await asyncio.wait_for(worker.process.wait(), _ENDED_WITHIN_S)
            except TimeoutError:
                worker.process.kill()
                await worker.process.wait()
        self._workers.clear()


def run_swarm(
    plan: SwarmPlan, credentials: Credentials, *, watch: Watch | None = None
) -> SwarmResult:
    """Run one phase as planned. Raises `SwarmFailed`; `BadPlan` and `NotAllowed` come earlier."""

    async def run() -> SwarmResult:
        async with Swarm(plan, credentials) as swarm:
            return await swarm.phase(
                rate=plan.rate, seconds=plan.seconds, warm_s=plan.warm_s, watch=watch
            )

    return asyncio.run(run())
