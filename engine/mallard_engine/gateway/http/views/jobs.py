"""Jobs, as order services, operators and counters of shops see them; rounds and quotes."""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final

from msgspec import UNSET, UnsetType, structs

from mallard_engine.core import model
from mallard_engine.gateway.http.driver_names import DriverNames
from mallard_engine.gateway.orders.complete_order import CompleteOrder, order_of, pay_of
from mallard_engine.gateway.timestamps import Moment, moment_or_none
from mallard_protocol import resources
from mallard_protocol.codes import WhyNot
from mallard_protocol.lifecycle import ShopState
from mallard_protocol.messages import MeetingPoint

Namer = Callable[[str], str]
# How long a quote is worth something: drivers move, and other orders come.
_QUOTE_MS: Final = 300_000


def held_view(
    need: model.Need, mall: str, holds: Mapping[str, model.StoreHold], now_ms: int
) -> resources.Held | None:
    """Return the hold on the job's stores that ends last; None if none is held."""
    held = [(holds[place], store) for store in need.stores if (place := f"{mall}/{store}") in holds]
    hold, store = max(held, default=(model.StoreHold(0, ""), ""))
    if hold.until_ms <= now_ms:
        return None
    return resources.Held(hold.why, "store", store, Moment.at_ms(hold.until_ms))


def job_hold_view(hold: model.JobHold) -> resources.Held:
    """Return why the job itself is held."""
    return resources.Held(hold.why, "store", hold.store, Moment.at_ms(hold.until_ms))


def closed_stores(
    need: model.Need, mall: str, holds: Mapping[str, model.StoreHold], now_ms: int
) -> frozenset[str]:
    """Return which of the job's stores are closed by their own word."""
    words = {store: holds.get(f"{mall}/{store}") for store in need.stores}
    return frozenset(store for store, hold in words.items() if hold and hold.own_word_ms > now_ms)


def pickup_view(
    job: model.Job, order: CompleteOrder, closed: Collection[str] = ()
) -> resources.PickupView:
    """Return where the job is collected, with what is known of its parcels.

    Args:
        job: the job.
        order: its order.
        closed: its stores that are closed by their own word.
    """
    known = {shop.store: shop for shop in job.shops}
    shops = []
    for asked in order.pickup.stores:
        shop = known.get(asked.store, model.Shop(store=asked.store))
        shops.append(
            resources.ShopView(
                store=asked.store,
                ready_at=asked.ready_at,
                parcels=asked.parcels,
                pickup_code=asked.pickup_code,
                state=_shop_state(job, shop, closed).value,
                collected_parcels=shop.collected,
            )
        )
    return resources.PickupView(order.pickup.mall, tuple(shops), order.pickup.window_end)


def _shop_state(job: model.Job, shop: model.Shop, closed: Collection[str]) -> ShopState:
    is_to_collect = not job.terminal and shop.state in {ShopState.WAITING, ShopState.READY}
    return ShopState.CLOSED if is_to_collect and shop.store in closed else shop.state


def job_view(
    job: model.Job,
    names: DriverNames,
    held: resources.Held | None = None,
    transfer: model.Job | None = None,
    *,
    with_code: bool = False,
    with_timeline: bool = True,
    closed: Collection[str] = (),
    public_url: str = "",
) -> resources.Job:
    """Return a job as its order service and operators see it.

    Args:
        job: the job.
        names: by which the reader knows drivers.
        held: the hold on its stores.
        transfer: the open transfer that carries it.
        with_code: whether the reader may see the code of a transfer.
        with_timeline: whether to show its changes.
        closed: its stores that are closed by their own word.
        public_url: what its links start with.
    """
    order = order_of(job)
    return resources.Job(
        id=job.id,
        market=job.market,
        state=job.state,
        terminal=job.terminal,
        attempt=job.attempt,
        driver=names.driver(job),
        reason=job.reason,
        created_at=Moment.at_ms(job.created_ms),
        updated_at=Moment.at_ms(job.updated_ms),
        expires_at=Moment.at_ms(job.expires_ms),
        eta=resources.Eta(moment_or_none(job.eta_pickup_ms), moment_or_none(job.eta_dropoff_ms)),
        timeline=tuple(
            resources.TimelineEntry(
                it.state,
                Moment.at_ms(it.at_ms),
                names.actor(job, it),
                it.cause,
                Moment.at_ms(it.occurred_ms or it.at_ms),
            )
            for it in (job.timeline if with_timeline else ())
        ),
        pickup=pickup_view(job, order, closed),
        # The customer gives the PIN to the driver; no reader of the job sees it.
        dropoff=structs.replace(order.dropoff, pin=UNSET),
        parcels=order.parcels,
        requires=order.requires,
        priority=order.priority,
        external_id=order.external_id,
        pay=pay_of(job, order),
        metadata=order.metadata,
        service_level=job.need.service_level or UNSET,
        held=job_hold_view(job.hold) if job.hold else held,
        on_short=order.on_short,
        on_missing=order.on_missing,
        hold_s=order.hold_s,
        risk=UNSET if job.terminal else job.risk,
        proofs=tuple(map(_proof_view, job.proofs)),
        problems=tuple(_problem_view(it, job) for it in job.problems),
        transfer=_transfer_view(transfer, names, with_code=with_code) if transfer else None,
        on_undeliverable=order.on_undeliverable,
        delivery_attempts=job.delivery_attempts,
        return_to=_return_view(job.return_to),
        cancel_requested=job.cancel_requested,
        cancelled_by=job.cancelled.by if job.cancelled else None,
        cancel_reason=job.cancelled.reason if job.cancelled else None,
        cancel_note=(job.cancelled.note or None) if job.cancelled else None,
        cancel_stage=job.cancelled.stage if job.cancelled else None,
        redelivery_of=job.redelivery_of,
        proof_required=order.shown_proof,
        tracking_url=f"{public_url}/track/{job.tracking}" if job.tracking else None,
        **_own_fields(job),
    )


def _own_fields(job: model.Job) -> dict[str, Any]:
    """Return the further fields of a transfer, which operators alone can read."""
    if job.kind != model.TRANSFER:
        return {}
    return {"kind": job.kind, "carries": job.carries, "first": job.first, "code": job.code}


def _transfer_view(
    transfer: model.Job, names: DriverNames, *, with_code: bool
) -> resources.Transfer:
    return resources.Transfer(
        id=transfer.id,
        at=MeetingPoint(transfer.need.lat, transfer.need.lon),
        alias=names.driver(transfer),
        eta=moment_or_none(transfer.eta_pickup_ms),
        code=transfer.code if with_code else UNSET,
    )


def _proof_view(proof: model.GivenProof) -> resources.ProofView:
    return resources.ProofView(
        kind=proof.kind,
        step=proof.step,
        at=Moment.at_ms(proof.at_ms),
        value=proof.value or UNSET,
        reported_at=_optional_moment(proof.reported_ms),
    )


def _return_view(place: model.ReturnPlace | None) -> resources.ReturnPlaceView | None:
    if place is None:
        return None
    until = moment_or_none(place.open_until)
    return resources.ReturnPlaceView(
        place.kind, place.mall, place.store, place.lat, place.lon, until
    )


def _problem_view(problem: model.ReportedProblem, job: model.Job) -> resources.ReportedProblem:
    given = problem.answer
    return resources.ReportedProblem(
        id=problem.id,
        kind=problem.kind,
        text=problem.text,
        at=Moment.at_ms(problem.at_ms),
        until=moment_or_none(problem.until_ms),
        # No transition resolves the problems of a job that ends.
        state="resolved" if job.terminal else problem.state,
        store=problem.store or UNSET,
        reported_at=_optional_moment(problem.reported_ms),
        answer=resources.ProblemAnswer(
            given.action, given.text, Moment.at_ms(given.at_ms), given.actor
        )
        if given
        else UNSET,
    )


def _optional_moment(epoch_ms: int | None) -> Moment | UnsetType:
    return UNSET if epoch_ms is None else Moment.at_ms(epoch_ms)


class Numbered:
    """Names drivers in the order of their first call: `driver-1`, `driver-2`, ….

    An order service learns how many drivers got an offer and what they answered, not who they are.
    """

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def __call__(self, driver: str) -> str:
        """Return the driver's name, a new one on the first call."""
        return self._names.setdefault(driver, f"driver-{len(self._names) + 1}")


def explanation_view(
    job: model.Job,
    record: model.RoundRecord | None,
    name: Namer = str,
    held: resources.Held | None = None,
) -> resources.Explanation:
    """Explain a job's match.

    The drivers who got an offer are named first, so their numbers do not change in later rounds.
    """
    reasons: dict[tuple[str, int], str | UnsetType] = {
        (each.driver, each.attempt): each.text for each in job.reasons
    }
    asked = tuple(
        resources.Asked(
            driver=name(turn.driver),
            attempt=turn.attempt,
            outcome=turn.outcome,
            at=Moment.at_ms(turn.at_ms),
            reason=reasons.get((turn.driver, turn.attempt), UNSET),
        )
        for turn in job.asked
    )
    eta = resources.Eta(moment_or_none(job.eta_pickup_ms), moment_or_none(job.eta_dropoff_ms))
    record = record or model.RoundRecord(job.id, 0, 0, 0, capped=False)
    return resources.Explanation(
        job=job.id,
        round=record.round,
        at=Moment.at_ms(record.at_ms) if record.at_ms else None,
        radius_m=record.radius_m,
        capped=record.capped,
        candidates=candidate_views(record.candidates, name),
        asked=asked,
        run_jobs=max(1, len(record.run)),
        run_why=record.why or None,
        held_until=Moment.at_ms(record.held_until_ms) if record.held_until_ms else None,
        eta=eta,
        held=held,
        risk=UNSET if job.terminal else job.risk,
        pay=UNSET if job.kind == model.TRANSFER else pay_of(job, order_of(job)),
        policy_version=record.policy,
    )


def candidate_views(
    candidates: Iterable[model.RankedDriver], name: Namer = str
) -> tuple[resources.Candidate, ...]:
    """Return the drivers of a round, best first."""
    return tuple(
        resources.Candidate(
            driver=name(it.driver),
            eligible=it.eligible,
            why_not=it.why_not,
            cost_s=it.cost_s,
            terms={term.name: term.seconds for term in it.terms},
            eta_s=it.eta_s,
            distance_m=it.distance_m,
        )
        for it in candidates
    )


def quote_view(
    record: model.RoundRecord,
    quote: str,
    now_ms: int,
    name: Namer = str,
    held: resources.Held | None = None,
    *,
    paused: bool = False,
) -> resources.Quote:
    """Return whether a job would find a driver, when, and if not, why.

    A job with a held store is not offered.

    Args:
        record: the round that it would get.
        quote: the id of the quote.
        now_ms: when it was made.
        name: by which the reader knows drivers.
        held: the hold on its stores.
        paused: whether an operator has paused matching there.
    """
    fitting = [it for it in record.candidates if it.eligible]
    best = min(fitting, key=lambda it: it.cost_s or 0, default=None)
    no_driver = WhyNot.NOBODY_FITS if record.candidates else WhyNot.NOBODY_IN_REACH
    why_not = WhyNot.STORE_NOT_READY if held else None if best else no_driver
    if paused:
        why_not = WhyNot.PAUSED
    eta = resources.Eta(None, None)
    if best is not None and why_not is None:
        eta = resources.Eta(Moment.at_ms(best.eta_pickup_ms), Moment.at_ms(best.eta_dropoff_ms))
    return resources.Quote(
        would_match=why_not is None,
        eta_s=best.eta_s if best else None,
        candidates=candidate_views(record.candidates, name),
        why_not=why_not,
        held=held,
        id=quote,
        expires_at=Moment.at_ms(now_ms + _QUOTE_MS),
        eta=eta,
        paused=paused,
    )
