"""Reassigns a job whose holder may come late, once a better driver is found.

A holder is late if it is silent, or stuck: connected, but expected at the gate `stuck_after_s`
later than promised when it accepted. A market that sets neither time reassigns nothing.

While a holder on its way is silent, from the market's `break_after_s` to its `resume_ttl_s`, the
sweeper looks every ten seconds for a free driver who would be at the gate before the holder, even
if it answers its offer at the last moment. Only then the job moves, in one step of the storage.
Otherwise it stays with its holder until its limit of silence (`core/matching/patience.py`). A
holder around the mall keeps it in any case: there is no reception in a garage.
"""

import structlog

from mallard_engine.core.matching.ranking import Matcher, Ranking, offerable
from mallard_engine.core.matching.reassignment import earlier, expected_ms, has_slipped
from mallard_engine.core.matching.search_policy import first_search
from mallard_engine.core.model import Asked, Job, RoundRecord
from mallard_engine.core.pickup.pickup_plan import job_tour
from mallard_engine.core.places.geofence import is_around
from mallard_engine.dispatch.context import ApplyEffects, Context
from mallard_engine.ports import (
    DriverSnapshot,
    Found,
    LateJob,
    NoSuchDriver,
    OfferPlan,
    PlannedJob,
    StoreUnavailable,
)
from mallard_protocol.lifecycle import Outcome

_log = structlog.get_logger(__name__)


class Reassignments:
    """Finds better drivers for late jobs.

    ``apply_effects`` is called with the effects of each offer.
    """

    def __init__(self, context: Context, apply_effects: ApplyEffects) -> None:
        self._context = context
        self._apply_effects = apply_effects

    async def look(self, market: str, late: LateJob) -> None:
        """Offer the job to a driver who arrives earlier, if there is one."""
        try:
            snapshot = await self._context.storage.drivers.snapshot(market, late.driver)
            if (job := _still_late(snapshot, late)) is not None:
                await self._look(market, late, snapshot, job)
        except (NoSuchDriver, StoreUnavailable) as error:
            # Its due entry remains, so a later sweep checks again.
            _log.debug("late job not checked", job=late.job, error=str(error))

    async def _look(self, market: str, late: LateJob, snapshot: DriverSnapshot, job: Job) -> None:
        mall, position = self._context.places.malls.get(late.mall), snapshot.driver.position
        if mall is None or position is None:
            return
        if late.lost_ms and is_around(mall, position.lat, position.lon):
            return  # in the mall's garage without reception: it has most likely arrived
        policy, travel = self._context.policy(market), self._context.travel_time(market)
        service_time = self._context.service_time(market)
        if late.lost_ms == 0:
            tour = job_tour(mall, job.need, service_time, snapshot.now_ms)
            due_ms = expected_ms(position, mall.gates[tour.gate], snapshot.now_ms, travel)
            # Compare with the promised time: the expected time moves along with a driver who stands
            # still.
            if not has_slipped(due_ms, job.promised_ms, tour.collect_ms, policy.stuck_after_s):
                return
        search = first_search(None, policy)
        found = await self._context.storage.offers.candidates(
            market,
            mall.id,
            mall.lat,
            mall.lon,
            radius_m=search.radius_m,
            max_radius_m=policy.max_radius_m,
            drivers=search.drivers,
            jobs=0,
        )
        outcome = Outcome.SILENT if late.lost_ms else Outcome.UNASSIGNED
        turn = Asked(late.driver, late.attempt, outcome, found.now_ms)
        matcher = Matcher(mall, found.near, found.now_ms, policy, travel, service_time)
        ranking = matcher.rank(job.need, (*job.asked, turn))
        if not ranking:
            return
        gate = mall.gates[ranking[0].gate]
        holder_ms = expected_ms(position, gate, found.now_ms, travel)
        better = earlier(offerable(ranking), holder_ms, found.now_ms, policy.offer_timeout_ms)
        if better:
            await self._reassign(market, late, better, found)

    async def _reassign(self, market: str, late: LateJob, better: Ranking, found: Found) -> None:
        # The attempt rises twice: when the job is taken off its holder, and when it is offered.
        record = RoundRecord(
            job=late.job,
            round=late.attempt + 2,
            at_ms=found.now_ms,
            radius_m=round(found.radius_m),
            capped=False,
            candidates=better,
        )
        plan = OfferPlan(
            offer=self._context.runtime.new_offer_id(),
            mall=late.mall,
            jobs=(PlannedJob(late.job, late.attempt, record),),
            drivers=better,
        )
        offered = await self._context.storage.offers.reassign(late, plan)
        if offered.verdict == "offered":
            _log.info("late job reassigned", job=late.job, holder=late.driver)
            self._context.metrics.offer("offered")
            self._apply_effects(market, offered.effects)


def _still_late(snapshot: DriverSnapshot, late: LateJob) -> Job | None:
    """Return the job if its holder is still late and holds it under the same attempt."""
    driver = snapshot.driver
    if driver.connected != (late.lost_ms == 0):
        return None
    if late.lost_ms and driver.lost_ms != late.lost_ms:
        return None
    held = [job for job in snapshot.jobs if (job.id, job.attempt) == (late.job, late.attempt)]
    return held[0] if held else None
