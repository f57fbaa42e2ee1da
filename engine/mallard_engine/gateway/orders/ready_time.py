"""Changes the ready time of a store's parcels, as a shop or the driver at the store reports it."""

from datetime import datetime
from typing import Final

from mallard_engine.core.model import TRANSFER, Job
from mallard_engine.gateway.orders.complete_order import order_of
from mallard_engine.gateway.orders.intake import InvalidOrder, ValidOrder, with_ready_at
from mallard_engine.gateway.services import Services
from mallard_engine.gateway.timestamps import CLOCK_SKEW_MS, epoch_ms, utc
from mallard_engine.ports import JobRef, NoSuchJob, WrongState
from mallard_protocol.lifecycle import BEFORE_PICKUP, JobState

# The job may be changed between reading and writing it; five times in a row is not expected.
MAX_TRIES: Final = 5


async def change_ready(
    services: Services,
    job: Job,
    store: str,
    ready_at: datetime,
    actor: str,
    *,
    by_shop: bool = True,
) -> bool:
    """Set the ready time of a store's parcels; return False if the job has changed meanwhile.

    Args:
        services: the node.
        job: the job as it was read.
        store: the store.
        ready_at: when its parcels are ready.
        actor: who says so.
        by_shop: the shop or the order service says so, which ends the job's hold for this store;
            else a driver.

    Raises:
        WrongState: that store's parcels are on board, or the job has ended.
        InvalidOrder: see `intake.with_ready_at`.
    """
    may_follow = by_shop and job.state is JobState.PICKED_UP
    if (job.state not in BEFORE_PICKUP and not may_follow) or job.kind == TRANSFER:
        raise WrongState(job.state)
    mall = services.places.mall(job.mall)
    now_ms = services.store.now_ms()
    stored = ValidOrder(order_of(job), mall, job.need)
    changed = with_ready_at(stored, store, ready_at, now_ms, is_held=job.held)
    return await services.dispatcher.orders.ready(
        JobRef(job.id, job.mall),
        was=job,
        body=changed.order.body,
        card=changed.card(),
        need=changed.need,
        release_ms=services.dispatcher.orders.release_ms(mall.id, changed.need, now_ms),
        actor=actor,
        said=store if by_shop else None,
        # Without the skew, the shop of a caller who says "ready now" would stay `waiting`: nothing
        # changes its state when the ready time comes.
        is_ready=epoch_ms(ready_at) <= now_ms + CLOCK_SKEW_MS,
    )


async def hold_parcels(
    services: Services, job_id: str, driver: str, store: str, until_ms: int
) -> None:
    """Postpone a store's parcels to the time that the driver at the store reports.

    The driver visits the job's other stores first. Does nothing if the driver no longer holds the
    job, or if the job has no parcels at that store.
    """
    for _ in range(MAX_TRIES):
        try:
            job = await services.store.jobs.get(job_id)
            if job.driver != driver or await change_ready(
                services, job, store, utc(until_ms), driver, by_shop=False
            ):
                return
        except (InvalidOrder, NoSuchJob, WrongState):
            return
