"""Changed orders in the model."""

from collections.abc import Mapping
from dataclasses import dataclass

from mallard_protocol.codes import CUSTOMER_PROBLEMS, MOST_DELIVERY_ATTEMPTS
from mallard_protocol.lifecycle import BEFORE_PICKUP, HELD, TERMINAL
from tests.properties.models.door import KEPT
from tests.properties.models.records import Eta, Job
from tests.properties.models.shops import ShopModel

_EARLY = {"scheduled", "queued", "offered"}
_UNDER_WAY = {"assigned", "at_mall", "picked_up"}


@dataclass(frozen=True)
class Change:
    """The drawn fields of a change; None: it stays. Times are relative to now, in ms.

    ``until``: the state from which on it comes too late. ``stale``: the order was read before
    another change. ``pay``: what is added.
    """

    until: str = "terminal"
    stale: bool = False
    store: str | None = None
    lasts_ms: int | None = None
    release_ms: int | None = None
    age_check: bool | None = None
    pay: int | None = None
    on_short: str | None = None
    on_missing: str | None = None
    hold_s: int | None = None
    undeliverable: str | None = None
    priority: int | None = None
    moved: bool = False


class ChangeModel(ShopModel):
    """A market whose orders change."""

    def change(
        self, name: str, new: Change, began: int, etas: Mapping[str, Eta], *, is_ranked: bool
    ) -> str:
        """Change an order.

        Args:
            name: its job.
            new: what changes.
            began: when its last change of state was.
            etas: the times of all jobs of its holder.
            is_ranked: rounds would plan otherwise.
        """
        job = self.jobs[name]
        if new.stale or self._is_too_late(job, new):
            return "again"
        if job.state == "offered":
            self._take_away(job, "withdrawn", None)
            job.state = "queued"
        elif job.state == "queued":
            job.attempt += is_ranked
        self._write(job, new)
        if job.is_held:
            self._bound(job, began, counts_anew=new.hold_s is not None)
        if new.on_short is not None or new.on_missing is not None:
            self._apply_new_rules(job)
        if job.state != "failed" and not job.is_held:
            job.release = job.release if new.release_ms is None else self.now + new.release_ms
            if job.state == "scheduled" and job.release <= self.now:
                job.state = "queued"
        if job.state in HELD:
            for other, eta in etas.items():
                if self.jobs[other].state in _UNDER_WAY:
                    self.jobs[other].eta = eta
            self._change_at_door(job, new)
        return "ok"

    def _is_too_late(self, job: Job, new: Change) -> bool:
        shop = job.shops.get(new.store or "")
        is_fixed = (
            job.state in TERMINAL
            or (new.until == "assigned" and job.state not in _EARLY)
            or (new.until == "picked_up" and job.state not in BEFORE_PICKUP)
        )
        is_gone = new.store is not None and (
            shop is None
            or shop.got > 0
            or (job.state not in BEFORE_PICKUP and job.state != "picked_up")
        )
        return is_fixed or is_gone or (new.pay or 0) < 0

    def _write(self, job: Job, new: Change) -> None:
        if new.lasts_ms is not None:
            job.expires = job.due = self.now + new.lasts_ms
        if new.age_check is not None:
            job.age_check = new.age_check
        job.pay += new.pay or 0
        job.on_short = new.on_short or job.on_short
        job.on_missing = new.on_missing or job.on_missing
        job.rule = new.undeliverable or job.rule
        job.hold_ms = job.hold_ms if new.hold_s is None else new.hold_s * 1_000

    def _bound(self, job: Job, began: int, *, counts_anew: bool) -> None:
        why, store, until = job.held
        if counts_anew and why in {"missing", "short"}:
            until = began + job.hold_ms
        until = max(min(until, job.expires), self.now)
        job.held, job.release = (why, store, until), until

    def _apply_new_rules(self, job: Job) -> None:
        if job.state not in BEFORE_PICKUP:
            return
        lacking = None
        for shop in job.shops.values():
            if shop.lacks:
                rule, why = self._rule(job, shop, shop.state)
                if rule == "fail":
                    self._take_off(job, "failed")
                    return
                lacking = (shop, why) if rule == "hold" else lacking
        if lacking and not job.is_held:
            self._hold(job, *lacking, None, by_driver=False)
        elif not lacking and job.is_held and job.held[0] in {"missing", "short"}:
            job.state, job.held = "queued", ("", "", 0)

    def _change_at_door(self, job: Job, new: Change) -> None:
        if job.state == "picked_up" and job.door:
            problem, what, at = job.door
            if what == KEPT:
                job.door = (problem, what, min(at, max(job.due, self.now)))
            elif new.undeliverable and job.attempts < MOST_DELIVERY_ATTEMPTS:
                job.door = (problem, new.undeliverable, at)
        reported = [
            it
            for it in job.troubles.values()
            if it.kind in CUSTOMER_PROBLEMS and it.state == "open"
        ]
        if new.moved and reported and not job.cancel_requested:
            reported[-1].state, reported[-1].answer = "answered", "retry"
            job.state = "picked_up" if job.state == "returning" else job.state
            job.door, job.left, job.visited = None, False, False
