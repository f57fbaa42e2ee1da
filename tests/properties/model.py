"""A small model of what the store owes: PROTOCOL.md and S1–S14 in plain data, nothing of Redis.

Each verb gives the verdict that the store must give, and changes the model as the store must
change. Times are epoch milliseconds; ``model.now`` is the clock that the scripts are told.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from engine.config import MarketPolicy
from protocol.lifecycle import BEFORE_PICKUP, HELD, NOT_ASKED_AGAIN, TERMINAL
from tests.properties.model_drivers import DriverModel

ANSWER_KEPT_MS = 600_000
# A refusal whose exact word the contract leaves open: whoever asks has lost the job for good.
REFUSED = "refused"
WORDS_OF_REFUSAL = frozenset({"not_yours", "stale_attempt", "wrong_state"})

# Which states a step leads on from, and in which it has been done already.
FROM = {
    "at_mall": {"assigned"},
    "picked_up": {"assigned", "at_mall"},
    "delivered": {"picked_up"},
    "returning": {"picked_up"},
    "returned": {"returning"},
}
DONE = {
    "at_mall": {"at_mall", "picked_up", "returning", "delivered", "returned"},
    "picked_up": {"picked_up", "returning", "delivered", "returned"},
    "delivered": {"delivered"},
    "returning": {"returning", "returned"},
    "returned": {"returned"},
}


@dataclass
class Offer:
    job: str
    driver: str
    attempt: int
    expires: int
    ack_by: int
    state: str = "live"
    ended: int = 0


@dataclass
class Job:
    mall: str
    expires: int
    release: int
    external: str | None
    age_check: bool
    state: str
    attempt: int = 0
    holder: str = ""
    offer: str = ""
    asked: list[tuple[str, int, str, int]] = field(default_factory=list)
    # Who held it under which attempt when it was taken away: they may claim custody.
    former: set[tuple[str, int]] = field(default_factory=set)
    # Whoever was ever offered or given it.
    known: set[str] = field(default_factory=set)


class Model(DriverModel):
    """Drivers, jobs and offers of one market, and the idempotency keys of one service."""

    def __init__(self, policy: MarketPolicy, now: int) -> None:
        super().__init__(policy, now)
        self.jobs: dict[str, Job] = {}
        self.offers: dict[str, Offer] = {}
        self.keys: dict[str, tuple[str, str]] = {}  # idempotency key → (hash of the JSON, job)
        self.holds: dict[str, int] = {}

    # -- the order side

    def submit(self, name: str, job: Job, key: str, body_hash: str) -> tuple[str, str]:
        """The verdict and the job that it is about."""
        if key in self.keys:
            used_for, first = self.keys[key]
            return ("replayed", first) if used_for == body_hash else ("mismatch", "")
        for there, other in self.jobs.items():
            open_or_done = other.state not in TERMINAL or other.state == "delivered"
            if job.external is not None and other.external == job.external and open_or_done:
                return "duplicate", there
        self.keys[key] = (body_hash, name)
        self.jobs[name] = job
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

    def assign(self, name: str, driver: str) -> str:
        job, new = self.jobs[name], self.drivers.get(driver)
        if job.state not in BEFORE_PICKUP:
            return "wrong_state"
        if job.holder == driver:
            return "ok"
        if new is None:
            return "no_driver"
        if new.suspended or new.jobs or new.offer not in {None, job.offer}:
            return "unavailable"
        self._take_away(job, "withdrawn", "unassigned")
        self._give(job, name, driver)
        job.state = "assigned"
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
        return "ok"

    def ready(self, name: str, release: int) -> str:
        job = self.jobs[name]
        if job.state not in BEFORE_PICKUP:
            return "wrong_state"
        job.release = release
        if job.state == "scheduled" and release <= self.now:
            job.state = "queued"
        return "ok"

    # -- offers

    def offer(
        self, offer: str, name: str, attempt: int, plan: Sequence[str]
    ) -> tuple[str, str | None]:
        """The verdict and who must get the offer."""
        job = self.jobs[name]
        if job.state == "offered" and job.offer == offer:
            return "offered", self.offers[offer].driver
        if job.state != "queued" or job.attempt != attempt or self.now >= job.expires:
            return "gone", None
        barred = self.barred(job)
        taker = next((d for d in plan if d in self.free() and d not in barred), None)
        if taker is None:
            return "nobody", None
        job.attempt += 1
        job.state, job.offer = "offered", offer
        expires = min(self.now + self.policy.offer_timeout_ms, job.expires)
        ack_by = min(self.now + self.policy.offer_ack_timeout_ms, expires)
        self.offers[offer] = Offer(name, taker, job.attempt, expires, ack_by)
        self.drivers[taker].offer = offer
        job.known.add(taker)
        return "offered", taker

    def live(self) -> list[str]:
        return [name for name, offer in self.offers.items() if offer.state == "live"]

    def barred(self, job: Job) -> set[str]:
        again_ms = math.ceil(self.policy.unreachable_s * 1000)
        return {
            driver
            for driver, _, outcome, at in job.asked
            if outcome in NOT_ASKED_AGAIN
            or (outcome == "unacknowledged" and at + again_ms > self.now)
        }

    def _answerable(self, offer: str, driver: str, repeated: str) -> str:
        """``ok``: may be answered; ``again``: was, and equally."""
        out = self.offers.get(offer)
        if out is None or out.driver != driver:
            return "not_yours"
        if out.state == repeated:
            return "again"
        if out.state != "live" or self.now >= out.expires:
            return "offer_closed"
        return "ok"

    def offer_ack(self, offer: str, driver: str) -> str:
        verdict = self._answerable(offer, driver, "")
        if verdict == "ok":
            self.offers[offer].ack_by = 0
        return verdict

    def accept(self, offer: str, driver: str) -> str:
        verdict = self._answerable(offer, driver, "accepted")
        if verdict == "ok" and self.drivers[driver].jobs:  # S2: custody has filled its hands
            return "offer_closed"
        if verdict == "ok":
            name = self.offers[offer].job
            job = self.jobs[name]
            self._end_offer(job, "accepted")
            job.state, job.holder = "assigned", driver
            self.drivers[driver].jobs[name] = job.attempt
            self.drivers[driver].unreachable = False
        return "ok" if verdict == "again" else verdict

    def decline(self, offer: str, driver: str) -> str:
        verdict = self._answerable(offer, driver, "declined")
        if verdict == "ok":
            job = self.jobs[self.offers[offer].job]
            self._end_offer(job, "declined")
            job.state = "queued"
            self.drivers[driver].cool = self.now + math.ceil(self.policy.cooldown_s * 1000)
            self.drivers[driver].unreachable = False
        return "ok" if verdict == "again" else verdict

    def withdraw(self, name: str, offer: str) -> None:
        job = self.jobs[name]
        if job.state == "offered" and job.offer == offer:
            self._end_offer(job, "withdrawn")
            job.state = "queued"

    def lapse(self, offer: str) -> str | None:
        out = self.offers.get(offer)
        if out is None or out.state != "live":
            return None
        driver = self.drivers[out.driver]
        if out.ack_by and self.now >= out.ack_by:
            outcome, driver.unreachable = "unacknowledged", True
        elif self.now >= out.expires:
            outcome = "expired"
            driver.cool = self.now + math.ceil(self.policy.cooldown_s * 1000)
        else:
            return None
        job = self.jobs[out.job]
        self._end_offer(job, outcome)
        job.state = "queued"
        return outcome

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
            job.state = "queued"

    # -- a job in hand

    def progress(self, name: str, driver: str, attempt: int, step: str, *, checked: bool) -> str:
        job = self.jobs[name]
        if (job.holder, job.attempt) != (driver, attempt):
            return self._claim(job, name, driver, attempt, step)
        if job.state in DONE[step]:
            return "ok"
        if job.state not in FROM[step]:
            return "wrong_state"
        if step == "delivered" and job.age_check and not checked:
            return "proof_needed"
        if step in TERMINAL:
            self._end_held(job, name, step)
        job.state = step
        return "ok"

    def arrive(self, name: str, driver: str, attempt: int) -> None:
        """Its position is at the mall: said by the geofence, not by the driver."""
        job = self.jobs[name]
        if (job.state, job.holder, job.attempt) == ("assigned", driver, attempt):
            job.state = "at_mall"

    def _claim(self, job: Job, name: str, driver: str, attempt: int, step: str) -> str:
        """Custody: who had it when it was taken away may have had the parcel on board by then."""
        if driver not in job.known:
            return "not_yours"
        if (driver, attempt) not in job.former or step != "picked_up":
            return REFUSED
        if job.state not in BEFORE_PICKUP:
            return "ok" if job.holder == driver and job.state in DONE[step] else "wrong_state"
        self._take_away(job, "withdrawn", None if job.holder == driver else "unassigned")
        self._give(job, name, driver)
        job.state = "picked_up"
        return "ok"

    def give_up(self, name: str, driver: str, attempt: int) -> str:
        job = self.jobs[name]
        if (job.holder, job.attempt) == (driver, attempt):
            if job.state not in {"assigned", "at_mall"}:
                return "wrong_state"
            self._revoke(job, "gave_up")
            return "ok"
        if any(turn[:3] == (driver, attempt, "gave_up") for turn in job.asked):
            return "ok"
        return REFUSED if driver in job.known else "not_yours"

    def silence(self, name: str, member: str) -> None:
        job = self.jobs[name]
        if member != f"silent/{job.mall}/{name}":
            return
        driver = self.drivers.get(job.holder)
        if driver is None or driver.connected:
            return
        limit = {"assigned": self.resume_ms, "at_mall": self.at_mall_ms}.get(job.state)
        if limit is not None and self.now - driver.lost >= limit:
            self._revoke(job, "silent")

    @property
    def at_mall_ms(self) -> int:
        return math.ceil(self.policy.at_mall_silence_s * 1000)

    # -- what transitions share

    def _give(self, job: Job, name: str, driver: str) -> None:
        job.attempt += 1
        job.holder = driver
        job.known.add(driver)
        self.drivers[driver].jobs[name] = job.attempt

    def _end_offer(self, job: Job, outcome: str) -> None:
        out = self.offers[job.offer]
        out.state, out.ended = outcome, self.now
        self.drivers[out.driver].offer = None
        job.asked.append((out.driver, job.attempt, outcome, self.now))
        job.offer = ""

    def _take_away(self, job: Job, offered: str, held: str | None) -> None:
        """End the live offer or take the job off its holder; ``held``: how its turn ended."""
        if job.state == "offered":
            self._end_offer(job, offered)
        elif job.state in HELD:
            if held is not None:
                job.asked.append((job.holder, job.attempt, held, self.now))
                job.former.add((job.holder, job.attempt))
            self._drop(job)

    def _drop(self, job: Job) -> None:
        jobs = self.drivers[job.holder].jobs
        for name in [name for name in jobs if self.jobs[name] is job]:
            del jobs[name]

    def _revoke(self, job: Job, outcome: str) -> None:
        holder = job.holder
        self._take_away(job, "", outcome)
        if outcome == "gave_up":  # has said that it holds nothing
            job.former = {(driver, at) for driver, at in job.former if driver != holder}
        job.state, job.holder = "queued", ""
        job.attempt += 1

    def _end_held(self, job: Job, name: str, state: str) -> None:
        self.drivers[job.holder].jobs.pop(name, None)
        job.state = state

    def forget(self) -> None:
        """Ended offers are kept ten minutes, for repeated answers."""
        for name in [n for n, o in self.offers.items() if o.ended]:
            if self.offers[name].ended + ANSWER_KEPT_MS <= self.now:
                del self.offers[name]
