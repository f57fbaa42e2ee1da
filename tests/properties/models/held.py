"""A model of held jobs: progress, custody, estimates, silence."""

import math
from collections.abc import Mapping

from mallard_engine.core.pickup.dwell_estimate import DwellSketch
from mallard_protocol.lifecycle import BEFORE_PICKUP, TERMINAL
from tests.properties.models.drivers import Driver
from tests.properties.models.offers import OfferModel
from tests.properties.models.records import DONE, FROM, REFUSED, Eta, Job

# The shop of every job here.
STORE = "lego"


class HeldModel(OfferModel):
    """Adds what a holder does with its job."""

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
