"""Commands of the counter of a shop: each is one transition and its effects."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Protocol

from mallard_engine.core.model import Job
from mallard_engine.dispatch.confirmed import Confirmed, ConfirmedStep
from mallard_engine.dispatch.context import ApplyEffects, Context
from mallard_engine.ports import JobPage, JobRef
from mallard_protocol.lifecycle import JobState, ShopState

_PAGE = 100


class _PageFrom(Protocol):
    async def __call__(self, *, limit: int, cursor: str | None) -> JobPage: ...


async def _all_jobs(page_from: _PageFrom) -> AsyncIterator[Job]:
    cursor: str | None = None
    while True:
        page = await page_from(limit=_PAGE, cursor=cursor)
        for job in page.jobs:
            yield job
        cursor = page.next_cursor
        if cursor is None:
            return


class ShopCommands:
    """Executes what a shop reports about itself and its jobs, and applies the effects."""

    def __init__(self, context: Context, apply_effects: ApplyEffects, confirmed: Confirmed) -> None:
        self._context = context
        self._storage = context.storage
        self._apply_effects = apply_effects
        self._confirmed = confirmed

    async def set_hours(self, mall: str, store: str, until_ms: int, actor: str) -> None:
        """See :meth:`mallard_engine.ports.Shops.set_hours`.

        Bounded by the shop's own open jobs. If the node dies before the last of them, no driver is
        searched for the others, and the shop's repeated request finishes the work.
        """
        market, shops = self._market(mall), self._storage.shops
        effects = await shops.set_hours(market, mall, store, until_ms, actor)
        self._apply_effects(market, effects)
        pickups = partial(shops.pickups, market, mall, store, since_ms=effects.now_ms)
        returns = partial(shops.returns, market, mall, store)
        for page_from in (pickups, returns):
            async for job in _all_jobs(page_from):
                applied = await shops.apply_hours(JobRef(job.id, job.mall), store, actor)
                self._apply_effects(market, applied)

    async def says(
        self, ref: JobRef, store: str, state: ShopState, parcels: int | None, actor: str
    ) -> None:
        """See :meth:`mallard_engine.ports.Jobs.shop_says`."""
        effects = await self._storage.jobs.shop_says(ref, store, state, actor, parcels)
        self._apply_effects(self._market(ref.mall), effects)

    async def hand_over(
        self, job: Job, store: str, code: str, parcels: int | None, actor: str
    ) -> None:
        """See :meth:`mallard_engine.ports.Shops.hand_over`.

        A parcel on board by custody takes the room for which its driver's live offer was made.
        """
        ref, market = JobRef(job.id, job.mall), self._market(job.mall)
        answered = await self._storage.shops.hand_over(ref, store, code, parcels, actor)
        self._apply_effects(market, answered.effects)
        redo = partial(self.hand_over, job, store, code, parcels, actor)
        done = ConfirmedStep(job.id, answered.job_state, redo, answered.driver.id, answered.attempt)
        self._confirmed.step(market, done)
        offer = answered.driver.offer
        if offer and job.state not in {JobState.ASSIGNED, JobState.AT_MALL, JobState.PICKED_UP}:
            first = await self._storage.offers.first_job(market, offer)
            if first is not None:
                withdrawn = await self._storage.offers.withdraw(first, offer, "engine")
                self._apply_effects(market, withdrawn)

    def _market(self, mall: str) -> str:
        return self._context.places.market_of_mall(mall).id
