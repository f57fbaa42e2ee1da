"""Makes a new order of a returned job, whose parcels wait where they were brought back to."""

import secrets
from dataclasses import replace

from msgspec import UNSET, structs

from mallard_engine.core.job_ids import new_job_id
from mallard_engine.core.model import Job, ReturnPlace
from mallard_engine.gateway.orders.complete_order import CompleteOrder, order_of
from mallard_engine.gateway.orders.intake import InvalidOrder, read_order, submission_of
from mallard_engine.gateway.services import Services
from mallard_engine.gateway.tracking import new_token
from mallard_engine.ports import Effects, NoSuchJob, Submitted, WrongState
from mallard_protocol.lifecycle import JobState
from mallard_protocol.resources import (
    DropoffRequest,
    FieldError,
    JobRequest,
    ParcelsRequest,
    Pickup,
    PickupStore,
    RedeliverRequest,
)

# A redelivery that ended like this has left the parcels where they were.
_NOT_CARRIED = frozenset({JobState.CANCELLED, JobState.EXPIRED, JobState.FAILED})


async def redeliver(services: Services, job: Job, asked: RedeliverRequest) -> Submitted:
    """Submit the redelivery of a job, or return the one that there is already.

    Redis decides in one step, so that two requests, or one that is repeated after a crash, make
    one job.

    Raises:
        WrongState: the job is not returned.
        InvalidOrder: nothing came back, or see `intake.read_order`.
    """
    if job.state is not JobState.RETURNED:
        raise WrongState(job.state)
    earlier = await _earlier(services, job)
    if earlier is not None and earlier.state not in _NOT_CARRIED:
        return Submitted(earlier, replayed=True, effects=Effects())
    place = await services.dispatcher.orders.return_place(job)
    if place is None:
        raise _impossible(job, "its place is no longer served")
    if job.is_erased and asked.dropoff is UNSET:
        error = FieldError("/dropoff", "missing: the customer's data of this job has been removed")
        raise InvalidOrder((error,), job.market, closed=False)
    if not _came_back(job):
        raise _impossible(job, "no parcel came back")
    now_ms = services.store.now_ms()
    try:
        orders = services.dispatcher.orders
        request = _request(job, place, asked)
        valid = read_order(request, services.places, orders.preset, now_ms)
    except InvalidOrder as invalid:
        errors = tuple(_at_own_pointer(error) for error in invalid.errors)
        raise InvalidOrder(errors, invalid.market, closed=invalid.is_closed) from None
    new_id = new_job_id(job.market, now_ms, secrets.randbits(80))
    release_ms = services.dispatcher.orders.release_ms(valid.mall.id, valid.need, now_ms)
    submission = submission_of(
        valid,
        job=new_id,
        service=job.service,
        # No client's key has a control character: the id makes it unique.
        key=f"\0redelivery/{new_id}",
        body_hash="redelivery",
        release_ms=release_ms,
        now_ms=now_ms,
        handover_key=secrets.token_hex(8),
        tracking=new_token(),
    )
    replaces = earlier.id if earlier else ""
    return await services.dispatcher.orders.submit(
        replace(submission, redelivery_of=job.id, replaces=replaces)
    )


async def _earlier(services: Services, job: Job) -> Job | None:
    if job.redelivered_as is None:
        return None
    try:
        return await services.store.jobs.get(job.redelivered_as)
    except NoSuchJob:  # its record has been deleted
        return None


def _impossible(job: Job, why: str) -> InvalidOrder:
    return InvalidOrder((FieldError("", why),), job.market, closed=False)


def _came_back(job: Job) -> int:
    """Return how many parcels the shops had handed over.

    Nothing is known of the shops of a job that an earlier version let collect: then all.
    """
    if not job.shops:
        return sum(store.parcels for store in order_of(job).pickup.stores)
    return sum(shop.collected for shop in job.shops)


def _load(job: Job, order: CompleteOrder) -> ParcelsRequest:
    """Return the load. Which parcels are missing is unknown: weight and volume stay as ordered."""
    count = _came_back(job)
    if count == sum(store.parcels for store in order.pickup.stores):
        return order.parcels
    return structs.replace(order.parcels, count=count)


def _request(job: Job, place: ReturnPlace, asked: RedeliverRequest) -> JobRequest:
    order = order_of(job)
    return JobRequest(
        pickup=Pickup(place.mall, (PickupStore(place.store, parcels=_came_back(job)),)),
        dropoff=_dropoff(order, asked),
        external_id=order.external_id,
        parcels=_load(job, order),
        requires=order.requires,
        priority=order.priority,
        pay=order.pay,
        metadata=order.metadata,
        service_level=job.need.service_level or UNSET,
        on_short=order.on_short,
        on_missing=order.on_missing,
        hold_s=order.hold_s,
        on_undeliverable=order.on_undeliverable,
        proof_required=order.proof_required,
    )


def _dropoff(order: CompleteOrder, asked: RedeliverRequest) -> DropoffRequest:
    was, new = order.dropoff, asked.dropoff
    kept = {name: getattr(was, name) for name in ("name", "contact", "pin", "customer_ref")}
    if new is UNSET:
        kept |= {name: getattr(was, name) for name in ("lat", "lon", "address", "note")}
    else:
        kept = {
            name: value if (given := getattr(new, name)) is UNSET else given
            for name, value in kept.items()
        }
        kept |= {name: getattr(new, name) for name in ("lat", "lon", "address", "note")}
    return DropoffRequest(**kept, deadline=asked.deadline)


def _at_own_pointer(error: FieldError) -> FieldError:
    """Point at the deadline as this body has it."""
    if error.pointer == "/dropoff/deadline":
        return structs.replace(error, pointer="/deadline")
    return error
