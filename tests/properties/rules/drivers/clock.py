"""Rules: time and failures; late and repeated due entries, nodes that crash."""

import math

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from mallard_engine.ports import DueEntry, DueKind, OwnDriver, Standing
from mallard_protocol.lifecycle import HELD, Wish
from tests.properties import invariants
from tests.properties.machine import DRIVERS, How, how_often, recent, some_node
from tests.properties.rules.drivers.holder import WAY_BACK, HolderRules
from tests.properties.world import MARKET, NODES

_REAP = 2
_BATCH = 3


class TimeRules(HolderRules):
    """Rules for the clock, the sweepers and the nodes."""

    # -- the clock

    @rule(
        ms=st.sampled_from((1, 40, 1_000, 3_000, 29_999, 30_000, 61_000, 121_000, 900_000)),
        reports=st.sampled_from((True, True, False)),
    )
    def time_passes(self, ms: int, *, reports: bool = True) -> None:
        self.log_step(f"{ms} ms pass")
        self.pass_time(ms)
        if reports:
            self.report_all()

    @rule(nth=recent, off_by=st.sampled_from((-1, 0, 0, 1)))
    def time_comes_to_a_limit(self, nth: int, off_by: int) -> None:
        """Advance to one of the next limits, or to a millisecond before or after it."""
        limits = sorted({at for at in self._limits() if at > self.now - off_by})
        if limits:
            self.time_to(limits[nth % len(limits)], off_by)

    def _limits(self) -> list[int]:
        stale_ms = math.ceil(self.policy.stale_after_s * 1000)
        limits = []
        for offer in self.model.offers.values():
            if offer.state == "live":
                limits += [offer.expires, offer.ack_by]
        for job in self.model.jobs.values():
            limits += [job.expires, job.release]
        for driver in self.model.drivers.values():
            limits += [driver.cool, driver.until or 0]
            if driver.fix:
                limits.append(driver.fix.received + stale_ms)
            if not driver.connected:
                limits += [driver.lost + self.model.resume_ms, driver.lost + self.model.at_mall_ms]
        return limits

    # -- the sweepers

    @rule(
        verb=st.sampled_from(("sweeps", "sweeps", "dies", "settles")), node=some_node, how=how_often
    )
    def a_sweeper(self, verb: str, node: str, how: How) -> None:
        if verb == "settles":
            self.settle()
        else:
            self.sweep(node, how, dies=verb == "dies")

    def sweep(self, node: str = "n1", how: How = "once", *, dies: bool = False) -> None:
        """Execute the overdue entries, possibly twice; or die with the entries taken, which are
        kept for `late_sweep`."""
        entries = self._take(node)
        if dies:
            self.taken += entries
            return
        for entry in entries:
            self._execute(entry, how)
        self._forget()

    @precondition(lambda self: self.taken)
    @rule(back=recent, how=how_often)
    def late_sweep(self, back: int, how: How) -> None:
        """A frozen node executes an entry that it took long ago."""
        self._execute(self.taken[-1 - back % len(self.taken)], how)

    @precondition(lambda self: self.model.live())
    @rule(
        back=recent,
        acked=st.booleans(),
        off_by=st.sampled_from((-1, 0, 0, 1)),
        then=st.sampled_from(("sweep", "accept", "decline", "sweep, accept")),
        how=how_often,
    )
    def an_offer_comes_to_its_limit(
        self, back: int, acked: bool, off_by: int, then: str, how: How
    ) -> None:
        """Sweep or answer an offer at its limit, or a millisecond before or after it."""
        live = self.model.live()
        name = live[-1 - back % len(live)]
        offer = self.model.offers[name]
        if acked and offer.ack_by > self.now:
            self.offer_ack(name, offer.driver, how)
        swept = then.startswith("sweep")
        self.time_to((swept and offer.ack_by) or offer.expires, off_by)
        if swept:
            self.sweep("n1", how)
        if then == "decline":
            self.decline(name, offer.driver, "n2", how)
        elif then != "sweep":
            self.accept(name, offer.driver, "n2", how)

    @precondition(lambda self: any(job.state in HELD for job in self.model.jobs.values()))
    @rule(back=recent, off_by=st.sampled_from((-1, 0, 0, 1)), how=how_often)
    def a_holder_falls_silent(self, back: int, off_by: int, how: How) -> None:
        """A holder disconnects, and a sweeper runs at the limit of its job."""
        job = self.model.jobs[self.job_at(back, HELD)]
        driver = self.model.drivers.get(job.holder)
        if job.state not in HELD or driver is None:
            return
        self.disconnect(job.holder, 0, None, how)
        self.time_to(driver.lost + self.model.silence_ms(job, driver), off_by)
        self.sweep("n2", how)

    def time_to(self, limit: int, off_by: int = 0) -> None:
        if limit + off_by > self.now:
            self.log_step(f"{limit + off_by - self.now} ms pass, to a limit {off_by:+}")
            self.pass_time(limit + off_by - self.now)

    def _take(self, node: str) -> list[DueEntry]:
        due = {member for member, at in self.seen.due.items() if at <= self.now}
        entries = self.call(
            "due", "ok", lambda store: store.deadlines.due(MARKET, _BATCH), node=node
        )
        assert entries is not None
        assert {entry.member for entry in entries} <= due
        assert len(entries) == min(len(due), _BATCH)
        return list(entries)

    def _execute(self, entry: DueEntry, how: How) -> None:
        match entry.kind:
            case "offer":
                self._lapse(entry, how)
            case "release":
                self.model.queue(entry.id)
                ref = self.ref(entry.id)
                self.call(
                    f"queue {entry.id}", "ok", lambda store: store.deadlines.queue(ref), how=how
                )
            case "retry":
                self._retry(entry.id, how)
            case "silent":
                self.model.silence(entry.id, entry.member)
                self.call(
                    f"silence {entry.id}",
                    "ok",
                    lambda store: store.deadlines.silence(entry),
                    how=how,
                )
            case "transfer":
                self.model.settle_transfer(entry.id)
                self.call(
                    f"settle {entry.id}",
                    "ok",
                    lambda store: store.transfers.settle(entry),
                    how=how,
                )
            case "door":
                self.at_door_due(entry, how)
            case "return":
                attempt = self.model.jobs[entry.id].attempt
                self.call(
                    f"look after the return of {entry.id}",
                    "ok",
                    lambda store: store.returns.set_place(entry, attempt, WAY_BACK),
                    how=how,
                )
            case _:
                self._driver_due(entry.id, how)

    def at_door_due(self, entry: DueEntry, how: How = "once") -> None:
        """Apply the rule of a job at the door."""
        attempt = self.model.jobs[entry.id].attempt
        self.model.at_door_due(entry.id)
        self.call(
            f"act at the door of {entry.id}",
            "ok",
            lambda store: store.returns.act_at_door(entry, attempt, WAY_BACK),
            how=how,
        )

    def _lapse(self, entry: DueEntry, how: How) -> None:
        outcome = self.model.lapse(entry.offer)
        self.call(
            f"lapse {entry.offer}",
            outcome or "early",
            lambda store: store.deadlines.lapse(entry),
            how=how,
            read=lambda lapsed: lapsed[0].value if lapsed[0] else "early",
        )

    def _retry(self, name: str, how: How) -> None:
        """A round without a driver: the job expires or is retried later."""
        self.expire(name, how=how)
        ref, attempt, at_ms = self.ref(name), self.model.jobs[name].attempt, self.now + 5_000
        self.call(
            f"retry {name}/{attempt} later",
            "ok",
            lambda store: store.deadlines.retry_later(ref, attempt, at_ms),
            how=how,
        )

    def expire(self, name: str, most: int = 200, how: How = "once") -> None:
        ref, ends = self.ref(name), self.model.expire(name, most)
        self.call(
            f"expire {name} (of {most} attempts)",
            "ok" if ends else "early",
            lambda store: store.deadlines.expire(ref, "nobody", most),
            how=how,
            read=lambda effects: "ok" if effects else "early",
        )

    @precondition(lambda self: self.model.jobs)
    @rule(
        back=recent,
        driver=st.sampled_from((None, None, None, *DRIVERS)),
        most=st.sampled_from((None, None, 200, 3, 0)),
        how=how_often,
    )
    def a_hasty_sweeper(self, back: int, driver: str | None, most: int | None, how: How) -> None:
        """Execute entries that are not due; ``most``: the attempts after which the job expires."""
        name = self.job_at(back)
        job = self.model.jobs[name]
        if driver:
            self._driver_due(driver, how)
            return
        if most is not None:
            self.expire(name, most, how)
            return
        kinds = {"offered": "offer", "scheduled": "release", "queued": "release"}
        kind = kinds.get(job.state, "silent")
        path = f"{job.mall}/{job.offer}/{name}" if kind == "offer" else f"{job.mall}/{name}"
        entry = DueEntry(f"{kind}/{path}", DueKind(kind), name, job.mall, job.offer)
        self._execute(entry, how)

    def _driver_due(self, driver: str, how: How) -> None:
        self.model.driver_due(driver)
        self.call(
            f"driver_due {driver}",
            "ok",
            lambda store: store.deadlines.driver_due(MARKET, driver),
            how=how,
        )

    def _forget(self) -> None:
        self.model.forget()
        self.call("forget", "ok", lambda store: store.deadlines.forget(MARKET))

    # -- the nodes

    @rule(
        verb=st.sampled_from(("dies", "beats", "is reaped", "takes its drivers back")),
        node=some_node,
        how=how_often,
    )
    def a_node(self, verb: str, node: str, how: How) -> None:
        if verb == "dies":
            self.node_dies(node)
        elif verb == "beats":
            self.node_beats(node)
        elif verb == "takes its drivers back":
            self.take_back(node, how)
        else:
            self.reap(node)

    def node_dies(self, node: str) -> None:
        self.log_step(f"{node} stops beating")
        self.beating.discard(node)

    def node_beats(self, node: str) -> None:
        """Renew the lease; a node whose lease had expired then takes its drivers back."""
        lapsed = not self.model.alive(node)
        dead = self.model.beat(node)
        self.beating.add(node)
        if lapsed:
            self.lapsed.add(node)
        beat = self.call("beat", "ok", lambda store: store.leases.beat(MARKET, node), node=node)
        assert beat is not None
        line = self.world.stores[node].runner.opening(MARKET)
        standing = Standing(self.model.since[node], self.model.lost, line)
        assert (beat.standing, set(beat.dead)) == (standing, dead)
        if lapsed:
            self.take_back(node)

    def take_back(self, node: str, how: How = "once") -> None:
        """Register again the sockets that the node still holds."""
        here = [(name, epoch) for name, (at, epoch) in self.sockets.items() if at == node]
        wish = Wish.PAUSED  # used only for drivers that Redis has lost
        expected = " ".join(self.model.take_back(name, node, epoch, wish) for name, epoch in here)
        own = [OwnDriver(name, epoch, wish) for name, epoch in here]
        if self.model.alive(node):
            self.lapsed.discard(node)
        self.call(
            f"{node} takes back {here}",
            expected,
            lambda store: store.drivers.take_back(MARKET, node, own, rewound=False),
            node=node,
            how=how,
            read=lambda taken: " ".join(each.verdict for each in taken[0]),
        )

    def reap(self, node: str) -> None:
        """Reap the drivers of a dead node, a few at a time."""
        if self.model.alive(node):
            self.call("reap", "ok", lambda store: store.leases.reap(MARKET, node, _REAP))
            return
        held = {n for n, d in self.model.drivers.items() if d.connected and d.node == node}
        for _ in range(len(self.seen.held[node]) + 1):
            # Redis chooses which drivers to reap; the model follows.
            self._reap_some(node)
        assert not self.seen.held[node]
        assert not held & self.seen.idle

    def _reap_some(self, node: str) -> None:
        before = self.seen.held[node]
        if not before:
            self.model.leases.pop(node, None)
            self.model.since.pop(node, None)
        self.world.run(self.world.stores["n1"].leases.reap(MARKET, node, _REAP))
        after = frozenset(
            name.decode() for name in self.world.command("SMEMBERS", self.world.keys.held(node))
        )
        for driver in before - after:
            self.model.disconnect(driver, node, 0)
        self.log_step(f"reap {sorted(before - after)} of {node}")
        self._check(None)

    def settle(self) -> None:
        """Execute all overdue entries and reap dead nodes; then nothing may be overdue."""
        self.pass_time(invariants.GRACE_MS)  # entries taken by a dead sweeper are due again
        for node in NODES:
            self.reap(node)
        while entries := self._take("n1"):
            for entry in entries:
                self._execute(entry, "once")
        invariants.check_settled(self.seen, self.policy)
