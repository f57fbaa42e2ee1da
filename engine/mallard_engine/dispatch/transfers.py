"""Begins transfers: parcels on board go to another driver, for an operator or after a breakdown.

The storage makes the transfer in one step from what was read before, and refuses it if that has
changed. From then on it is a job like others: the rounds of its meeting place look for a driver.
"""

import secrets
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from mallard_engine.core.job_ids import new_job_id
from mallard_engine.core.model import Job, Need
from mallard_engine.core.places.meeting import STORE, meeting_id
from mallard_engine.dispatch.context import ApplyEffects, Context, Tasks
from mallard_engine.ports import (
    DriverSnapshot,
    Effects,
    NoSuchDriver,
    StoreUnavailable,
    TransferOpen,
    TransferPlan,
)
from mallard_protocol.lifecycle import ON_BOARD

_log = structlog.get_logger(__name__)

# Without a second driver after this time, the first keeps the parcels.
LASTS_MS: Final = 3_600_000
# Attempts to begin one while the jobs of its driver keep changing.
_MAX_TRIES: Final = 8
_CODE_DIGITS: Final = 6
# A transfer has priority over every order: a driver waits on the road.
_PRIORITY: Final = 100
_ENGINE: Final = "engine"

# Returns what a driver may see of a transfer before accepting: its market's meeting place, what it
# needs, and the jobs that it carries.
Card = Callable[[str, Need, Sequence[Job]], bytes]


class NotOnBoard(Exception):
    """The driver does not have this job on board; ``place``: its index in the request."""

    def __init__(self, place: int) -> None:
        super().__init__(place)
        self.place = place


class NothingOnBoard(Exception):
    """The driver has nothing to hand over."""


class Transfers:
    """Begins transfers and applies their effects.

    Attributes:
        card: Makes the card of a transfer. The gateway sets it, as it makes those of orders.
    """

    def __init__(self, context: Context, tasks: Tasks, apply_effects: ApplyEffects) -> None:
        self.card: Card = lambda _mall, _need, _jobs: b"{}"
        self._context = context
        self._tasks = tasks
        self._apply_effects = apply_effects

    async def begin(
        self,
        market: str,
        first: str,
        *,
        jobs: Sequence[str] | None,
        driver: str | None,
        at: tuple[float, float] | None,
        actor: str,
    ) -> Job:
        """Begin a transfer for an operator; return its job.

        If exactly these jobs are in an open transfer already, that one is returned.

        Args:
            market: The market.
            first: The driver who hands over.
            jobs: The jobs; None: all on board.
            driver: Who takes them over; None: the best who has room.
            at: Where they meet (latitude, longitude); None: at the last position.
            actor: Who asks for it.

        Raises:
            NoSuchDriver: The market has no such driver.
            NotOnBoard: The first driver does not have a job on board.
            NothingOnBoard: It has none.
            DriverUnavailable: The second driver cannot take them now.
            TransferOpen: Another transfer carries one of them.
        """
        for _ in range(_MAX_TRIES):
            snapshot = await self._context.storage.drivers.snapshot(market, first)
            carried = _carried(snapshot, jobs)
            plan = self._plan(market, snapshot, carried, at, actor, driver)
            try:
                effects = await self._context.storage.transfers.begin(market, plan)
            except TransferOpen as other:
                known = await self._context.storage.jobs.get(other.transfer)
                if set(known.carries) == {job.id for job in carried} and driver in {
                    None,
                    known.driver,
                }:
                    return known
                raise
            if effects is not None:
                await self._begun(market, snapshot, effects)
                _log.info("transfer begun", market=market, job=plan.job, jobs=len(carried))
                self._context.metrics.transfer("begun")
                return await self._context.storage.jobs.get(plan.job)
        raise StoreUnavailable(f"the jobs of {first} changed each time")

    def hand_over_soon(self, market: str, driver: str, why: str) -> None:
        """Begin the transfer that a driver's breakdown, or the end of its block, asks for."""
        self._tasks.start(self._hand_over(market, driver, why), f"transfer of {driver}")

    async def _hand_over(self, market: str, driver: str, why: str) -> None:
        try:
            for _ in range(_MAX_TRIES):
                snapshot = await self._context.storage.drivers.snapshot(market, driver)
                on_board = [
                    job
                    for job in snapshot.jobs
                    if job.state in ON_BOARD and snapshot.transfer_of(job) is None
                ]
                until_ms = snapshot.driver.until_ms
                if why == "block_ends" and until_ms is not None:
                    on_board = [job for job in on_board if _is_late(job, until_ms)]
                pauses = why != "block_ends" or bool(on_board)
                plan = self._plan(market, snapshot, on_board, None, _ENGINE, None, pauses=pauses)
                effects = await self._context.storage.transfers.begin(market, plan)
                if effects is not None:
                    await self._begun(market, snapshot, effects)
                    if on_board:
                        self._context.metrics.transfer("begun")
                    return
        except (NoSuchDriver, StoreUnavailable, TransferOpen) as error:
            # The driver's due entry asks for it again.
            _log.debug("transfer not begun", driver=driver, error=repr(error))

    async def _begun(self, market: str, snapshot: DriverSnapshot, effects: Effects) -> None:
        """Apply the effects; withdraw a live offer of the first driver, who is paused."""
        self._apply_effects(market, effects)
        offer, offers = snapshot.driver.offer, self._context.storage.offers
        if offer is not None and (ref := await offers.first_job(market, offer)):
            self._apply_effects(market, await offers.withdraw(ref, offer, _ENGINE))

    def _plan(
        self,
        market: str,
        snapshot: DriverSnapshot,
        carried: Sequence[Job],
        at: tuple[float, float] | None,
        actor: str,
        driver: str | None,
        *,
        pauses: bool = True,
    ) -> TransferPlan:
        now_ms = self._context.storage.now_ms()
        lat, lon = at or self._place(market, snapshot)
        mall = meeting_id(market, lat, lon)
        need = _need(carried, lat, lon, now_ms)
        code = secrets.randbelow(10**_CODE_DIGITS)
        return TransferPlan(
            job=new_job_id(market, now_ms, secrets.randbits(80)),
            mall=mall,
            first=snapshot.driver.id,
            carries=tuple(carried),
            held=snapshot.jobs,
            need=need,
            card=self.card(mall, need, carried),
            code=f"{code:0{_CODE_DIGITS}}",
            actor=actor,
            driver=driver,
            pauses=pauses,
        )

    def _place(self, market: str, snapshot: DriverSnapshot) -> tuple[float, float]:
        """Return where the driver was last seen; without any position, a mall of its jobs."""
        position = snapshot.driver.position
        if position is not None:
            return position.lat, position.lon
        places = self._context.places
        malls = [places.mall(job.mall) for job in snapshot.jobs if places.knows(job.mall)]
        malls += places.market(market).malls.values()
        return malls[0].lat, malls[0].lon


def _carried(snapshot: DriverSnapshot, jobs: Sequence[str] | None) -> list[Job]:
    """Return the jobs to hand over. Raises `NotOnBoard`, `NothingOnBoard`."""
    on_board = {job.id: job for job in snapshot.jobs if job.state in ON_BOARD}
    for place, job in enumerate(jobs or ()):
        if job not in on_board:
            raise NotOnBoard(place)
    if not on_board:
        raise NothingOnBoard
    return [on_board[job] for job in dict.fromkeys(jobs or on_board)]


def _is_late(job: Job, until_ms: int) -> bool:
    """Return whether the driver may still have the job at that time."""
    return job.eta_dropoff_ms is None or job.eta_dropoff_ms > until_ms


def _need(carried: Sequence[Job], lat: float, lon: float, now_ms: int) -> Need:
    """Return what the second driver's vehicle must have room for."""
    ends_ms = now_ms + LASTS_MS
    needs = [job.need for job in carried]
    return Need(
        stores=(STORE,),
        ready_ms=now_ms,
        deadline_ms=ends_ms,
        expires_ms=ends_ms,
        lat=lat,
        lon=lon,
        parcels=sum(need.parcels for need in needs),
        weight_g=sum(need.weight_g for need in needs),
        volume_l=sum(need.volume_l for need in needs),
        requires=tuple(sorted({item for need in needs for item in need.requires})),
        priority=_PRIORITY,
        created_ms=now_ms,
        jobs=max(len(needs), 1),
    )
