"""Plans where a job's parcels go back to, and checks whether its driver has been there."""

import secrets

from mallard_engine.core.model import Job, Position, ReturnPlan
from mallard_engine.core.places.mall import Mall
from mallard_engine.core.places.return_place import return_place
from mallard_engine.dispatch.context import ApplyEffects, Context
from mallard_engine.ports import DueEntry, DueKind, Effects, NoSuchDriver
from mallard_protocol.lifecycle import JobState

_CODE_DIGITS = 6


class Returns:
    """Plans returns in all markets. ``apply_effects`` gets the effects of due entries."""

    def __init__(self, context: Context, apply_effects: ApplyEffects) -> None:
        self._context = context
        self._store = context.storage
        self._apply_effects = apply_effects

    async def plan(self, job: Job) -> ReturnPlan | None:
        """Return where the job would go back to now; None if its mall is no longer configured.

        The code is used only if the job has none yet.
        """
        places = self._context.places
        if job.mall not in places.malls:
            return None
        now_ms = self._store.now_ms()
        holds = await self._store.jobs.holds(job.market)
        at = await self._position(job)
        here = (at.lat, at.lon) if at else (job.need.lat, job.need.lon)
        travel = self._context.travel_time(job.market)

        def arrival_ms(mall: Mall) -> int:
            return now_ms + int(travel.seconds(*here, mall.lat, mall.lon, now_ms) * 1000)

        place = return_place(
            places.market_of_mall(job.mall),
            places.mall(job.mall),
            job.need.stores,
            arrival_ms,
            {name: hold.until_ms for name, hold in holds.items() if hold.why == "store_closed"},
            job.return_to if job.state is JobState.RETURNING else None,
        )
        code = f"{secrets.randbelow(10**_CODE_DIGITS):0{_CODE_DIGITS}}"
        return ReturnPlan(place, code)

    async def is_at_place(self, job: Job, plan: ReturnPlan | None) -> bool:
        """Return whether the driver's last fix since `returning` is inside of the place's fence."""
        place = job.return_to or (plan.place if plan else None)
        mall = self._context.places.malls.get(place.mall) if place else None
        at = await self._position(job)
        if mall is None or at is None or at.at_ms < job.returning_since_ms:
            return False
        return mall.holds(at.lat, at.lon)

    async def due(self, entry: DueEntry) -> Effects | None:
        """Apply the rule of a job that waits at the door, or look at the place of one again."""
        job = await self._store.jobs.get(entry.id)
        plan = await self.plan(job)
        if entry.kind is DueKind.DOOR:
            return await self._store.returns.act_at_door(entry, job.attempt, plan)
        return await self._store.returns.set_place(entry, job.attempt, plan) if plan else None

    async def arrived(self, market: str, job: Job, mall: str) -> None:
        """Note that a fix of the job's holder lies inside of a mall."""
        if job.state is JobState.RETURNING and job.return_to and job.return_to.mall == mall:
            self._apply_effects(market, await self._store.returns.note_at_place(job, mall))

    async def _position(self, job: Job) -> Position | None:
        if job.driver is None:
            return None
        try:
            snapshot = await self._store.drivers.snapshot(job.market, job.driver)
        except NoSuchDriver:
            return None
        return snapshot.driver.position
