"""One market on a real Redis in virtual time, with helpers for the storage tests.

Every script call of a `World` is checked against the header of the script, and every change of
state in its events against the transitions of the contract.
"""

import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import msgspec
import redis.asyncio

from mallard_engine.contract.transitions import JOB_TRANSITIONS
from mallard_engine.core.model import (
    Driver,
    Job,
    Need,
    RankedDriver,
    ReturnPlace,
    ReturnPlan,
    RoundRecord,
    Submission,
    Vehicle,
)
from mallard_engine.core.policy import MarketPolicy
from mallard_engine.ports import (
    Answered,
    DriverFix,
    DueEntry,
    DueKind,
    Effects,
    JobRef,
    OfferPlan,
    PlannedJob,
    Push,
)
from mallard_engine.storage.audit.audit import Breach, audit
from mallard_engine.storage.keys import MarketKeys, job_at
from mallard_engine.storage.records.effects import read_push
from mallard_engine.storage.redis_storage import RedisStorage
from mallard_protocol.lifecycle import TIMED_STEPS, JobState, Step, Wish
from mallard_protocol.messages import Proof
from tests.engine.storage.script_calls import RecordingLink

MARKET = "phoenix"
MALL = "chandler"
LAT, LON = 33.3, -111.9
START_MS = 1_800_000_000_000
HOUR_MS = 3_600_000
NODE = "n1"
RETURN_CODE = "246810"
OFFER_MS, ACK_MS, COOLDOWN_MS = 30_000, 3_000, 30_000
RESUME_MS, AT_MALL_MS, STALE_MS = 120_000, 900_000, 60_000

TRANSITION_KEYS = MarketKeys(MARKET).block


def moments(effects: Effects) -> list[int]:
    """The due times that a transition returned, in ms."""
    return [at_ms for _, at_ms in effects.due]


@dataclass
class Clock:
    """The market's time in ms; `World.pass_ms` advances it."""

    now_ms: int = START_MS

    def __call__(self) -> int:
        return self.now_ms


def _body(number: int, stores: Sequence[str], order: Mapping[str, Any]) -> bytes:
    """An order with two parcels at each store, as far as the scripts read it."""
    shops = [{"store": store, "parcels": 2} for store in stores]
    return msgspec.json.encode({"body": number, "pickup": {"stores": shops}, **order})


@dataclass
class World:
    """One market: drivers and jobs are at the mall; live nodes send heartbeats as time passes."""

    store: RedisStorage
    redis: Any  # redis-py's types do not say whether replies are decoded
    url: str
    policy: MarketPolicy
    clock: Clock
    link: RecordingLink
    keys: MarketKeys = field(default_factory=lambda: MarketKeys(MARKET))
    nodes: set[str] = field(default_factory=lambda: {NODE})
    numbers: Any = field(default_factory=lambda: itertools.count(1))

    @property
    def now(self) -> int:
        return self.clock.now_ms

    async def beat(self) -> None:
        for node in self.nodes:
            await self.store.leases.beat(MARKET, node)

    async def pass_ms(self, ms: int) -> None:
        """Advance the time; then the live nodes send a heartbeat."""
        self.clock.now_ms += ms
        await self.beat()

    # -- drivers

    async def connect(
        self,
        driver: str,
        *,
        node: str = NODE,
        vehicle: Vehicle | None = None,
        lat: float = LAT,
        lon: float = LON,
    ) -> int:
        """Connect a driver with a position; return its epoch."""
        fix = DriverFix(driver, 0, lat, lon)
        hello = await self.store.drivers.hello(MARKET, driver, node=node, vehicle=vehicle, fix=fix)
        return hello.epoch

    async def driver(self, driver: str = "ann", **where: Any) -> str:
        """Connect a driver and make it available."""
        await self.connect(driver, **where)
        await self.store.drivers.status(MARKET, driver, Wish.AVAILABLE, None)
        return driver

    async def fix(self, driver: str, lat: float = LAT, lon: float = LON, at_ms: int = 0) -> str:
        """Record one position; return the verdict."""
        fix = DriverFix(driver, at_ms or self.now, lat, lon)
        return (await self.store.drivers.record_positions(MARKET, [fix])).verdicts[0]

    async def record(self, driver: str = "ann") -> Driver:
        return (await self.store.drivers.snapshot(MARKET, driver)).driver

    async def idle(self) -> set[str]:
        return {m.decode() for m in await self.redis.zrange(self.keys.key("idle"), 0, -1)}

    # -- jobs

    def submission(self, **changes: Any) -> Submission:
        """An order with a unique id, key and external id, and with `changes` applied.

        `order`: further fields of its body, such as `on_missing`.
        """
        number = next(self.numbers)
        order = changes.pop("order", {})
        need = Need(
            stores=("lego",),
            ready_ms=self.now,
            deadline_ms=self.now + 2 * HOUR_MS,
            expires_ms=self.now + HOUR_MS,
            lat=LAT,
            lon=LON,
            parcels=2,
            weight_g=1_200,
            volume_l=8.5,
            requires=(),
            priority=0,
            created_ms=self.now,
        )
        needs = {n: changes.pop(n) for n in tuple(changes) if n != "service" and hasattr(need, n)}
        submission = Submission(
            job=f"job_{MARKET}.{number:026d}",
            market=MARKET,
            service="toys",
            mall=MALL,
            key=f"key-{number}",
            body_hash=f"hash-{number}",
            external_id=f"ORD-{number}",
            state=JobState.QUEUED,
            release_ms=self.now,
            body=_body(number, needs.get("stores", need.stores), order),
            card=b"card \x00\xff",
            need=replace(need, **needs),
        )
        return replace(submission, **changes)

    async def submit(self, **changes: Any) -> JobRef:
        submission = self.submission(**changes)
        await self.store.jobs.submit(submission)
        return JobRef(submission.job, submission.mall)

    async def job(self, ref: JobRef) -> Job:
        return await self.store.jobs.get(ref.job)

    async def state(self, ref: JobRef) -> str:
        return (await self.job(ref)).state.value

    # -- offers

    def plan(
        self, ref: JobRef, attempt: int, *drivers: str, offer: str = "", cell: int | None = None
    ) -> OfferPlan:
        """A plan that offers one job to the first eligible driver."""
        ranked = self._ranked(drivers, cell)
        name = offer or f"offer-{next(self.numbers)}"
        record = RoundRecord(ref.job, attempt + 1, self.now, 1_000, False, ranked)
        return OfferPlan(name, ref.mall, (PlannedJob(ref.job, attempt, record),), ranked)

    async def run_plan(self, refs: Sequence[JobRef], *drivers: str) -> OfferPlan:
        """A plan that offers a run of jobs, delivered a minute apart."""
        ranked = self._ranked(drivers)
        jobs = []
        for n, ref in enumerate(refs, 1):
            attempt = (await self.job(ref)).attempt
            record = RoundRecord(ref.job, attempt + 1, self.now, 1_000, False, ranked)
            eta = (self.now + 1, self.now + n * 60_000)
            jobs.append(PlannedJob(ref.job, attempt, record, (eta,) * len(drivers)))
        return OfferPlan(f"offer-{next(self.numbers)}", refs[0].mall, tuple(jobs), ranked)

    def _ranked(self, drivers: Sequence[str], cell: int | None = None) -> tuple[RankedDriver, ...]:
        return tuple(
            RankedDriver(d, True, None, 1.0, (), 300, 1_500, "north", self.now, self.now, cell)
            for d in drivers
        )

    async def offered_run(self, driver: str, count: int) -> tuple[tuple[JobRef, ...], str]:
        """New jobs, offered to the driver in one run."""
        refs = tuple([await self.submit() for _ in range(count)])
        plan = await self.run_plan(refs, driver)
        offered = await self.store.offers.make(plan)
        assert offered.verdict == "offered", offered
        return refs, plan.offer

    async def assigned_run(self, driver: str, count: int) -> tuple[JobRef, ...]:
        """New jobs that the driver has accepted in one run; each is at its first attempt."""
        refs, offer = await self.offered_run(driver, count)
        await self.store.offers.accept(MARKET, driver, offer)
        return refs

    async def coming(self) -> set[str]:
        """The drivers who may get an add-on offer, as mall/driver."""
        return {m.decode() for m in await self.redis.zrange(self.keys.key("coming"), 0, -1)}

    async def offer(self, ref: JobRef, *drivers: str, cell: int | None = None) -> str:
        """Offer the job to the first eligible driver; return the offer's id."""
        plan = self.plan(ref, (await self.job(ref)).attempt, *drivers, cell=cell)
        offered = await self.store.offers.make(plan)
        assert offered.verdict == "offered", offered
        return plan.offer

    async def offered(self, driver: str = "ann", **changes: Any) -> tuple[JobRef, str]:
        """A new job, offered to the driver."""
        ref = await self.submit(**changes)
        return ref, await self.offer(ref, driver)

    async def assigned(self, driver: str = "ann", **changes: Any) -> tuple[JobRef, int]:
        """A new job that the driver has accepted; its attempt."""
        ref, offer = await self.offered(driver, **changes)
        answered = await self.store.offers.accept(MARKET, driver, offer)
        return ref, answered.jobs[0].attempt

    async def step(
        self, ref: JobRef, step: Step, attempt: int, driver: str = "ann", *, age: bool = False
    ) -> Answered:
        if step is Step.RETURNED:
            return await self.returned(ref, attempt, driver)
        return await self.store.jobs.progress(
            ref,
            driver,
            attempt,
            step,
            at_ms=self.now if step in TIMED_STEPS else None,
            proof=Proof("age_checked") if age else None,
            reason="",
            store="lego" if step is Step.COLLECTED else None,
            plan=self.way_back() if step is Step.RETURNING else None,
        )

    async def problem(self, ref: JobRef, kind: str, driver: str = "ann", **more: Any) -> Answered:
        """Report a problem at the job's only store, unless `more` names another."""
        about = {"store": "lego", "until_ms": None, "text": "", "mall": MALL} | more
        return await self.store.jobs.problem(MARKET, driver, kind=kind, job=ref.job, **about)

    async def collect(
        self,
        ref: JobRef,
        attempt: int,
        parcels: int | None = None,
        *,
        store: str = "lego",
        driver: str = "ann",
    ) -> Answered:
        """Report what a shop handed over."""
        return await self.store.jobs.progress(
            ref,
            driver,
            attempt,
            Step.COLLECTED,
            at_ms=None,
            reason="",
            store=store,
            parcels=parcels,
        )

    async def image(self, driver: str = "ann", market: str = MARKET) -> str:
        """The id of an image that the driver has uploaded."""
        proof = f"proof_{market}.{next(self.numbers)}"
        await self.store.proofs.add(market, driver, proof, media_type="image/png", size=70)
        return proof

    async def photo(self, kind: Literal["photo", "signature"] = "photo") -> Proof:
        """A photo or signature that Ann gives."""
        return Proof(kind, await self.image())

    async def say_ready(
        self, ref: JobRef, store: str = "lego", *, ready_ms: int = 0
    ) -> Effects | None:
        """The order service says when a store's parcels are ready; now by default."""
        was = await self.job(ref)
        return await self.store.jobs.ready(
            ref,
            was=was,
            body=was.body,
            card=was.card,
            need=was.need,
            release_ms=ready_ms or self.now,
            actor="toys",
            said=store,
            is_ready=ready_ms <= self.now,
        )

    def way_back(self, store: str = "lego", open_until: int | None = None) -> ReturnPlan:
        """Where a job goes back to: a shop of the mall."""
        place = ReturnPlace(
            kind="store", mall=MALL, store=store, lat=LAT, lon=LON, open_until=open_until
        )
        return ReturnPlan(place, RETURN_CODE)

    async def returned(
        self,
        ref: JobRef,
        attempt: int,
        driver: str = "ann",
        *,
        proof: Proof | None = Proof("code", RETURN_CODE),  # noqa: B008 - frozen
        at_place: bool = True,
        plan: ReturnPlan | None = None,
    ) -> Answered:
        """The driver says that the parcels are back: inside the place, with its code."""
        return await self.store.returns.returned(
            ref,
            driver,
            attempt,
            at_ms=None,
            proof=proof,
            reason="",
            at_place=at_place,
            plan=plan,
        )

    async def picked_up(self, driver: str = "ann", **changes: Any) -> tuple[JobRef, int]:
        """A new job that the driver has on board; its attempt."""
        ref, attempt = await self.assigned(driver, **changes)
        await self.step(ref, Step.PICKED_UP, attempt, driver)
        return ref, attempt

    async def in_state(self, state: JobState, driver: str = "ann") -> tuple[JobRef, int]:
        """A new job in the given state, held by or offered to the driver if the state has one."""
        match state:
            case JobState.SCHEDULED:
                later = self.now + HOUR_MS // 2
                ref = await self.submit(state=JobState.SCHEDULED, release_ms=later)
            case JobState.QUEUED:
                ref = await self.submit()
            case JobState.OFFERED:
                ref, _ = await self.offered(driver)
            case JobState.CANCELLED:
                ref = await self.submit()
                await self.store.jobs.cancel(ref, "toys", "")
            case JobState.EXPIRED:
                ref = await self.submit()
                await self.store.deadlines.expire(ref, "nobody_in_reach", 0)
            case JobState.FAILED:
                ref, _ = await self.assigned(driver, order={"on_missing": "fail"})
                await self.problem(ref, "missing", driver)
            case JobState.LOST:
                ref, _ = await self.picked_up(driver)
                await self.store.jobs.close(ref, JobState.LOST, "operator", "")
            case _:
                ref = await self._carried(state, driver)
        job = await self.job(ref)
        assert job.state is state
        return ref, job.attempt

    async def _carried(self, state: JobState, driver: str) -> JobRef:
        ref, attempt = await self.assigned(driver)
        way = {
            JobState.ASSIGNED: (),
            JobState.AT_MALL: (Step.AT_MALL,),
            JobState.PICKED_UP: (Step.PICKED_UP,),
            JobState.DELIVERED: (Step.PICKED_UP, Step.DELIVERED),
            JobState.RETURNING: (Step.PICKED_UP, Step.RETURNING),
            JobState.RETURNED: (Step.PICKED_UP, Step.RETURNING, Step.RETURNED),
        }[state]
        for step in way:
            await self.step(ref, step, attempt, driver)
        return ref

    # -- stored data

    async def due(self) -> dict[str, int]:
        """The due entries and when each is due."""
        entries = await self.redis.zrange(self.keys.key("due"), 0, -1, withscores=True)
        return {member.decode(): int(score) for member, score in entries}

    async def due_of(self, ref: JobRef) -> int:
        """When the job's only due entry is due, in ms."""
        (at,) = [at for member, at in (await self.due()).items() if member.endswith(ref.job)]
        return at

    async def entry(self, ref: JobRef) -> DueEntry:
        """The job's due entry, as the sweeper would get it."""
        (member,) = [member for member in await self.due() if member.endswith(ref.job)]
        kind, *rest = member.split("/")
        offer = rest[1] if kind == "offer" else ""
        return DueEntry(member, DueKind(kind), ref.job, mall=ref.mall, offer=offer)

    async def waiting(self) -> list[str]:
        """The ids of the jobs that wait at the mall, in queue order."""
        places = await self.redis.zrange(self.keys.wait(MALL), 0, -1)
        ids = [job_at(place.decode()) for place in places]
        known = await self.redis.hkeys(self.keys.key("waiting"))
        assert set(ids) == {job.decode() for job in known}
        return ids

    async def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        entries = await self.redis.xrange(self.keys.key("events"))
        decoded = [msgspec.msgpack.decode(entry[b"e"]) for _, entry in entries]
        return [event for event in decoded if kind in {None, event["kind"]}]

    async def pushes(self, driver: str = "ann") -> list[Push]:
        """The pushes to the driver so far."""
        streams = [self.keys.pushes(node) for node in sorted(self.nodes)]
        entries = [entry for key in streams for _, entry in await self.redis.xrange(key)]
        pushes = [read_push(entry[b"p"], entry[b"c"]) for entry in entries]
        return [push for push in pushes if push.driver == driver]

    async def dump(self) -> dict[bytes, bytes]:
        """The packed value of every key: equal dumps mean equal stores."""
        return {key: await self._dump(key) for key in sorted(await self.redis.keys("*"))}

    async def _dump(self, key: bytes) -> bytes:
        if await self.redis.type(key) != b"hash":
            packed: bytes = await self.redis.dump(key)
            return packed
        # DUMP of a hash depends on the order of its table, which a rehash changes.
        return repr(sorted((await self.redis.hgetall(key)).items())).encode()

    async def drop_what_has_a_ttl(self) -> None:
        """Delete keys with a TTL, which runs by the server's clock and not by the test's."""
        for key in await self.redis.keys("*"):
            if await self.redis.pttl(key) >= 0:
                await self.redis.delete(key)

    async def breaches(self, *, swept: bool = True) -> tuple[Breach, ...]:
        """The breaches of an audit now; if not `swept`, of one an hour later, when no node is live
        and nothing counts as late."""
        now = self.clock if swept else lambda: self.now + HOUR_MS
        return (await audit(self.url, {MARKET: self.policy}, settle_s=0, now_ms=now)).breaches

    async def check_lifecycle(self) -> None:
        """Check that every change of state in the events is a transition of the contract."""
        for event in await self.events("job"):
            change = (event["from"], event["to"], event["cause"])
            if event["cause"] == "submitted":
                assert event["from"] == ""
                assert event["to"] in {"scheduled", "queued"}
            elif event["cause"] == "ready_changed":
                assert event["from"] == event["to"]
            else:
                assert any(
                    t.cause == event["cause"] and t.target == event["to"]
                    for t in JOB_TRANSITIONS
                    if event["from"] in t.sources
                ), change


@asynccontextmanager
async def audited_world(redis_url: str, policy: MarketPolicy) -> AsyncIterator[World]:
    """A market in a fresh Redis; afterwards its transitions and an audit are checked."""
    clock = Clock()
    store = RedisStorage(redis_url, {MARKET: policy}, now_ms=clock)
    store.runner.link = link = RecordingLink(redis_url, MARKET)
    await store.connect()
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        world = World(store, client, redis_url, policy, clock, link)
        await world.beat()
        yield world
        await world.check_lifecycle()
        assert await world.breaches(swept=False) == ()
    await store.close()
