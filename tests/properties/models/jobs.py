"""A model of orders and of the state of jobs: the protocol and S1–S14 in plain data, without Redis.

Each method returns the verdict that Redis must return and changes the model as Redis must
change. Times are epoch milliseconds; `model.now` is the clock that is passed to the scripts.
"""

import math
from collections.abc import Iterable

from mallard_engine.core.pickup.dwell_estimate import DwellSketch
from mallard_engine.core.policy import MarketPolicy
from mallard_protocol.lifecycle import BEFORE_PICKUP, HELD, NOT_ASKED_FOR_A_WHILE, TERMINAL
from tests.properties.models.drivers import DriverModel
from tests.properties.models.records import Job, Offer


class JobModel(DriverModel):
    """Drivers and jobs of one market, and the idempotency keys of one service."""

    def __init__(self, policy: MarketPolicy, now: int) -> None:
        super().__init__(policy, now)
        self.jobs: dict[str, Job] = {}
        self.offers: dict[str, Offer] = {}
        self.keys: dict[str, tuple[str, str]] = {}  # idempotency key → (hash of the JSON, job)
        self.holds: dict[str, int] = {}
        self.dwells: dict[str, DwellSketch] = {}  # by mall/store
        self.images: dict[str, tuple[str, str]] = {}  # by id: its driver, the job that it is for
        self.paused: set[str] = set()  # by place, `*` for the market
        self.lost = 0  # when lost writes were last noticed

    # -- pauses

    def pause(self, mall: str, store: str, *, paused: bool) -> str:
        place = f"{mall}/{store}" if store else mall or "*"
        if paused == (place in self.paused):
            return "same"
        self.paused ^= {place}
        return "changed"

    def is_paused(self, jobs: Iterable[Job]) -> bool:
        """Whether nothing may be offered to the market, the mall or a shop with something left."""
        for job in jobs:
            closed = [store for store, shop in job.shops.items() if shop.state == "closed"]
            left = [store for store, shop in job.shops.items() if shop.is_open] or closed
            left = left or [*job.shops]
            places = {"*", job.mall, *(f"{job.mall}/{store}" for store in left)}
            if places & self.paused:
                return True
        return False

    # -- dead letters

    def bury(self, name: str, attempt: int) -> str:
        job = self.jobs[name]
        if job.state != "queued" or job.attempt != attempt:
            return "gone"
        if self.now >= job.expires:
            job.state = "expired"
        else:
            job.state, job.release, job.dead = "scheduled", job.expires, True
        return "ok"

    def revive(self, letter: str) -> str:
        name = letter.replace("dead_", "job_", 1)
        job = self.jobs[name]
        if job.state != "scheduled" or not job.dead:
            return "no_letter"
        job.state, job.release, job.dead = "queued", self.now, False
        return "ok"

    @property
    def letters(self) -> set[str]:
        """The jobs that are dead letters. One that has moved on is none any more."""
        for job in self.jobs.values():
            job.dead = job.dead and job.state == "scheduled"
        return {name for name, job in self.jobs.items() if job.dead}

    # -- orders

    def submit(self, name: str, job: Job, key: str, body_hash: str) -> tuple[str, str]:
        """Return the verdict and the id of the job that it refers to."""
        if key in self.keys:
            used_for, first = self.keys[key]
            return ("replayed", first) if used_for == body_hash else ("mismatch", "")
        for there, other in self.jobs.items():
            open_or_done = other.state not in TERMINAL or other.state == "delivered"
            if job.external is not None and other.external == job.external and open_or_done:
                return "duplicate", there
        self.keys[key] = (body_hash, name)
        self.jobs[name] = job
        job.created = self.now
        return "ok", name

    def cancel(self, name: str) -> str:
        job = self.jobs[name]
        if job.state == "cancelled":
            return "ok"
        if job.state not in BEFORE_PICKUP:
            return "wrong_state"
        self._take_away(job, "withdrawn", None)
        job.state, job.holder = "cancelled", ""
        return "ok"

    def release(self, name: str, attempt: int, outcome: str) -> str:
        job = self.jobs[name]
        if job.state not in {"assigned", "at_mall"}:
            return "wrong_state"
        if job.attempt != attempt:
            return "stale_attempt"
        self._revoke(job, outcome)
        return "ok"

    def close(self, name: str, state: str) -> str:
        job = self.jobs[name]
        if job.state == state:
            return "ok"
        if job.state not in {"picked_up", "returning"}:
            return "wrong_state"
        self._end_held(job, name, state)
        job.eta = None
        return "ok"

    def ready(self, name: str, release: int) -> str:
        job = self.jobs[name]
        if job.state not in BEFORE_PICKUP:
            return "wrong_state"
        job.ready = release
        if job.is_held:
            return "ok"
        job.release = release
        if job.state == "scheduled" and release <= self.now:
            job.state = "queued"
        return "ok"

    def expire(self, name: str, max_attempts: int) -> bool:
        job = self.jobs[name]
        if job.state not in {"scheduled", "queued", "offered"}:
            return False
        spent = job.state != "offered" and job.attempt >= max_attempts
        if self.now < job.expires and not spent:
            return False
        self._take_away(job, "expired", None)
        job.state = "expired"
        return True

    def queue(self, name: str) -> None:
        job = self.jobs[name]
        if job.state == "scheduled" and self.now >= job.release:
            is_over = job.dead and self.now >= job.expires
            job.state = "expired" if is_over else "queued"

    # -- shared by transitions

    def _give(self, job: Job, name: str, driver: str) -> None:
        job.attempt += 1
        job.holder = driver
        job.known.add(driver)
        self.drivers[driver].jobs[name] = job.attempt

    def _end_offer(self, offer: str, outcome: str, leaving: Job | None = None) -> None:
        """End the offer and requeue its jobs. If one job is ``leaving``, the outcome is recorded
        for it, and the offer counts as withdrawn for the others."""
        out = self.offers[offer]
        out.state, out.ended = outcome, self.now
        self.drivers[out.driver].offer = None
        for name, attempt in out.jobs.items():
            job = self.jobs[name]
            its = outcome if leaving in {None, job} else "withdrawn"
            job.asked.append((out.driver, attempt, its, self.now))
            job.state, job.offer = "queued", ""
            if leaving is None:
                self._nobody_took(job, its)

    def _nobody_took(self, job: Job, outcome: str) -> None:
        """Raise the pay of a job after a round that no driver took."""
        if outcome in NOT_ASKED_FOR_A_WHILE and job.pay < job.pay_most:
            job.pay = min(job.pay + self.policy.pay_step_minor, job.pay_most)

    def _take_away(self, job: Job, offered: str, held: str | None) -> None:
        """End the live offer or take the job from its holder; ``held``: the outcome of its turn."""
        if job.state == "offered":
            self._end_offer(job.offer, offered, job)
        elif job.state in HELD:
            if held is not None:
                job.asked.append((job.holder, job.attempt, held, self.now))
                job.former.add((job.holder, job.attempt))
            self._drop(job)

    def _drop(self, job: Job) -> None:
        job.eta = None
        jobs = self.drivers[job.holder].jobs
        for name in [name for name in jobs if self.jobs[name] is job]:
            del jobs[name]

    def _revoke(self, job: Job, outcome: str) -> None:
        holder = job.holder
        self._take_away(job, "", outcome)
        if outcome == "gave_up":  # a give-up ends the claim to custody
            job.former = {(driver, at) for driver, at in job.former if driver != holder}
        job.state, job.holder = "queued", ""
        job.attempt += 1

    def _end_held(self, job: Job, name: str, state: str) -> None:
        self.drivers[job.holder].jobs.pop(name, None)
        job.state = state

    def fitted(self, left_ms: int, least_s: float, most_s: float) -> int:
        """A limit that fits the time left: between the bounds, the policy's share of it."""
        share_ms = math.floor(left_ms * self.policy.slack_share)
        share_ms = max(share_ms, math.ceil(least_s * 1000))
        return min(share_ms, math.ceil(most_s * 1000))
