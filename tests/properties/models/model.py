"""A small model of the store: the protocol and S1–S14 in plain data, without Redis.

Each method returns the verdict that the store must return and changes the model as the store must
change. Times are epoch milliseconds; `model.now` is the clock that is passed to the scripts.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

from mallard_engine.core.pickup.dwell_estimate import DwellSketch
from mallard_engine.core.policy import MarketPolicy
from mallard_protocol.lifecycle import (
    BEFORE_PICKUP,
    HELD,
    NOT_ASKED_AGAIN,
    NOT_ASKED_FOR_A_WHILE,
    TERMINAL,
)
from tests.properties.models.drivers import Driver, DriverModel
from tests.properties.models.records import DONE, FROM, REFUSED, Eta, Job, Offer

ANSWER_KEPT_MS = 600_000
# The shop of every job here.
STORE = "lego"


class Model(DriverModel):
    """Drivers, jobs and offers of one market, and the idempotency keys of one service."""

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

    def assign(self, name: str, driver: str) -> str:
        job, new = self.jobs[name], self.drivers.get(driver)
        if job.state not in BEFORE_PICKUP:
            return "wrong_state"
        if job.holder == driver:
            return "ok"
        if new is None:
            return "no_driver"
        if new.suspended or (new.offer and new.offer not in self.offers_of(job)):
            return "unavailable"
        if not self.fits(driver, [name], by_operator=True) or driver == job.first:
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

    # -- offers

    def offers_of(self, job: Job) -> set[str]:
        """The live offers of the job."""
        return {job.offer}

    def offer(
        self,
        offer: str,
        attempts: Mapping[str, int],
        plan: Sequence[str],
        etas: Sequence[Eta],
        cell: int | None,
    ) -> tuple[str, str | None, set[str]]:
        """Return the verdict, the driver who must get the offer, and the jobs that are gone."""
        jobs = {name: self.jobs[name] for name in attempts}
        if any(job.state == "offered" and job.offer == offer for job in jobs.values()):
            return "offered", self.offers[offer].driver, set()
        gone = {
            name
            for name, job in jobs.items()
            if job.state != "queued" or job.attempt != attempts[name] or self.now >= job.expires
        }
        if gone:
            return "gone", None, gone
        if self.is_paused(jobs.values()):
            return "paused", None, set()
        barred = set[str]().union(*map(self.barred, jobs.values()))
        taker = next((d for d in plan if d not in barred and self.may_take(d, list(jobs))), None)
        if taker is None:
            return "nobody", None, set()
        expires = self.now + self.policy.offer_timeout_ms
        for job in jobs.values():
            job.attempt += 1
            job.state, job.offer = "offered", offer
            expires = min(expires, job.expires)
            job.known.add(taker)
        ack_by = min(self.now + self.policy.offer_ack_timeout_ms, expires)
        add_on = bool(self.drivers[taker].jobs)
        self.offers[offer] = Offer(
            {name: job.attempt for name, job in jobs.items()},
            taker,
            expires,
            ack_by,
            add_on,
            dict(zip(jobs, etas, strict=True)),
            None if add_on else cell,  # refusing an add-on is not counted
        )
        self.drivers[taker].offer = offer
        return "offered", taker, set()

    def may_take(self, name: str, jobs: Sequence[str]) -> bool:
        """Whether the driver may get the jobs: free, or on its way to the mall of a single job."""
        driver = self.drivers.get(name)
        if driver is None or not self.may_be_asked(driver) or not self.fits(name, jobs):
            return False
        mall = self.jobs[jobs[0]].mall
        return not driver.jobs or (len(jobs) == 1 and self.bound_for(driver) == mall)

    def bound_for(self, driver: Driver) -> str | None:
        """The mall that the driver is on its way to with room for more; None without one."""
        held = [self.jobs[name] for name in driver.jobs]
        malls = {job.mall for job in held}
        most = min(self.policy.max_run_jobs, driver.room[0])
        is_on_its_way = len(malls) == 1 and all(
            job.state == "assigned" and not job.express and not job.carries for job in held
        )
        return malls.pop() if is_on_its_way and len(held) < most else None

    def coming(self) -> set[str]:
        """The drivers who may get an add-on, as mall/driver."""
        drivers = self.drivers.items()
        bound = {name: self.bound_for(d) for name, d in drivers if self.may_be_asked(d)}
        return {f"{mall}/{name}" for name, mall in bound.items() if mall}

    def fits(self, name: str, jobs: Sequence[str], *, by_operator: bool = False) -> bool:
        """Whether the jobs fit beside the held ones; a single job is checked by the ranking. An
        express job fits beside no other, unless an operator puts it there."""
        driver = self.drivers[name]
        all_jobs = [*driver.jobs, *jobs]
        is_express = any(self.jobs[job].express for job in all_jobs)
        if len(all_jobs) > 1 and is_express and not by_operator:
            return False
        weight = sum(self.jobs[job].weight for job in all_jobs)
        most = min(self.policy.max_run_jobs, driver.room[0])
        parts = sum(self.jobs[job].parts for job in all_jobs)
        return parts == 1 or (parts <= most and weight <= driver.room[1])

    def hand_over(
        self, offer: str, name: str, attempt: int, holder: str, lost: int, plan: Sequence[str]
    ) -> tuple[str, str | None]:
        """Reassign a job of a silent or (``lost`` 0) stuck holder to the first eligible driver.

        Both steps happen or neither."""
        job = self.jobs[name]
        if job.state == "offered" and job.offer == offer:
            return "offered", self.offers[offer].driver
        known = self.drivers.get(holder)
        if known is None or job.holder != holder:
            return "gone", None
        is_silent = not known.connected and known.lost == lost <= self.now - self.resume_ms
        is_stuck = known.connected and lost == 0 and self.policy.stuck_after_s > 0
        fenced = job.state == "assigned" and job.attempt == attempt
        if not (is_silent or is_stuck) or not fenced or self.now >= job.expires:
            return "gone", None
        if self.is_paused([job]):
            return "paused", None
        barred = self.barred(job) | {job.holder}
        free = [d for d in plan if d not in barred and self.may_take(d, [name])]
        taker = next((d for d in free if not self.drivers[d].jobs), None)
        if taker is None:
            return "nobody", None
        self._revoke(job, "silent" if is_silent else "unassigned")
        etas = [(self.now, self.now)]
        verdict, driver, _ = self.offer(offer, {name: job.attempt}, [taker], etas, None)
        return verdict, driver

    def live(self) -> list[str]:
        return [name for name, offer in self.offers.items() if offer.state == "live"]

    def barred(self, job: Job) -> set[str]:
        over = {turn[0] for turn in job.asked if self.bar_end(job, turn) > self.now}
        return over | {job.first} if job.first else over

    def bar_end(self, job: Job, turn: tuple[str, int, str, int]) -> float:
        """Until when a turn keeps its driver from the job."""
        _, _, outcome, at = turn
        most_s = {
            "declined": self.policy.declined_s,
            "expired": self.policy.lapsed_s,
            "unacknowledged": self.policy.unreachable_s,
        }
        if outcome in NOT_ASKED_AGAIN:
            return math.inf
        if outcome not in most_s:
            return 0
        return at + self.fitted(job.expires - at, self.policy.asked_again_min_s, most_s[outcome])

    def fitted(self, left_ms: int, least_s: float, most_s: float) -> int:
        """A limit that fits the time left: between the bounds, the policy's share of it."""
        share_ms = math.floor(left_ms * self.policy.slack_share)
        share_ms = max(share_ms, math.ceil(least_s * 1000))
        return min(share_ms, math.ceil(most_s * 1000))

    def _cools_until(self, offer: Offer) -> int:
        left = min(self.jobs[name].expires for name in offer.jobs) - self.now
        return self.now + self.fitted(left, self.policy.cooldown_min_s, self.policy.cooldown_s)

    def _answerable(self, offer: str, driver: str, repeated: str) -> str:
        """``ok``: may be answered; ``again``: the same answer was given before."""
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
        run = self.offers[offer].jobs if verdict == "ok" else {}
        if run and not self.fits(driver, list(run)):  # S2: custody has filled the vehicle
            return "offer_closed"
        if verdict == "ok":
            self._end_offer(offer, "accepted")
            for name, attempt in run.items():
                job = self.jobs[name]
                job.state, job.holder = "assigned", driver
                job.eta = self.offers[offer].etas[name]
                self.drivers[driver].jobs[name] = attempt
            self.drivers[driver].unreachable = False
            self.drivers[driver].answered(self.offers[offer].cell, "accepted")
        return "ok" if verdict == "again" else verdict

    def decline(self, offer: str, driver: str) -> str:
        verdict = self._answerable(offer, driver, "declined")
        if verdict == "ok":
            self._end_offer(offer, "declined")
            if not self.offers[offer].add_on:
                self.drivers[driver].cool = self._cools_until(self.offers[offer])
            self.drivers[driver].unreachable = False
            self.drivers[driver].answered(self.offers[offer].cell, "declined")
        return "ok" if verdict == "again" else verdict

    def withdraw(self, offer: str) -> None:
        if self.offers[offer].state == "live":
            self._end_offer(offer, "withdrawn")

    def lapse(self, offer: str) -> str | None:
        out = self.offers.get(offer)
        if out is None or out.state != "live":
            return None
        driver = self.drivers[out.driver]
        if out.ack_by and self.now >= out.ack_by:
            outcome, driver.unreachable = "unacknowledged", True
        elif self.now >= out.expires:
            outcome = "expired"
            if not out.add_on:
                driver.cool = self._cools_until(out)
            driver.answered(out.cell, "lapsed")
        else:
            return None
        self._end_offer(offer, outcome)
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
            is_over = job.dead and self.now >= job.expires
            job.state = "expired" if is_over else "queued"

    # -- held jobs

    def progress(self, name: str, driver: str, attempt: int, step: str, *, checked: bool) -> str:
        job = self.jobs[name]
        if job.carries and step == "picked_up":
            return "wrong_state"
        if not self._is_holder(job, driver, attempt):
            return self._claim(job, name, driver, attempt, step)
        if job.state in DONE[step]:
            return "ok"
        if job.state not in FROM[step]:
            return "wrong_state"
        if step == "delivered" and (job.lacks_proof or (job.age_check and not checked)):
            return "proof_needed"
        if step in TERMINAL:
            self._end_held(job, name, step)
        elif step == "at_mall":
            job.came = self.now
        elif self._is_stay(job, driver, step):
            store = f"{job.mall}/{STORE}"
            sketch = self.dwells.get(store, DwellSketch())
            self.dwells[store] = sketch.with_stay(self.now - job.came)
        job.state = step
        return "ok"

    def _is_holder(self, job: Job, driver: str, attempt: int) -> bool:
        """Whether the driver holds the job, under its current attempt or the claimed one."""
        is_now = job.attempt in {attempt, job.won.get((driver, attempt))}
        return job.holder == driver and is_now

    def _is_stay(self, job: Job, driver: str, step: str) -> bool:
        """Whether the pickup counts as a stay: a single job of one store, ready on arrival."""
        is_alone = len(self.drivers[driver].jobs) == 1 and len(job.shops) <= 1
        return (job.state, step) == ("at_mall", "picked_up") and job.ready <= job.came and is_alone

    def arrive(self, name: str, driver: str, attempt: int) -> None:
        """Arrival by geofence."""
        job = self.jobs[name]
        if (job.state, job.holder, job.attempt) == ("assigned", driver, attempt):
            job.state, job.came = "at_mall", self.now

    def _claim(self, job: Job, name: str, driver: str, attempt: int, step: str) -> str:
        """Claim custody: a former holder may have collected the parcel before it lost the job."""
        if driver not in job.known:
            return "not_yours"
        if (driver, attempt) not in job.former or step != "picked_up":
            return REFUSED
        if job.state not in BEFORE_PICKUP:
            return "ok" if job.holder == driver and job.state in DONE[step] else "wrong_state"
        eta = job.eta if job.holder == driver else None
        self._take_away(job, "withdrawn", None if job.holder == driver else "unassigned")
        job.attempt = max(job.attempt, attempt)
        self._give(job, name, driver)
        job.won[driver, attempt] = job.attempt
        job.state, job.eta = "picked_up", eta
        return "ok"

    def claim(self, name: str, driver: str, attempt: int, state: str) -> str:
        """A hello claims that a parcel is on board or delivered."""
        job = self.jobs[name]
        if job.carries:
            return "wrong_state"
        if (job.holder, job.attempt) == (driver, attempt):
            if job.state in FROM["picked_up"]:
                job.state = "picked_up"
        else:
            was_on_board = job.state not in BEFORE_PICKUP
            known, former = set(job.known), set(job.former)
            if self.lost > job.created and not self._has_refused(job, driver, attempt):
                job.known.add(driver)
                job.former.add((driver, attempt))
            verdict = self._claim(job, name, driver, attempt, "picked_up")
            if was_on_board:
                job.known, job.former = known, former
            if verdict != "ok":
                return verdict
        is_proven = not (job.lacks_proof or (job.age_check and not job.aged))
        if state == "delivered" and job.state in FROM[state] and is_proven:
            self._end_held(job, name, state)
        return "ok"

    def _has_refused(self, job: Job, driver: str, attempt: int) -> bool:
        turns = {outcome for who, at, outcome, _ in job.asked if (who, at) == (driver, attempt)}
        return bool(turns & {"declined", "gave_up"})

    def update_etas(self, driver: str, stops: Mapping[str, tuple[int, Eta]]) -> None:
        for name, (attempt, eta) in stops.items():
            job = self.jobs[name]
            is_held = job.state in {"assigned", "at_mall", "picked_up"}
            if is_held and (job.holder, job.attempt) == (driver, attempt):
                job.eta = eta

    def give_up(self, name: str, driver: str, attempt: int) -> str:
        job = self.jobs[name]
        if self._is_holder(job, driver, attempt):
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
        if job.state in BEFORE_PICKUP and self.now - driver.lost >= self.silence_ms(job, driver):
            self._revoke(job, "silent")

    def silence_ms(self, job: Job, driver: Driver) -> int:
        """How long the holder may be silent. No driver here is around a mall before it arrives."""
        done = max(driver.lost, job.eta[1] if job.eta else 0)
        least_s = self.policy.resume_ttl_s
        limit = self.fitted(job.due - done, least_s, least_s * self.policy.silence_stretch)
        return max(limit, self.at_mall_ms) if job.state == "at_mall" else limit

    @property
    def at_mall_ms(self) -> int:
        return math.ceil(self.policy.at_mall_silence_s * 1000)

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

    def forget(self) -> None:
        """Drop offers that ended ten minutes ago; until then, answers may be repeated."""
        for name in [n for n, o in self.offers.items() if o.ended]:
            if self.offers[name].ended + ANSWER_KEPT_MS <= self.now:
                del self.offers[name]
