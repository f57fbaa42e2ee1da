"""A model of offers: who gets one, and how it ends."""

import math
from collections.abc import Mapping, Sequence

from mallard_protocol.lifecycle import BEFORE_PICKUP, NOT_ASKED_AGAIN
from tests.properties.models.drivers import Driver
from tests.properties.models.jobs import JobModel
from tests.properties.models.records import Eta, Job, Offer

ANSWER_KEPT_MS = 600_000


class OfferModel(JobModel):
    """Adds offers to drivers and jobs."""

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

    def forget(self) -> None:
        """Drop offers that ended ten minutes ago; until then, answers may be repeated."""
        for name in [n for n, o in self.offers.items() if o.ended]:
            if self.offers[name].ended + ANSWER_KEPT_MS <= self.now:
                del self.offers[name]
