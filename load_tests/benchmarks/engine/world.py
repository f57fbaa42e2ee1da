"""The engine's parts that a match goes through, with a Redis of their own and a market of drivers.

They are the real ones: the store with its scripts, the dispatcher with its rounds. Nothing sweeps
here: a race is over long before anything falls due, and the lease is renewed before each.
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
from mallard_engine.storage.records import pack
from mallard_engine.storage.redis_storage import RedisStorage
from mallard_engine.storage.scripts import load_commands
from mallard_protocol.lifecycle import JobState, Wish

NODE: Final = "bench"
MARKET: Final = "phoenix"
MALL: Final = "chandler-fashion-center"
# Nothing reports or sweeps here: positions stay fresh for as long as a benchmark may take.
POLICY: Final = MarketPolicy(stale_after_s=86_400)

_HOUR_MS: Final = 3_600_000
_BATCH: Final = 1_000


class CountingLink(Link):
    """A line to Redis that counts the calls by command."""

    def __init__(self, url: str) -> None:
        super().__init__(url, greeting=load_commands())
        self.calls: dict[str, int] = {}

    async def call(self, *command: str | bytes | float) -> Any:
        """Send a command, and count it."""
        name = command[0].decode() if isinstance(command[0], bytes) else str(command[0])
        self.calls[name] = self.calls.get(name, 0) + 1
        return await super().call(*command)


class OfferSink:
    """Where the dispatcher hands over pushes: notes when each offer came."""

    def __init__(self) -> None:
        self.offered: list[tuple[float, str]] = []
        self._wanted = 0
        self._all = asyncio.Event()

    def expect(self, offers: int) -> None:
        """Begin anew, and wait for that many."""
        self.offered.clear()
        self._wanted = offers
        self._all.clear()

    async def all_offered(self, within_s: float) -> None:
        """Wait for them; some may never come."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._all.wait(), within_s)

    def deliver(self, market: str, pushes: Sequence[Push]) -> None:  # noqa: ARG002  there is one
        """Note the moment of each offer, and its driver."""
        now = time.perf_counter()
        self.offered.extend((now, push.driver) for push in pushes if push.kind == "offer")
        if len(self.offered) >= self._wanted:
            self._all.set()


class World:
    """A store, a dispatcher and the drivers of one market. `connect` it inside a running loop.

    With `counted` the calls to Redis are counted, which costs each a microsecond.
    """

    def __init__(self, url: str, *, counted: bool = False) -> None:
        self.places = Places.load(opening_hours=False)
        self.mall: Mall = self.places.mall(MALL)
        self.keys = MarketKeys(MARKET)
        policies = {MARKET: POLICY}
        self.store = RedisStorage(url, policies)
        if counted:
            self.store.runner.link = CountingLink(url)
        # For what the storage port does not offer: loading, and Redis's statistics.
        self.link: Link = self.store.runner.link
        self.sink = OfferSink()
        self.dispatcher = Dispatcher(NODE, self.store, self.sink, self.places, policies, Metrics())
        self._sockets = 0
        # Another world of the same store goes on with other jobs.
        self._numbers = itertools.count(time.time_ns())

    async def connect(self) -> None:
        """Open the lines. Raises `StoreUnavailable`."""
        await self.store.connect()

    async def close(self) -> None:
        """End what is under way and hang up."""
        await self.dispatcher.stop()
        await self.store.close()

    async def beat(self) -> None:
        """Renew the lease under which the drivers are taken for connected."""
        await self.store.leases.beat(MARKET, NODE)

    # -- drivers

    async def load(self, positions: NDArray[np.float64]) -> None:
        """Put free drivers there, `(n, 2)` latitudes and longitudes; see `load_bulk`."""
        await self.beat()
        await load_bulk(self, positions)
        # As `mallard serve` does: what stays for ever is no garbage to look for.
        gc.collect()
        gc.freeze()

    async def hello(self, driver: str, lat: float, lon: float) -> None:
        """One driver comes by the real transitions: a socket with a position, then the wish."""
        fix = DriverFix(driver, 0, lat, lon, acc_m=5.0)
        await self.store.drivers.hello(MARKET, driver, node=NODE, vehicle=None, fix=fix)
        await self.store.drivers.status(MARKET, driver, Wish.AVAILABLE, None)

    def hold_sockets(self, drivers: int) -> None:
        """Let the dispatcher know the first so many as its own, as their hello does: what is around
        a driver who reports is then remembered."""
        for number in range(self._sockets, drivers):
            self.dispatcher._reach.connected(MARKET, driver_name(number), 1)  # noqa: SLF001 - as above
        self._sockets = max(self._sockets, drivers)

    async def free_drivers(self) -> int:
        """How many may be offered something now."""
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
        """Store a job of the mall, as an order service's POST does. Wakes no round."""
        submission = self.submission()
        await self.store.jobs.submit(submission)
        return self.ref_of(submission)

    def ref_of(self, submission: Submission) -> JobRef:
        """Return the reference of a submission's job."""
        return JobRef(submission.job, MALL)

    def wake(self) -> None:
        """Give the mall a round, as a submission does."""
        # The dispatcher has no verb for it: from outside, a submission wakes, and takes its time.
        self.dispatcher._rounds.wake(MALL)  # noqa: SLF001

    async def rounds_ended(self) -> None:
        """Wait until the dispatcher has nothing under way any more."""
        # A few turns of the loop: an event for it would be code of the hot path, for us alone.
        while len(self.dispatcher._tasks):  # noqa: ASYNC110, SLF001
            await asyncio.sleep(0)

    async def cancel(self, ref: JobRef) -> None:
        """End the job; its driver is free again at once and does not cool down."""
        await self.store.jobs.cancel(ref, "bench", "")


async def load_bulk(world: World, positions: NDArray[np.float64]) -> None:
    """Leave the records that `hello` would leave for each driver, without a script for each.

    The first driver comes by the real transitions; the others get a copy of its record, position,
    index entry and due entry under their own names. What is not there: an event for each.
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
    """The name of a driver by its place in the array."""
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
