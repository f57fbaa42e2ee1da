"""Converts the engine's data to the frames for a driver's app.

Before a driver accepts a job, it sees the job's *card*: what it needs for the decision, and nothing
that identifies the customer. The card is encoded once, when the job is submitted.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec
from msgspec import UNSET, Struct, UnsetType, structs

from mallard_engine.core.handover import handover_code
from mallard_engine.core.model import (
    TRANSFER,
    Job,
    LiveOffer,
    Need,
    OfferedJob,
    ProblemAnswer,
    Shop,
)
from mallard_engine.core.pickup.store_tour import Tour
from mallard_engine.core.places.geo import coarse
from mallard_engine.core.places.mall import Mall
from mallard_engine.gateway.orders.complete_order import (
    CompleteOrder,
    order_of,
    pay_of,
    transfer_order,
)
from mallard_engine.ports import Push, PushKind
from mallard_protocol.lifecycle import JobState
from mallard_protocol.messages import (
    Answer,
    DropOff,
    JobChanged,
    JobEta,
    MallRef,
    MeetingPoint,
    Offer,
    OfferClosed,
    ParcelLoad,
    PayAmount,
    ReturnTo,
    SocketJob,
    SocketTransfer,
    StateChanged,
    StoreVisit,
)
from mallard_protocol.resources import Pay

UNNAMED_DRIVER: Final = "driver"
"""What a driver sees of another one who has no alias."""


class Card(Struct, frozen=True, array_like=True):
    """What a driver may see of a job before accepting it.

    `arrived_ms` is when the search for a driver began, by Redis's clock; 0 if not measured.
    """

    stores: tuple[StoreVisit, ...]
    dropoff: DropOff
    parcels: ParcelLoad
    requires: tuple[str, ...]
    pay: PayAmount | None = None
    arrived_ms: int = 0
    kind: str = ""
    carries: tuple[str, ...] = ()
    proof_required: tuple[str, ...] = ()


_pack_card: Final = msgspec.msgpack.Encoder().encode
_read_card: Final = msgspec.msgpack.Decoder(Card).decode


def card(order: CompleteOrder, mall: Mall, arrived_ms: int = 0) -> bytes:
    """Return the encoded card of an order."""
    to = order.dropoff
    lat, lon = coarse(to.lat, to.lon)
    return _pack_card(
        Card(
            stores=tuple(_visits(order, mall, with_codes=False)),
            dropoff=DropOff(lat=lat, lon=lon, deadline_ms=order.deadline_ms),
            parcels=_load(order),
            requires=order.requires,
            pay=_pay(order.pay) or None,
            arrived_ms=arrived_ms,
            proof_required=order.shown_proof,
        )
    )


def transfer_card(mall: Mall, need: Need, jobs: Sequence[Job]) -> bytes:
    """Return the encoded card of a transfer of these jobs at a meeting place."""
    order = transfer_order(mall.id, need)
    return _pack_card(
        Card(
            stores=tuple(_visits(order, mall, with_codes=False)),
            dropoff=DropOff(lat=need.lat, lon=need.lon, deadline_ms=need.deadline_ms),
            parcels=_load(order),
            requires=order.requires,
            kind=TRANSFER,
            carries=tuple(job.id for job in jobs),
        )
    )


def offer_frame(offer: LiveOffer, seq: int, now_ms: int, mall: Mall) -> Offer:
    """Return the frame of an offer."""
    place = _mall_ref(mall, offer.gate)
    jobs = tuple(_short_job(job, place) for job in offer.jobs)
    return Offer(
        seq=seq,
        offer=offer.offer,
        attempt=offer.attempt,
        jobs=jobs,
        mall=place,
        eta_s=offer.eta_s,
        distance_m=offer.distance_m,
        expires_ms=offer.expires_ms,
        server_time_ms=now_ms,
        pay=_total([job.pay for job in jobs]),
    )


def arrivals_ms(offer: LiveOffer) -> tuple[int, ...]:
    """Return the arrival times of the jobs that are offered for the first time."""
    arrived = (_read_card(job.card).arrived_ms for job in offer.jobs if job.attempt == 1)
    return tuple(at_ms for at_ms in arrived if at_ms)


def full_job(
    job: Job,
    mall: Mall,
    tour: Tour,
    transfer: Job | None = None,
    alias: str | None = None,
) -> SocketJob:
    """Return the job with everything that its holder must know, its stores in tour order.

    Args:
        job: the job.
        mall: its mall.
        tour: the tour of its stores.
        transfer: the open transfer that carries it.
        alias: of the driver who comes for the transfer, if it has one.
    """
    order = order_of(job)
    shops = {shop.store: shop for shop in job.shops}
    visits = {
        visit.store: _with_state(visit, shops.get(visit.store, Shop(store=visit.store)))
        for visit in _visits(order, mall, with_codes=True)
    }
    to = order.dropoff
    return SocketJob(
        job=job.id,
        attempt=job.attempt,
        state=job.state.value,
        mall=_mall_ref(mall, tour.gate),
        stores=_in_tour_order(visits, job.need, tour),
        dropoff=DropOff(
            lat=to.lat,
            lon=to.lon,
            deadline_ms=job.deadline_ms,
            address=to.address,
            name=to.name,
            contact=to.contact,
            note=to.note,
        ),
        parcels=_load(order),
        requires=order.requires,
        eta=JobEta(pickup_ms=job.eta_pickup_ms, dropoff_ms=job.eta_dropoff_ms),
        external_id=job.external_id,
        pay=_pay(pay_of(job, order)),
        handover_code=handover_code(job.handover_key, job.attempt) or UNSET,
        on_short=order.on_short,
        on_missing=order.on_missing,
        kind=job.kind or UNSET,
        carries=job.carries or UNSET,
        transfer=_transfer(transfer, alias) if transfer else UNSET,
        on_undeliverable=order.on_undeliverable,
        return_to=_return_to(job),
        answer=_answer(job.answer),
        proof_required=order.shown_proof,
    )


def _transfer(transfer: Job, alias: str | None) -> SocketTransfer:
    return SocketTransfer(
        id=transfer.id,
        at=MeetingPoint(transfer.need.lat, transfer.need.lon),
        # No driver learns another one's id.
        alias=(alias or UNNAMED_DRIVER) if transfer.driver else None,
        eta=transfer.eta_pickup_ms,
        code=transfer.code,
    )


def in_run_order(jobs: Iterable[Job]) -> list[Job]:
    """Sort jobs by their drop-off ETA, those without one last."""
    return sorted(jobs, key=lambda job: job.eta_dropoff_ms or math.inf)


def push_frame(
    push: Push, *, now_ms: int, mall: Mall | None = None, detail: SocketJob | UnsetType = UNSET
) -> Offer | OfferClosed | JobChanged | StateChanged:
    """Return the frame of a push. The push of an offer needs its mall."""
    if push.kind is PushKind.OFFER and push.offer and mall:
        return offer_frame(push.offer, push.seq, now_ms, mall)
    if push.kind is PushKind.OFFER_CLOSED:
        return OfferClosed(seq=push.seq, offer=push.offer_id, why=push.why)
    if push.kind is PushKind.JOB:
        return JobChanged(
            seq=push.seq,
            job=push.job,
            attempt=push.attempt,
            state=push.state,
            reason=push.reason or UNSET,
            detail=detail,
            driver_state=push.driver_state or UNSET,
            answer=_answer(push.answer),
        )
    if push.kind is PushKind.STATE:
        return StateChanged(
            seq=push.seq,
            state=push.state,
            why=push.why,
            until_ms=UNSET if push.until_ms is None else push.until_ms,
        )
    raise ValueError(f"no frame for a push of kind {push.kind!r}")


def _short_job(job: OfferedJob, place: MallRef) -> SocketJob:
    seen = _read_card(job.card)
    return SocketJob(
        job=job.job,
        attempt=job.attempt,
        state=JobState.OFFERED.value,
        mall=place,
        stores=tuple(it for it in seen.stores if it.store not in job.done) or seen.stores,
        dropoff=seen.dropoff,
        parcels=seen.parcels,
        requires=seen.requires,
        eta=JobEta(pickup_ms=job.eta_pickup_ms, dropoff_ms=job.eta_dropoff_ms),
        pay=_raised(seen.pay, job.pay_minor) if seen.pay else UNSET,
        kind=seen.kind or UNSET,
        carries=seen.carries or UNSET,
        proof_required=seen.proof_required,
    )


def _mall_ref(mall: Mall, gate_id: str) -> MallRef:
    gate = mall.gates[gate_id]
    return MallRef(
        id=mall.id,
        name=mall.name,
        lat=mall.lat,
        lon=mall.lon,
        gate=gate.id,
        gate_lat=gate.lat,
        gate_lon=gate.lon,
    )


def _visits(order: CompleteOrder, mall: Mall, *, with_codes: bool) -> Iterable[StoreVisit]:
    for asked in order.pickup.stores:
        store = mall.stores[asked.store]
        yield StoreVisit(
            store=store.id,
            name=store.name,
            gate=store.gate,
            floor=store.floor,
            ready_ms=asked.ready_ms,
            parcels=asked.parcels,
            pickup_code=asked.pickup_code if with_codes else UNSET,
        )


def _in_tour_order(
    visits: Mapping[str, StoreVisit], need: Need, tour: Tour
) -> tuple[StoreVisit, ...]:
    """Return the stores to visit in the order of the tour, then those that are done."""
    ahead = dict.fromkeys(need.visits[number] for number in tour.order)
    return tuple(visits[store] for store in (*ahead, *(it for it in visits if it not in ahead)))


def _with_state(visit: StoreVisit, shop: Shop) -> StoreVisit:
    return structs.replace(visit, state=shop.state.value, collected_parcels=shop.collected)


def _load(order: CompleteOrder) -> ParcelLoad:
    load = order.parcels
    return ParcelLoad(count=load.count, weight_g=load.weight_g, volume_l=load.volume_l)


def _return_to(job: Job) -> ReturnTo | UnsetType:
    """Return where the job goes back to, once it does."""
    place = job.return_to
    if place is None or job.state is not JobState.RETURNING:
        return UNSET
    return ReturnTo(place.kind, place.mall, place.store, place.lat, place.lon, place.open_until)


def _answer(answer: ProblemAnswer | None) -> Answer | UnsetType:
    return Answer(answer.problem, answer.action, answer.text) if answer else UNSET


def _pay(pay: Pay | UnsetType) -> PayAmount | UnsetType:
    return UNSET if pay is UNSET else PayAmount(pay.amount_minor, pay.currency)


def _raised(pay: PayAmount, pay_minor: int | None) -> PayAmount:
    return pay if pay_minor is None else PayAmount(pay_minor, pay.currency)


def _total(pays: Sequence[PayAmount | UnsetType]) -> PayAmount | UnsetType:
    """Add up the pay of a run; unset unless every job has one in the same currency."""
    known = [pay for pay in pays if pay is not UNSET]
    currencies = {pay.currency for pay in known}
    if len(known) != len(pays) or len(currencies) != 1:
        return UNSET
    return PayAmount(sum(pay.amount_minor for pay in known), currencies.pop())
