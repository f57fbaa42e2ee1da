"""Removes what is known of a customer from ended jobs; their figures stay."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from msgspec import UNSET, structs

from mallard_engine.core.model import Job
from mallard_engine.core.places.geo import coarse
from mallard_engine.gateway.orders.complete_order import order_of
from mallard_engine.gateway.services import Services

# A customer has a few orders a day, which are kept for days: this bounds a reference that a service
# uses for all of its customers. The rest follows with the next request.
_MOST_JOBS: Final = 500


@dataclass(frozen=True, slots=True)
class Erased:
    """How many jobs were erased, which are still open, and whether there are more."""

    count: int
    open_jobs: tuple[str, ...]
    has_more: bool


async def erase_customer(
    services: Services, ref: str, markets: Iterable[str], *, service: str | None, actor: str
) -> Erased:
    """Remove a customer from its ended jobs.

    Args:
        services: the node.
        ref: the customer, as orders name it.
        markets: where its jobs are.
        service: whose jobs; None: all services'.
        actor: who asks for it.
    """
    count, open_jobs, has_more = 0, [], False
    for market in markets:
        jobs = await services.store.changes.of_customer(
            market, ref, service=service, limit=_MOST_JOBS
        )
        has_more = has_more or len(jobs) == _MOST_JOBS
        for job in jobs:
            if await _erase(services, job, ref, actor):
                count += 1
            else:
                open_jobs.append(job.id)
    return Erased(count, tuple(open_jobs), has_more)


async def _erase(services: Services, job: Job, ref: str, actor: str) -> bool:
    if not job.terminal:
        return False
    await services.store.proofs.erase(job.id)  # the images
    order = order_of(job)
    lat, lon = coarse(order.dropoff.lat, order.dropoff.lon)
    dropoff = structs.replace(
        order.dropoff,
        lat=lat,
        lon=lon,
        **dict.fromkeys(("address", "name", "contact", "note", "pin", "customer_ref"), UNSET),
    )
    return await services.dispatcher.orders.erase(
        job,
        body=structs.replace(order, dropoff=dropoff).body,
        need=replace(job.need, lat=lat, lon=lon),
        ref=ref,
        actor=actor,
    )
