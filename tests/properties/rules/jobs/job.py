"""Rules for order services, operators and rounds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from mallard_engine.core.matching.acceptance import CELLS
from mallard_engine.core.model import RankedDriver, RoundRecord, Submission
from mallard_engine.ports import OfferPlan, PlannedJob
from mallard_protocol.codes import ServiceLevel
from mallard_protocol.lifecycle import JobState, Outcome
from tests.properties.machine import DRIVERS, How, StoreMachine, how_often, recent, some_driver
from tests.properties.models.records import Job, Shop
from tests.properties.models.shops import PARCELS
from tests.properties.rules.drivers.holder import WAY_BACK
from tests.properties.world import HOME, MALLS, MARKET, SERVICE, submission

# A round reads so many jobs at most.
_MOST_JOBS = 16


@dataclass(frozen=True)
class Order:
    """The drawn fields of a submission. Times are relative to now, in ms."""

    mall: str = MALLS[0]
    lasts_ms: int = 3_600_000
    release_ms: int | None = None
    external: str | None = None
    age_check: bool = False
    images: tuple[str, ...] = ()
    pin: str = ""
    priority: int = 0
    weight_g: int = 100
    pay: tuple[int, int] = (0, 0)
    express: bool = False
    stores: tuple[str, ...] = ("lego",)
    on_short: str = "deliver"
    on_missing: str = "hold"
    hold_s: int = 14_400
    undeliverable: str = "return"

    @property
    def body(self) -> bytes:
        """The order as the scripts read it."""
        shops = [{"store": store, "parcels": PARCELS} for store in self.stores]
        rules = {
            "on_short": self.on_short,
            "on_missing": self.on_missing,
            "hold_s": self.hold_s,
            "on_undeliverable": self.undeliverable,
        }
        return msgspec.json.encode({"pickup": {"stores": shops}, **rules})


orders = st.builds(
    Order,
    mall=st.sampled_from(MALLS),
    lasts_ms=st.sampled_from((3_600_000, 3_600_000, 20_000, 1)),
    release_ms=st.sampled_from((None, None, None, 0, 5_000)),
    external=st.sampled_from((None, None, "ext-0", "ext-1")),
    age_check=st.booleans(),
    images=st.sampled_from(((), (), ("photo",), ("photo", "signature"))),
    pin=st.sampled_from(("", "", "4711")),
    priority=st.sampled_from((0, 0, 1)),
    weight_g=st.sampled_from((100, 100, 150)),
    pay=st.sampled_from(((0, 0), (900, 0), (900, 970), (900, 2_000))),
    express=st.sampled_from((False, False, False, True)),
    stores=st.sampled_from((("lego",), ("lego",), ("lego", "gap"))),
    on_short=st.sampled_from(("deliver", "deliver", "hold", "fail")),
    on_missing=st.sampled_from(("hold", "hold", "fail")),
    hold_s=st.sampled_from((14_400, 60)),
    undeliverable=st.sampled_from(("return", "return", "leave", "hold")),
)


class JobRules(StoreMachine):
    """Rules for orders, rounds and operators."""

    @rule(order=orders, how=how_often)
    def submit(self, order: Order, how: How = "once") -> None:
        number = len(self.world.known_jobs)
        made = submission(
            f"job_{MARKET}.j{number:03}",
            order.mall,
            MARKET,
            self.now,
            key=f"key-{number}",
            external=order.external,
            lasts_ms=order.lasts_ms,
            release_ms=None if order.release_ms is None else self.now + order.release_ms,
            age_check=order.age_check,
            images=order.images,
            pin=order.pin,
            priority=order.priority,
            weight_g=order.weight_g,
            pay=order.pay,
            body=order.body,
            stores=order.stores,
            express=order.express,
        )
        self._submit(made, how, order)

    @precondition(lambda self: self.model.jobs)
    @rule(
        verb=st.sampled_from(("repeats", "changes", "is ready", "cancels")),
        back=st.integers(0, 5),
        late=st.sampled_from((-1, 0, 1, 60_000)),
        how=how_often,
    )
    def order_service(self, verb: str, back: int, late: int, how: How) -> None:
        name = self.job_at(back)
        if verb == "cancels":
            self.cancel(name, how)
        elif verb == "is ready":
            self.ready(name, late, how)
        else:
            keys = list(self.model.keys)
            key = keys[-1 - back % len(keys)]
            self.submit_again(key, other_json=verb == "changes", how=how)

    def submit_again(self, key: str, *, other_json: bool = False, how: How = "once") -> None:
        """Repeat an idempotency key later, with another job id."""
        made = submission(
            f"job_{MARKET}.r{len(self.world.known_jobs):03}",
            MALLS[0],
            MARKET,
            self.now,
            key=key,
            body_hash="hash-1" if other_json else "hash-0",
            external=None,
        )
        self._submit(made, how)

    def redeliver(self, origin: str, replaces: str = "", how: How = "once") -> None:
        """Submit a job for the parcels of a returned one. ``replaces``: an earlier redelivery."""
        number = len(self.world.known_jobs)
        order = Order()
        made = submission(
            f"job_{MARKET}.j{number:03}",
            order.mall,
            MARKET,
            self.now,
            key=f"\0redelivery/{number}",
            body_hash="redelivery",
            external=self.model.jobs[origin].external,
            body=order.body,
        )
        self._submit(replace(made, redelivery_of=origin, replaces=replaces), how, order)

    def _submit(self, made: Submission, how: How, order: Order | None = None) -> None:
        job = Job(
            made.mall,
            made.need.expires_ms,
            made.release_ms,
            made.external_id,
            made.needs_age_check,
            made.state.value,
            made.need.weight_g,
            ready=made.need.ready_ms,
            due=made.need.deadline_ms,
            pay=made.need.pay_minor,
            pay_most=made.need.pay_max_minor,
            shops={store: Shop() for store in order.stores} if order else {},
            rule=order.undeliverable if order else "return",
            images=frozenset(made.images_required),
            pin=made.pin,
            express=made.need.service_level == ServiceLevel.EXPRESS,
            origin=made.redelivery_of or "",
        )
        if order:
            job.on_short, job.on_missing = order.on_short, order.on_missing
            job.hold_ms = order.hold_s * 1_000
        if made.redelivery_of:
            expected, of = self.model.redeliver(made.job, job, made.key, made.replaces)
        else:
            expected, of = self.model.submit(made.job, job, made.key, made.body_hash)
        self.world.known_jobs[:] = [*self.model.jobs]
        submitted = self.call(
            f"submit {made.job} ({made.state}, {made.key})",
            expected,
            lambda store: store.jobs.submit(made),
            how=how,
            read=lambda submitted: "replayed" if submitted.replayed else "ok",
            again="replayed" if expected == "ok" else expected,
        )
        if submitted is not None:
            assert submitted.job.id == of, f"S8: {submitted.job.id} for {of}"
            assert submitted.job.state == self.model.jobs[of].state, (
                "the returned job is not the current one"
            )

    # -- rounds

    @rule(mall=st.sampled_from(MALLS), size=st.sampled_from((1, 1, 2, 3)), how=how_often)
    def round(self, mall: str, how: How = "once", size: int = 1) -> None:
        """Like the dispatcher: read candidates, then offer waiting jobs, in runs of ``size``, to
        drivers on their way and to the nearest."""
        found = self.call(
            f"candidates for {mall}",
            "ok",
            lambda store: store.offers.candidates(
                MARKET,
                mall,
                *HOME,
                radius_m=1_500,
                max_radius_m=25_000,
                drivers=16,
                jobs=_MOST_JOBS,
            ),
        )
        assert found is not None
        assert tuple(w.job for w in found.waiting) == self.seen.queues[mall][:_MOST_JOBS]
        near = [near.driver.id for near in found.near]
        if found.waiting:
            drivers = [self.seen.drivers[name] for name in self.seen.idle]
            here = {d.id for d in drivers if d.position and d.position.lat == HOME[0]}
            assert set(near) == {name for name in here if self.alive(name)}
            coming = {near.driver.id for near in found.coming}
            bound = {entry.partition("/") for entry in self.seen.coming}
            assert coming == {name for at, _, name in bound if at == mall and self.alive(name)}
            near = [*sorted(coming), *near]
        for start in range(0, len(found.waiting), size):
            run = {w.job: w.attempt for w in found.waiting[start : start + size]}
            self.offer_run(run, near, how)

    @precondition(lambda self: self.model.jobs)
    @rule(
        back=recent,
        drivers=st.permutations(DRIVERS),
        old=st.sampled_from((0, 0, 1, -1)),
        repeated=st.sampled_from((False, False, True)),
        how=how_often,
    )
    def planned(self, back: int, drivers: list[str], old: int, repeated: bool, how: How) -> None:
        """A plan that may be outdated: an old attempt, drivers who are busy or excluded; or, if
        ``repeated``, the call of an earlier offer."""
        name = self.job_at(back, {"queued"})
        offer = self.offer_at(back, late=True) if repeated and self.offers else ""
        if out := self.model.offers.get(offer):
            before = {job: attempt - 1 for job, attempt in out.jobs.items()}
            self.offer_run(before, drivers, how, offer)
        else:
            self.offer(name, self.model.jobs[name].attempt - old, drivers, how)

    @precondition(lambda self: len(self.model.jobs) > 1)
    @rule(
        backs=st.lists(st.integers(0, 5), min_size=2, max_size=4, unique=True),
        drivers=st.permutations(DRIVERS),
        old=st.sampled_from((0, 0, 0, 1)),
        how=how_often,
    )
    def planned_run(self, backs: list[int], drivers: list[str], old: int, how: How) -> None:
        """A run of one mall's jobs, of which the last may be gone or at another attempt."""
        names = [self.job_at(back, {"queued"}) for back in backs]
        mall = self.model.jobs[names[0]].mall
        run = {
            name: self.model.jobs[name].attempt
            for name in names
            if self.model.jobs[name].mall == mall
        }
        run[[*run][-1]] -= old
        self.offer_run(run, drivers, how)

    def offer(
        self,
        name: str,
        attempt: int,
        drivers: Sequence[str],
        how: How = "once",
        offer: str = "",
    ) -> None:
        self.offer_run({name: attempt}, drivers, how, offer)

    def offer_run(
        self,
        attempts: Mapping[str, int],
        drivers: Sequence[str],
        how: How = "once",
        offer: str = "",
    ) -> None:
        """Offer jobs of one mall at the attempts that the plan assumes."""
        offer = offer or f"o{len(self.offers)}"
        etas = [(self.now + n, self.now + 1_000 * n) for n in range(1, len(attempts) + 1)]
        if len(attempts) == 1:
            etas = [(self.now, self.now)]  # the ETAs of the ranked driver
        # Some offers are made without a history cell.
        cell = len(self.offers) % CELLS if len(self.offers) % 5 else None
        expected, taker, gone = self.model.offer(offer, attempts, drivers, etas, cell)
        ranked = tuple(
            RankedDriver(driver, True, None, 1.0, (), 60, 500, "gate-1", self.now, self.now, cell)
            for driver in drivers
        )
        jobs = tuple(
            PlannedJob(
                name,
                attempt,
                RoundRecord(name, attempt + 1, self.now, 1_000, False, ranked),
                (eta,) * len(drivers) if len(attempts) > 1 else (),
            )
            for (name, attempt), eta in zip(attempts.items(), etas, strict=True)
        )
        plan = OfferPlan(offer, self.model.jobs[jobs[0].job].mall, jobs, ranked)
        offered = self.call(
            f"offer {offer} of {attempts} to {','.join(drivers)}",
            expected,
            lambda store: store.offers.make(plan),
            how=how,
            read=lambda offered: offered.verdict,
            again=expected,
        )
        assert offered is not None
        assert offered.driver == taker, f"{offer} went to {offered.driver}, not to {taker}"
        assert set(offered.dequeued) == gone, f"{offer}: {offered.dequeued} are reported as gone"
        if expected == "offered" and offer not in self.offers:
            self.offers.append(offer)

    # -- order services and operators

    @precondition(lambda self: self.model.jobs)
    @rule(
        verb=st.sampled_from(("assign", "unassign", "close", "withdraw", "suspend", "resume")),
        back=recent,
        driver=some_driver,
        old=st.sampled_from((0, 0, 1)),
        state=st.sampled_from((JobState.RETURNED, JobState.DELIVERED, JobState.LOST)),
        how=how_often,
    )
    def operator(
        self, verb: str, back: int, driver: str, old: int, state: JobState, how: How
    ) -> None:
        if verb == "assign":
            self.assign(self.job_at(back), driver, how)
        elif verb == "unassign":
            name = self.job_at(back, {"assigned", "at_mall"})
            self.unassign(name, self.model.jobs[name].attempt - old, how)
        elif verb == "close":
            self.close(self.job_at(back, {"picked_up", "returning"}), state, how)
        elif verb in {"suspend", "resume"}:
            self.suspend(driver, suspended=verb == "suspend", how=how)
        elif self.offers:
            self.withdraw(self.offer_at(back, late=old > 0), how)

    def withdraw(self, offer: str, how: How = "once") -> None:
        out = self.model.offers.get(offer)
        if out is None:
            return
        ref = self.ref([*out.jobs][-1])
        self.model.withdraw(offer)
        self.call(
            f"withdraw {offer}",
            "ok",
            lambda store: store.offers.withdraw(ref, offer, "operator"),
            how=how,
        )

    def cancel(self, name: str, how: How = "once") -> None:
        ref = self.ref(name)
        expected = self.model.cancel(name)
        self.call(
            f"cancel {name}",
            expected,
            lambda store: store.jobs.cancel(ref, SERVICE, "changed my mind", plan=WAY_BACK),
            how=how,
            again=expected,
        )

    def assign(self, name: str, driver: str, how: How = "once") -> None:
        ref = self.ref(name)
        expected = self.model.assign(name, driver)
        self.call(
            f"assign {name} to {driver}",
            expected,
            lambda store: store.jobs.assign(ref, driver, "operator"),
            how=how,
            again=expected,
        )

    def begin(self, driver: str, order: Order) -> str:
        """Submit an order and assign it; return its job, empty if the driver did not get it."""
        self.submit(order)
        name = self.job_at(0)
        self.assign(name, driver)
        return name if self.model.jobs[name].holder == driver else ""

    def unassign(self, name: str, attempt: int, how: How = "once") -> None:
        ref = self.ref(name)
        expected = self.model.release(name, attempt, "unassigned")
        self.call(
            f"unassign {name}/{attempt}",
            expected,
            lambda store: store.jobs.release(ref, attempt, Outcome.UNASSIGNED, "operator", "why"),
            how=how,
        )

    def close(self, name: str, state: JobState, how: How = "once") -> None:
        ref = self.ref(name)
        expected = self.model.close(name, state.value)
        self.call(
            f"close {name} as {state}",
            expected,
            lambda store: store.jobs.close(ref, state, "operator", "why"),
            how=how,
            again=expected,
        )

    def ready(self, name: str, late: int, how: How = "once") -> None:
        """Change the ready time, and with it the order's body, card and need."""
        ref = self.ref(name)
        was = self.seen.jobs[name]
        release_ms = self.now + late
        body = msgspec.json.encode({**msgspec.json.decode(was.body), "ready": release_ms})
        need = replace(was.need, ready_ms=release_ms)
        expected = self.model.ready(name, release_ms)
        self.call(
            f"ready {name} in {late} ms",
            expected,
            lambda store: store.jobs.ready(
                ref,
                was=was,
                body=body,
                card=b"\xc1",
                need=need,
                release_ms=release_ms,
                actor=SERVICE,
            ),
            how=how,
        )

    def suspend(self, driver: str, *, suspended: bool = True, how: How = "once") -> None:
        expected = self.model.suspend(driver, suspended=suspended)
        self.call(
            f"suspend {driver}: {suspended}",
            expected,
            lambda store: (
                store.drivers.suspend(MARKET, driver, "why")
                if suspended
                else store.drivers.resume(MARKET, driver)
            ),
            how=how,
            again=expected,
        )
        # Like the dispatcher: a live offer is withdrawn.
        known = self.model.drivers.get(driver)
        if suspended and known and known.offer:
            self.withdraw(known.offer)
