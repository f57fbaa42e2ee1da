"""Real dispatchers on a real Redis, with helpers for the dispatch tests.

Drivers are placed north of the mall, at a distance in metres. Policies use short times.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mallard_engine.core.model import Driver, Job, LiveOffer, RoundRecord, Submission, Vehicle
from mallard_engine.core.places.markets import Places, Store
from mallard_engine.core.policy import CostWeights, MarketPolicy
from mallard_engine.dispatch.dispatcher import Dispatcher
from mallard_engine.dispatch.step_commands import StepReport
from mallard_engine.metrics import Metrics
from mallard_engine.ports import DriverFix, Hello, JobRef, Push
from mallard_engine.storage.calls.leases import RedisLeases
from mallard_engine.storage.keys import MarketKeys
from mallard_engine.storage.redis_storage import RedisStorage
from mallard_protocol.lifecycle import JobState, Step, Wish
from mallard_protocol.messages import Proof
from tests.engine.core import makers
from tests.support import eventually

PLACES = Places.load(opening_hours=False)
MARKET = "phoenix"
MALL = PLACES.mall("chandler-fashion-center")
# A shop at the gate: with `store_dwell_s` 0 its parcels are collected on arrival.
KIOSK = Store("kiosk", "Kiosk", next(iter(MALL.gates)), floor=1, walk_s=0)
PLACES.malls[MALL.id] = PLACES.markets[MARKET].malls[MALL.id] = MALL = replace(  # type: ignore[index]
    MALL, stores={**MALL.stores, KIOSK.id: KIOSK}
)
OTHER_MALL = PLACES.mall("arizona-mills")
KEYS = MarketKeys(MARKET)
HOUR_MS = 3_600_000
# A test process may stand still for seconds on a busy machine. No node may lose its drivers by
# that, except in tests of nodes that die.
LONG_LEASE_MS = 20_000
# Offers time out later than a test runs; tests of expiry set shorter times.
POLICY = MarketPolicy(
    preset="express",
    offer_timeout_ms=20_000,
    offer_ack_timeout_ms=10_000,
    cooldown_s=0.3,
    retry_s=30.0,
    initial_radius_m=1_500,
    max_radius_m=20_000,
    max_speed_mps=100_000,
    weights=CostWeights(acceptance=1.0),
)


@dataclass
class RecordingSink:
    """A push port that records the pushes of all nodes."""

    pushes: list[Push] = field(default_factory=list)
    # The offers that a test has waited for and seen.
    returned: set[str] = field(default_factory=set)

    def deliver(self, market: str, pushes: Sequence[Push]) -> None:
        assert market == MARKET
        self.pushes.extend(pushes)

    def pushes_to(self, driver: str, kind: str) -> list[Push]:
        return [push for push in self.pushes if (push.driver, push.kind) == (driver, kind)]

    @property
    def offers(self) -> list[LiveOffer]:
        return [push.offer for push in self.pushes if push.offer]

    def missed(self, ref: JobRef, driver: str, attempt: int | None) -> LiveOffer | None:
        """The first offer of the job to the driver that no test has seen."""
        for offer in self.offers:
            is_of_both = (offer.driver, offer.jobs[0].job) == (driver, ref.job)
            is_new = attempt in {None, offer.attempt} and offer.offer not in self.returned
            if is_of_both and is_new:
                return offer
        return None

    def asked(self, ref: JobRef) -> list[str]:
        """The drivers who were offered the job, in order."""
        return [offer.driver for offer in self.offers if offer.jobs[0].job == ref.job]


class Node:
    """One node: its storage, its dispatcher, and the names of its script calls."""

    def __init__(
        self,
        name: str,
        url: str,
        policy: MarketPolicy,
        sink: RecordingSink,
        lease_ms: int,
    ) -> None:
        self.calls: list[str] = []
        self.sink = sink
        self.recovered: list[tuple[str, bool]] = []
        self.metrics = Metrics()
        self.store = RedisStorage(
            url, {MARKET: policy}, observe=lambda call, _: self.calls.append(call)
        )
        self.store.leases = RedisLeases(self.store.runner, lease_ms)
        self.dispatcher = Dispatcher(name, self.store, sink, PLACES, {MARKET: policy}, self.metrics)
        self.dispatcher.recover = self._recover
        self._ids = itertools.count(1)
        self._name = name
        self._last_fix_ms = 0

    async def _recover(self, market: str, rewound: bool) -> None:
        self.recovered.append((market, rewound))

    async def start(self) -> "Node":
        await self.store.connect()
        await self.dispatcher.start()
        return self

    async def stop(self) -> None:
        await self.dispatcher.stop()
        await self.store.close()

    async def die(self) -> None:
        """Stop as by SIGKILL: without disconnects and without giving up the lease."""
        await self.dispatcher._sweeper.stop()
        await self.dispatcher._tasks.stop()
        await self.store.close()

    async def quiet(self) -> None:
        """Wait until no task runs, then clear the recorded calls."""
        await eventually(lambda: len(self.dispatcher._tasks) == 0)
        self.calls.clear()

    # -- the order side

    async def submit(
        self,
        *,
        mall: str = MALL.id,
        state: JobState = JobState.QUEUED,
        release_in_ms: int = 0,
        service: str = "shop",
        **need: Any,
    ) -> JobRef:
        """Submit a job; ``need`` overrides fields of its need."""
        submission = self.submission(mall, state, release_in_ms, **need)
        submission = replace(submission, service=service)
        await self.dispatcher.orders.submit(submission)
        return JobRef(submission.job, mall)

    def submission(
        self, mall: str, state: JobState, release_in_ms: int = 0, **need: Any
    ) -> Submission:
        now_ms = self.store.now_ms()
        name = f"job_{MARKET}.{self._name}{next(self._ids):05}"
        return Submission(
            job=name,
            market=MARKET,
            service="shop",
            mall=mall,
            key=name,
            body_hash="hash",
            external_id=None,
            state=state,
            release_ms=now_ms + release_in_ms,
            body=b"{}",
            card=b"card of " + name.encode(),
            need=makers.need(now_ms, **need),
        )

    async def job(self, ref: JobRef) -> Job:
        return await self.store.jobs.get(ref.job)

    async def is_in(self, ref: JobRef, state: JobState) -> Job:
        """Wait until the job is in that state, and return it."""

        async def there() -> Job | None:
            job = await self.job(ref)
            return job if job.state is state else None

        job = await eventually(there)
        assert job is not None
        return job

    async def offered(self, ref: JobRef, driver: str, *, attempt: int | None = None) -> LiveOffer:
        """Wait until the driver has a live offer of the job, and return it.

        An offer of a tenth of a second may end while the test's process stands still: such an offer
        is returned as well, once.
        """

        async def out() -> LiveOffer | None:
            offer = (await self.store.drivers.snapshot(MARKET, driver)).offer
            is_live = offer and offer.jobs[0].job == ref.job
            return offer if is_live else self.sink.missed(ref, driver, attempt)

        offer = await eventually(out)
        assert offer is not None
        assert attempt in {None, offer.attempt}
        self.sink.returned.add(offer.offer)
        return offer

    async def waits(self, ref: JobRef) -> RoundRecord | None:
        """Wait until a round found no driver and postponed the job; return the last round."""

        async def is_put_off() -> bool:
            due_ms = await self.due_ms(f"retry/{ref.mall}/{ref.job}")
            # A sweep postpones an entry by two seconds; only a round sets a later time.
            return due_ms is not None and due_ms > self.store.now_ms() + 3_000

        await eventually(is_put_off)
        return await self.store.offers.last_round(ref.job)

    async def free_drivers(self) -> int:
        """The number of free drivers."""
        return int(await self.store.runner.link.call("ZCARD", KEYS.key("idle")))

    async def due_ms(self, member: str) -> int | None:
        """When the entry is due, in ms; None without such an entry."""
        score = await self.store.runner.link.call("ZSCORE", KEYS.key("due"), member)
        return None if score is None else int(float(score))

    async def outcomes(self, ref: JobRef) -> list[tuple[str, str]]:
        return [(turn.driver, turn.outcome) for turn in (await self.job(ref)).asked]

    # -- the driver side

    async def hello(
        self, driver: str, north_m: float = 1_000.0, *, vehicle: Vehicle | None = None
    ) -> Hello:
        fix = self.fix(driver, north_m)
        return await self.dispatcher.drivers.hello(MARKET, driver, vehicle=vehicle, fix=fix)

    async def online(
        self, driver: str, north_m: float = 1_000.0, *, vehicle: Vehicle | None = None
    ) -> Hello:
        """Connect a driver and make it available."""
        hello = await self.hello(driver, north_m, vehicle=vehicle)
        await self.wish(driver, Wish.AVAILABLE)
        return hello

    async def wish(self, driver: str, wish: Wish, until_ms: int | None = None) -> Driver:
        return (await self.dispatcher.drivers.status(MARKET, driver, wish, until_ms)).driver

    def fix(self, driver: str, north_m: float) -> DriverFix:
        # Each fix is newer than the last, even within one millisecond.
        self._last_fix_ms = max(self.store.now_ms(), self._last_fix_ms + 1)
        return DriverFix(driver, self._last_fix_ms, MALL.lat + north_m / 111_195, MALL.lon)

    async def moves(self, driver: str, north_m: float) -> str:
        (verdict,) = await self.dispatcher.drivers.positions(MARKET, [self.fix(driver, north_m)])
        return verdict

    async def driver(self, driver: str) -> Driver:
        return (await self.store.drivers.snapshot(MARKET, driver)).driver

    async def acknowledges(self, offer: LiveOffer) -> None:
        await self.dispatcher.offers.ack(MARKET, offer.driver, offer.offer)

    async def accepts(self, offer: LiveOffer) -> Job:
        (job,) = (await self.dispatcher.offers.accept(MARKET, offer.driver, offer.offer)).jobs
        return job

    async def declines(self, offer: LiveOffer) -> None:
        await self.dispatcher.offers.decline(MARKET, offer.driver, offer.offer, "")

    async def does(self, ref: JobRef, driver: str, attempt: int, *steps: Step) -> None:
        for step in steps:
            report = StepReport(ref, driver, attempt, step, proof=Proof("age_checked"))
            await self.dispatcher.steps.progress(report)

    async def delivers(self, offer: LiveOffer) -> None:
        """Accept an offer and deliver its job."""
        job = await self.accepts(offer)
        ref = JobRef(job.id, job.mall)
        await self.does(ref, offer.driver, job.attempt, Step.PICKED_UP, Step.DELIVERED)
