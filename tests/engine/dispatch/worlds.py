"""Real dispatchers on a real Redis, and the verbs that tests think in.

Drivers stand north of the mall, so many metres away; time is short by the policy of each node.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mallard_engine.core.model import Driver, Job, LiveOffer, RoundRecord, Submission, Vehicle
from mallard_engine.core.places.markets import Places, Store
from mallard_engine.core.policy import CostWeights, MarketPolicy
from mallard_engine.dispatch.dispatcher import Dispatcher
from mallard_engine.metrics import Metrics
from mallard_engine.ports import DriverFix, Hello, JobRef, Push
from mallard_engine.storage.keys import MarketKeys
from mallard_engine.storage.redis_storage import RedisStorage
from mallard_protocol.lifecycle import JobState, Step, Wish
from mallard_protocol.messages import Proof
from tests.engine.core import makers
from tests.support import eventually

PLACES = Places.load(opening_hours=False)
MARKET = "phoenix"
MALL = PLACES.mall("chandler-fashion-center")
# A counter at the gate itself: with `store_dwell_s` 0 its parcels are in hand on arrival.
KIOSK = Store("kiosk", "Kiosk", next(iter(MALL.gates)), floor=1, walk_s=0)
PLACES.malls[MALL.id] = PLACES.markets[MARKET].malls[MALL.id] = MALL = replace(  # type: ignore[index]
    MALL, stores={**MALL.stores, KIOSK.id: KIOSK}
)
OTHER_MALL = PLACES.mall("arizona-mills")
KEYS = MarketKeys(MARKET)
HOUR_MS = 3_600_000
# An offer may be answered, and acknowledged, for longer than a test takes; those that let one
# lapse say so.
POLICY = MarketPolicy(
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
    """The other end of the port: notes what a phone would have been told."""

    pushes: list[Push] = field(default_factory=list)

    def deliver(self, market: str, pushes: Sequence[Push]) -> None:
        assert market == MARKET
        self.pushes.extend(pushes)

    def told(self, driver: str, kind: str) -> list[Push]:
        return [push for push in self.pushes if (push.driver, push.kind) == (driver, kind)]

    @property
    def offers(self) -> list[LiveOffer]:
        return [push.offer for push in self.pushes if push.offer]

    def asked(self, ref: JobRef) -> list[str]:
        """Which drivers were offered the job, in order."""
        return [offer.driver for offer in self.offers if offer.jobs[0].job == ref.job]


class Node:
    """One node: a store of its own, a dispatcher, and the calls that it made."""

    def __init__(self, name: str, url: str, policy: MarketPolicy, sink: RecordingSink) -> None:
        self.calls: list[str] = []
        self.sink = sink
        self.recovered: list[tuple[str, bool]] = []
        self.metrics = Metrics()
        self.store = RedisStorage(
            url, {MARKET: policy}, observe=lambda call, _: self.calls.append(call)
        )
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
        """As by SIGKILL: nothing is told to anybody."""
        await self.dispatcher._sweeper.stop()
        await self.dispatcher._tasks.stop()
        await self.store.close()

    async def quiet(self) -> None:
        """Wait until nothing is under way, and forget the calls so far."""
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
        """Post a job; ``need`` overrides what it asks for."""
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
        """The job, once it is in that state."""

        async def there() -> Job | None:
            job = await self.job(ref)
            return job if job.state is state else None

        job = await eventually(there)
        assert job is not None
        return job

    async def offered(self, ref: JobRef, driver: str, *, attempt: int | None = None) -> LiveOffer:
        """The live offer of the job, once that driver has it."""

        async def out() -> LiveOffer | None:
            offer = (await self.store.drivers.snapshot(MARKET, driver)).offer
            return offer if offer and offer.jobs[0].job == ref.job else None

        offer = await eventually(out)
        assert offer is not None
        assert attempt in {None, offer.attempt}
        return offer

    async def waits(self, ref: JobRef) -> RoundRecord | None:
        """The last round of a job, once one has found nobody and put the job off."""

        async def is_put_off() -> bool:
            due_ms = await self.due_ms(f"retry/{ref.mall}/{ref.job}")
            # Whatever is taken up by a sweep comes up again after two seconds, not so late.
            return due_ms is not None and due_ms > self.store.now_ms() + 3_000

        await eventually(is_put_off)
        return await self.store.offers.last_round(ref.job)

    async def free_drivers(self) -> int:
        """How many drivers may be offered something now."""
        return int(await self.store.runner.link.call("ZCARD", KEYS.key("idle")))

    async def due_ms(self, member: str) -> int | None:
        """When that entry falls due."""
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
        """Connect, and be available."""
        hello = await self.hello(driver, north_m, vehicle=vehicle)
        await self.wish(driver, Wish.AVAILABLE)
        return hello

    async def wish(self, driver: str, wish: Wish, until_ms: int | None = None) -> Driver:
        return (await self.dispatcher.drivers.status(MARKET, driver, wish, until_ms)).driver

    def fix(self, driver: str, north_m: float) -> DriverFix:
        # Each a little newer than the last, however fast they come.
        self._last_fix_ms = max(self.store.now_ms(), self._last_fix_ms + 1)
        return DriverFix(driver, self._last_fix_ms, MALL.lat + north_m / 111_195, MALL.lon)

    async def moves(self, driver: str, north_m: float) -> str:
        (verdict,) = await self.dispatcher.drivers.positions(MARKET, [self.fix(driver, north_m)])
        return verdict

    async def driver(self, driver: str) -> Driver:
        return (await self.store.drivers.snapshot(MARKET, driver)).driver

    async def acknowledges(self, offer: LiveOffer) -> None:
        await self.dispatcher.drivers.offer_ack(MARKET, offer.driver, offer.offer)

    async def accepts(self, offer: LiveOffer) -> Job:
        (job,) = (await self.dispatcher.drivers.accept(MARKET, offer.driver, offer.offer)).jobs
        return job

    async def declines(self, offer: LiveOffer) -> None:
        await self.dispatcher.drivers.decline(MARKET, offer.driver, offer.offer, "")

    async def does(self, ref: JobRef, driver: str, attempt: int, *steps: Step) -> None:
        for step in steps:
            await self.dispatcher.drivers.progress(
                ref, driver, attempt, step, at_ms=None, proof=Proof("age_checked"), reason=""
            )

    async def delivers(self, offer: LiveOffer) -> None:
        """Accept and carry out an offer."""
        job = await self.accepts(offer)
        ref = JobRef(job.id, job.mall)
        await self.does(ref, offer.driver, job.attempt, Step.PICKED_UP, Step.DELIVERED)
