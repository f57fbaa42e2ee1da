"""Rules for changed orders."""

from dataclasses import replace

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from mallard_engine.core.order_change import OrderChange
from mallard_engine.ports import Stop
from mallard_protocol.lifecycle import JobState, ShopState, Step
from tests.properties.machine import How, how_often, recent, some_driver
from tests.properties.models.changes import Change
from tests.properties.rules.jobs.job import Order
from tests.properties.rules.jobs.risk import RiskRules
from tests.properties.world import HAUL_MS, HOME, LEAD_MS, SERVICE

changes = st.builds(
    Change,
    until=st.sampled_from(("terminal", "terminal", "assigned", "picked_up")),
    stale=st.sampled_from((False, False, False, True)),
    store=st.sampled_from((None, None, None, "lego", "gap")),
    lasts_ms=st.sampled_from((None, None, 7_200_000, 20_000)),
    release_ms=st.sampled_from((None, None, 0, 5_000)),
    age_check=st.sampled_from((None, None, True, False)),
    pay=st.sampled_from((None, None, 50, 0, -1)),
    on_short=st.sampled_from((None, None, "deliver", "hold", "fail")),
    on_missing=st.sampled_from((None, None, "hold", "fail")),
    hold_s=st.sampled_from((None, None, 60, 28_800)),
    undeliverable=st.sampled_from((None, None, "return", "leave", "hold")),
    priority=st.sampled_from((None, 0, 1, 2)),
    moved=st.booleans(),
)
_RULES = {"on_short": "on_short", "on_missing": "on_missing", "undeliverable": "on_undeliverable"}


class ChangeRules(RiskRules):
    """What order services change of their orders."""

    changed = 0

    @precondition(lambda self: any(not it.carries for it in self.model.jobs.values()))
    @rule(back=recent, new=changes, how=how_often)
    def an_order_changes(self, back: int, new: Change, how: How) -> None:
        name = self.job_at(back, {*JobState})
        if not self.model.jobs[name].carries:
            self.change(name, new, how)

    @rule(
        waits_ms=st.sampled_from((0, 10_000)),
        new=st.sampled_from(
            (Change(lasts_ms=20_000), Change(on_missing="fail"), Change(hold_s=120))
        ),
        how=how_often,
    )
    def a_held_order_changes(self, waits_ms: int, new: Change, how: How) -> None:
        """A shop lacks the parcels, and the order service changes how long or whether to wait."""
        self.submit(Order(hold_s=60))
        name = self.job_at(0)
        self.shop_says(name, "lego", ShopState.MISSING)
        self.time_passes(waits_ms, reports=False)
        self.change(name, new, how)

    @rule(
        driver=some_driver,
        ends=st.sampled_from(("", "", "cancelled")),
        new=st.sampled_from((Change(moved=True), Change(moved=True), Change(lasts_ms=20_000))),
        how=how_often,
    )
    def a_refused_order_changes(self, driver: str, ends: str, new: Change, how: How) -> None:
        """The address or the deadline is corrected when nobody takes the parcels."""
        name = self.begin(driver, Order(undeliverable="hold" if new.lasts_ms else "return"))
        if not name:
            return
        job = self.model.jobs[name]
        self.step(name, driver, job.attempt, Step.PICKED_UP)
        self.undelivered(name, driver, job.attempt, "refused")
        if ends:
            self.cancel(name)
        self.change(name, new, how)

    def change(self, name: str, new: Change, how: How = "once") -> None:
        ref, was = self.ref(name), self.seen.jobs[name]
        holder = self.model.jobs[name].holder
        held = self.seen.drivers[holder].jobs if holder else ()
        etas = {it.job: (self.now + 60_000, self.now + 120_000 + n) for n, it in enumerate(held)}
        order = self._order_change(name, new)
        began = was.timeline[-1].at_ms
        if new.stale:
            was = replace(was, body=b"{}")
        stops = [Stop(it.job, it.attempt, *etas[it.job]) for it in held]
        is_ranked = replace(order.need, service=was.service) != was.need
        expected = self.model.change(name, new, began, etas, is_ranked=is_ranked)
        self.call(
            f"{name} changes: {new}",
            expected,
            lambda store: store.changes.change(ref, was, order, actor=SERVICE, etas=stops),
            how=how,
            read=lambda effects: "again" if effects is None else "ok",
            again=expected,
        )

    def _order_change(self, name: str, new: Change) -> OrderChange:
        was, job = self.seen.jobs[name], self.model.jobs[name]
        self.changed += 1
        order = msgspec.json.decode(was.body) | {"n": self.changed}
        order |= {field: value for own, field in _RULES.items() if (value := getattr(new, own))}
        order |= {"hold_s": new.hold_s} if new.hold_s else {}
        need = was.need
        if new.lasts_ms is not None:
            ends = self.now + new.lasts_ms
            need = replace(need, deadline_ms=ends, expires_ms=ends)
        if new.priority is not None:
            need = replace(need, priority=new.priority)
        if new.moved:
            need = replace(need, lat=HOME[0] + self.changed / 1e5, lon=HOME[1])
        pay = None if new.pay is None else job.pay + new.pay
        if pay is not None:
            need = replace(need, pay_minor=pay)
        later = None if new.release_ms is None else self.now + new.release_ms
        return OrderChange(
            fields=("/metadata",),
            until=None if new.until == "terminal" else JobState(new.until),
            stores=(new.store,) if new.store else (),
            body=msgspec.json.encode(order),
            card=b"\xc1",
            need=need,
            release_ms=was.release_ms if later is None else later,
            lead_ms=LEAD_MS,
            haul_ms=HAUL_MS,
            needs_age_check=job.age_check if new.age_check is None else new.age_check,
            pay_minor=pay,
            changes_rules=new.on_short is not None or new.on_missing is not None,
            changes_hold=new.hold_s is not None,
            on_undeliverable=new.undeliverable,
            is_moved=new.moved,
        )
