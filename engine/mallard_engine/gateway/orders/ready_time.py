"""A store's parcels are ready at another time: a shop says so, or the driver who is there."""

from datetime import datetime

from mallard_engine.core.model import Job
from mallard_engine.gateway.http.endpoints.job_access import ref_of
from mallard_engine.gateway.orders.intake import InvalidOrder, Order, with_ready_at
from mallard_engine.gateway.orders.stored_order import order_request
from mallard_engine.gateway.services import Services
from mallard_engine.gateway.timestamps import utc
from mallard_engine.ports import NoSuchJob, WrongState
from mallard_protocol.lifecycle import BEFORE_PICKUP

# Another change of the same job may come between reading it and writing it, but hardly so often.
MAX_TRIES = 5


async def change_ready(services: Services, job: Job, store: str, ready_at: datetime) -> bool:
    """Move the time at which a store's parcels are ready; False if the job has changed meanwhile.

    :raises WrongState: :raises InvalidOrder:
    """
    if job.state not in BEFORE_PICKUP:
        raise WrongState(job.state)
    mall = services.places.mall(job.mall)
    now_ms = services.store.now_ms()
    order = with_ready_at(
        Order(order_request(job), mall, job.need), store, ready_at, now_ms, is_held=job.held
    )
    return await services.dispatcher.ready(
        ref_of(job),
        was=job,
        body=order.body,
        card=order.card(),
        need=order.need,
        release_ms=services.dispatcher.release_ms(mall.id, order.need, now_ms),
    )


async def hold_parcels(
    services: Services, job_id: str, driver: str, store: str, until_ms: int
) -> None:
    """A driver stands before a store whose parcels it will get no sooner than then: its visit comes
    when they are there, and the others of the job before it. Nothing, if it holds the job no more
    or nothing of it is at that store."""
    for _ in range(MAX_TRIES):
        try:
            job = await services.store.jobs.get(job_id)
            if job.driver != driver or await change_ready(services, job, store, utc(until_ms)):
                return
        except (InvalidOrder, NoSuchJob, WrongState):
            return
