"""Conversion of the engine's data to frames."""

from dataclasses import replace

import pytest

from mallard_engine.contract.reading.bodies import body_as
from mallard_engine.core.model import LiveOffer, OfferedJob
from mallard_engine.core.pickup.store_tour import Tour
from mallard_engine.core.places.markets import Places
from mallard_engine.gateway.orders.complete_order import CompleteOrder
from mallard_engine.gateway.orders.intake import read_order, submission_of
from mallard_engine.gateway.socket.payloads import (
    arrivals_ms,
    card,
    full_job,
    offer_frame,
    push_frame,
)
from mallard_engine.ports import Push, PushKind
from mallard_engine.storage.records.jobs import job_of
from mallard_protocol.codes import ServiceLevel
from mallard_protocol.messages import JobChanged, OfferClosed, PayAmount, StateChanged
from mallard_protocol.resources import JobRequest

REQUEST = {
    "external_id": "ORD-1",
    "pickup": {
        "mall": "chandler-fashion-center",
        "stores": [
            {
                "store": "lego",
                "ready_at": "2026-11-22T16:10:00-07:00",
                "parcels": 2,
                "pickup_code": "7731",
            }
        ],
    },
    "dropoff": {
        "lat": 33.3197,
        "lon": -111.8412,
        "address": "1 Main St",
        "name": "Ada",
        "contact": "555",
        "note": "the blue door",
        "deadline": "2026-11-22T21:00:00-07:00",
    },
    "parcels": {"count": 2},
    "requires": ["id_check"],
}


def live_offer(*cards: bytes, attempt: int = 1) -> LiveOffer:
    return LiveOffer(
        offer="o1",
        driver="d1",
        mall="chandler-fashion-center",
        gate="north",
        attempt=attempt,
        jobs=tuple(
            OfferedJob(f"j{n}", attempt, packed, 1, 2 + n) for n, packed in enumerate(cards)
        ),
        eta_s=300,
        distance_m=2000,
        eta_pickup_ms=1,
        eta_dropoff_ms=2,
        expires_ms=3,
        ack_by_ms=4,
    )


def packed(places: Places, arrived_ms: int = 0, **fields: object) -> bytes:
    order = CompleteOrder.from_request(
        body_as({**REQUEST, **fields}, JobRequest), ServiceLevel.POOLED, 0
    )
    return card(order, places.mall("chandler-fashion-center"), arrived_ms)


def test_card_has_no_private_data(places: Places) -> None:
    private = (b"ORD-1", b"7731", b"Main", b"Ada", b"555", b"blue", b"metadata")
    assert [word for word in private if word in packed(places)] == []


def test_offer_shows_its_jobs_rounded(places: Places) -> None:
    mall = places.mall("chandler-fashion-center")
    pay = {"amount_minor": 1150, "currency": "USD"}
    frame = offer_frame(live_offer(packed(places, pay=pay), packed(places, pay=pay)), 7, 9, mall)
    assert (frame.seq, frame.server_time_ms, frame.mall.gate) == (7, 9, "north")
    assert (frame.mall.gate_lat, frame.mall.lat) == (mall.gates["north"].lat, mall.lat)
    job = frame.jobs[0]
    assert (job.dropoff.lat, job.dropoff.lon, job.state) == (33.32, -111.84, "offered")
    assert job.stores[0].ready_ms == 1_795_389_000_000
    assert (job.parcels.count, job.requires) == (2, ("id_check",))
    assert [job.eta.dropoff_ms for job in frame.jobs] == [2, 3]
    assert frame.pay == PayAmount(2300, "USD")


def test_offer_leaves_out_stores_that_are_done(places: Places) -> None:
    mall = places.mall("chandler-fashion-center")
    stores = [{"store": "lego"}, {"store": "apple"}, {"store": "vans"}]
    offer = live_offer(packed(places, pickup={"mall": mall.id, "stores": stores}))
    for done, left in ((("apple",), ["lego", "vans"]), (("lego", "apple", "vans"), None)):
        jobs = tuple(replace(job, done=done) for job in offer.jobs)
        frame = offer_frame(replace(offer, jobs=jobs), 1, 1, mall)
        shown = [visit.store for visit in frame.jobs[0].stores]
        assert shown == (left or ["lego", "apple", "vans"])


def test_full_job_has_the_stores_to_visit_first(places: Places) -> None:
    mall = places.mall("chandler-fashion-center")
    stores = [{"store": "lego"}, {"store": "apple"}, {"store": "vans"}]
    request = body_as({**REQUEST, "pickup": {"mall": mall.id, "stores": stores}}, JobRequest)
    valid = read_order(request, places, lambda _: ServiceLevel.POOLED, 1_795_389_000_000)
    submission = submission_of(
        valid, job="j", service="s", key="k", body_hash="h", release_ms=0, now_ms=0
    )
    need = replace(valid.need, done=("lego",))
    job = replace(job_of(submission, 0), need=need)
    shown = full_job(job, mall, Tour("north", (1, 0), 0, 0, 0))
    assert [visit.store for visit in shown.stores] == ["vans", "apple", "lego"]


def test_pay_is_summed_in_one_currency_only(places: Places) -> None:
    mall = places.mall("chandler-fashion-center")
    dollars = packed(places, pay={"amount_minor": 5, "currency": "USD"})
    euros = packed(places, pay={"amount_minor": 5, "currency": "EUR"})
    for cards in ((dollars, euros), (dollars, packed(places))):
        assert not offer_frame(live_offer(*cards), 1, 1, mall).pay


def test_arrivals_are_those_of_first_offers(places: Places) -> None:
    cards = (packed(places, 77), packed(places))
    assert arrivals_ms(live_offer(*cards)) == (77,)
    assert arrivals_ms(live_offer(*cards, attempt=2)) == ()


def test_each_push_has_its_frame() -> None:
    closed = push_frame(
        Push("d1", 1, PushKind.OFFER_CLOSED, offer_id="o1", why="expired"), now_ms=0
    )
    assert closed == OfferClosed(seq=1, offer="o1", why="expired")
    changed = push_frame(Push("d1", 2, PushKind.JOB, job="j", attempt=3, state="queued"), now_ms=0)
    assert changed == JobChanged(seq=2, job="j", attempt=3, state="queued")
    received = push_frame(Push("d1", 3, PushKind.STATE, state="paused", why="stale"), now_ms=0)
    assert received == StateChanged(seq=3, state="paused", why="stale")
    with pytest.raises(ValueError, match="replaced"):
        push_frame(Push("d1", 0, PushKind.REPLACED, epoch=1), now_ms=0)
