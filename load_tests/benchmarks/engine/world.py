"""The parts of the engine used by a match, on their own Redis, with a market of drivers.

They are the real storage with its scripts and the real dispatcher with its rounds. The sweeper does
not run: a race ends long before anything is due, and the lease is renewed before each race.
"""

import asyncio
import contextlib
import gc
import itertools
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from mallard_engine.core.model import Need, Submission
from mallard_engine.core.places.mall import Mall
from mallard_engine.core.places.markets import Places
from mallard_engine.core.policy import MarketPolicy
from mallard_engine.dispatch.dispatcher import Dispatcher
from mallard_engine.metrics import Metrics
from mallard_engine.ports import DriverFix, JobRef, Push
from mallard_engine.storage.client.client import Link
from mallard_engine.storage.keys import MarketKeys
from mallard_engine.storage.records.packing import pack
from mallard_engine.storage.redis_storage import RedisStorage
from mallard_engine.storage.scripts import load_commands
from mallard_protocol.lifecycle import JobState, Wish

NODE: Final = "bench"
MARKET: Final = "phoenix"
MALL: Final = "chandler-fashion-center"
# Orders are matched one by one. No driver reports, so positions must stay fresh for all of it.
POLICY: Final = MarketPolicy(preset="express", stale_after_s=86_400)

_HOUR_MS: Final = 3_600_000
_BATCH: Final = 1_000


class CountingLink(Link):
    """A connection to Redis that counts the calls by command."""

    def __init__(self, url: str) -> None:
        super().__init__(url, handshake=load_commands())
        self.calls: dict[str, int] = {}

    async def call(self, *command: str | bytes | float) -> Any:
        """Send a command and count it."""
        name = command[0].decode() if isinstance(command[0], bytes) else str(command[0])
        self.calls[name] = self.calls.get(name, 0) + 1
        return await super().call(*command)


class OfferSink:
    """A push port that records the time of each offer."""

    def __init__(self) -> None:
        self.offered: list[tuple[float, str]] = []
        self._wanted = 0
        self._all = asyncio.Event()

    def expect(self, offers: int) -> None:
        """Clear the recorded offers and expect that many."""
        self.offered.clear()
        self._wanted = offers
        self._all.clear()

    async def all_offered(self, within_s: float) -> None:
        """Wait for the expected offers, at most `within_s` seconds."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._all.wait(), within_s)

    def deliver(self, market: str, pushes: Sequence[Push]) -> None:  # noqa: ARG002  there is one
        """Record the time and the driver of each offer."""
        now = time.perf_counter()
        self.offered.extend((now, push.driver) for push in pushes if push.kind == "offer")
        if len(self.offered) >= self._wanted:
            self._all.set()


class World:
    """A Redis, a dispatcher and the drivers of one market. `connect` it inside a running loop.

    With `counted`, calls to Redis are counted, which costs about a microsecond per call.
    """

    def __init__(self, url: str, *, counted: bool = False) -> None:
        self.places = Places.load(opening_hours=False)
        self.mall: Mall = self.places.mall(MALL)
        self.keys = MarketKeys(MARKET)
        policies = {MARKET: POLICY}
        self.store = RedisStorage(url, policies)
        if counted:
            self.store.runner.link = CountingLink(url)
        # For bulk loading and Redis's statistics, which the storage port does not offer.
        self.link: Link = self.store.runner.link.primaries()[0]
        self.sink = OfferSink()
        self.dispatcher = Dispatcher(NODE, self.store, self.sink, self.places, policies, Metrics())
        self._sockets = 0
        # Another world on the same Redis must use other job ids.
        self._numbers = itertools.count(time.time_ns())

    async def connect(self) -> None:
        """Connect to Redis.

        Raises:
            StoreUnavailable: If it cannot be reached.
        """
        await self.store.connect()

    async def close(self) -> None:
        """Stop the dispatcher and close the connection."""
        await self.dispatcher.stop()
        await self.store.close()

    async def beat(self) -> None:
        """Renew the lease, without which the drivers do not count as connected."""
        await self.store.leases.beat(MARKET, NODE)

    # -- drivers

    async def load(self, positions: NDArray[np.float64]) -> None:
        """Create free drivers at the positions, an `(n, 2)` array of latitudes and longitudes."""
        await self.beat()
        await load_bulk(self, positions)
        # Like `mallard serve`: exclude long-lived objects from garbage collection.
        gc.collect()
        gc.freeze()

    async def hello(self, driver: str, lat: float, lon: float) -> None:
        """Connect a driver with a position by the real transitions, and make it available."""
        fix = DriverFix(driver, 0, lat, lon, acc_m=5.0)
        await self.store.drivers.hello(MARKET, driver, node=NODE, vehicle=None, fix=fix)
        await self.store.drivers.status(MARKET, driver, Wish.AVAILABLE, None)

    def hold_sockets(self, drivers: int) -> None:
        """Register the first drivers as connected to this node, as their hello would.

        The dispatcher then caches the malls in reach of each driver.
        """
        for number in range(self._sockets, drivers):
            self.dispatcher._reach.connected(MARKET, driver_name(number), 1)  # noqa: SLF001 - as a hello does
        self._sockets = max(self._sockets, drivers)

    async def free_drivers(self) -> int:
        """Return the number of free drivers."""
        return int(await self.link.call("ZCARD", self.keys.key("idle")))

    # -- jobs

    def submission(self) -> Submission:
        """Return a new order of the mall."""
        now_ms = self.store.now_ms()
        number = next(self._numbers)
        name = f"job_{MARKET}.{number:026}"
        body = b'{"external_id": "ORD-%d"}' % number
        card = msgspec.msgpack.encode({"job": name, "stores": ["lego"], "parcels": 1})
        return Submission(
            job=name,
            market=MARKET,
            service="bench",
            mall=MALL,
            key=name,
            body_hash="hash",
            external_id=f"ORD-{number}",
            state=JobState.QUEUED,
            release_ms=now_ms,
            body=body,
            card=card,
            need=replace(_need(now_ms), lat=self.mall.lat + 0.02, lon=self.mall.lon + 0.05),
        )

    async def submit(self) -> JobRef:
        """Store a job of the mall without waking a round."""
        submission = self.submission()
        await self.store.jobs.submit(submission)
        return self.ref_of(submission)

    def ref_of(self, submission: Submission) -> JobRef:
        """Return the reference of a submission's job."""
        return JobRef(submission.job, MALL)

    def wake(self) -> None:
        """Start a round of the mall, as a submission does."""
        # The dispatcher has no method for it: a submission would wake the mall but also take time.
        self.dispatcher._rounds.wake(MALL)  # noqa: SLF001

    async def rounds_ended(self) -> None:
        """Wait until the dispatcher runs no task."""
        # A few loop iterations: an event would add code to the hot path only for benchmarks.
        while len(self.dispatcher._tasks):  # noqa: ASYNC110, SLF001
            await asyncio.sleep(0)

    async def cancel(self, ref: JobRef) -> None:
        """Cancel the job; its driver is free at once, without a cool-down."""
        await self.store.jobs.cancel(ref, "bench", "")


async def load_bulk(world: World, positions: NDArray[np.float64]) -> None:
    """Write the records that `hello` would write for each driver, without a script call for each.

    The first driver connects through the real transitions; the others get copies of its record,
    position, index entry and due entry. Only the events are missing.
    """
    if not len(positions):
        return
    key, call = world.keys.key, world.link.call
    await world.hello(driver_name(0), *map(float, positions[0]))
    record = msgspec.msgpack.decode(await call("HGET", key("drivers"), driver_name(0)))
    position = msgspec.msgpack.decode(await call("HGET", key("positions"), driver_name(0)))
    due = await call("ZSCORE", key("due"), f"driver/{driver_name(0)}")
    for start in range(1, len(positions), _BATCH):
        records: list[str | bytes] = []
        places: list[str | bytes] = []
        index: list[str | float] = []
        dues: list[str | bytes] = []
        names = [driver_name(n) for n in range(start, min(start + _BATCH, len(positions)))]
        for name, (lat, lon) in zip(names, positions[start : start + _BATCH].tolist(), strict=True):
            record["id"] = name
            position[2:4] = lat, lon
            records += name, pack(record)
            places += name, pack(position)
            index += repr(lon), repr(lat), name
            dues += due, f"driver/{name}"
        await call("HSET", key("drivers"), *records)
        await call("HSET", key("positions"), *places)
        await call("GEOADD", key("idle"), *index)
        await call("ZADD", key("due"), *dues)
        await call("SADD", world.keys.held(NODE), *names)


def driver_name(number: int) -> str:
    """Return the name of a driver by its index in the array."""
    return f"driver-{number:07}"


def _need(now_ms: int) -> Need:
    return Need(
        stores=("lego",),
        ready_ms=now_ms,
        deadline_ms=now_ms + 4 * _HOUR_MS,
        expires_ms=now_ms + _HOUR_MS,
        lat=0.0,
        lon=0.0,
        parcels=1,
        weight_g=900,
        volume_l=4.0,
        requires=(),
        priority=0,
        created_ms=now_ms,
    )
