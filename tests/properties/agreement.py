"""Compares Redis's records with the model."""

from collections.abc import Iterable, Mapping

import msgspec

from mallard_engine.core import model as core
from mallard_protocol.lifecycle import BEFORE_PICKUP
from tests.properties.models.drivers import Driver
from tests.properties.models.records import Job, Shop
from tests.properties.models.transfers import TransferModel
from tests.properties.world import Snapshot


def check_agreement(model: TransferModel, seen: Snapshot) -> None:
    _compare("drivers", {n: _driver(d) for n, d in model.drivers.items()}, _drivers(seen))
    _compare("jobs", {n: _job(j) for n, j in model.jobs.items()}, _jobs(seen))
    _compare(
        "offers",
        {
            n: (o.driver, o.attempt, o.jobs, o.add_on, o.state, o.expires, o.ack_by)
            for n, o in model.offers.items()
        },
        {
            n: (
                o.driver,
                o.attempt,
                {j.job: j.attempt for j in o.jobs},
                o.add_on,
                o.state,
                o.expires_ms,
                o.ack_by_ms,
            )
            for n, o in seen.offers.items()
        },
    )
    _compare(
        "rounds",
        {n: (r.live, r.asked, r.most, r.gap, r.next, r.rest) for n, r in model.rounds.items()},
        {
            n: (r.live, r.asked, r.most, r.gap_ms, r.next_ms, [_named(plan) for plan in r.rest])
            for n, r in seen.rounds.items()
        },
    )
    _compare("letters", _all(model.letters), _all(seen.letters.values()))
    _compare("pauses", _all(model.paused), _all(seen.paused))
    _compare("dwells", {n: s.pack() for n, s in model.dwells.items()}, seen.dwells)


def _all(names: Iterable[str]) -> Mapping[str, object]:
    """What is there, without anything more."""
    return dict.fromkeys(names, True)


def _named(plan: msgspec.Raw) -> str:
    """The driver of a plan kept by a round."""
    driver: str = msgspec.msgpack.decode(plan)[0]
    return driver


def _driver(driver: Driver) -> Mapping[str, object]:
    return {
        "wish": driver.wish,
        "until": driver.until,
        "socket": (driver.connected, driver.epoch, driver.node),
        "lost": None if driver.connected else driver.lost,
        "cool": driver.cool,
        "out": (driver.suspended, driver.unreachable),
        "offer": driver.offer,
        "jobs": driver.jobs,
        "history": driver.history,
        "room": driver.room,
        "position": driver.fix and (driver.fix.received, driver.fix.at, *driver.fix.place),
    }


def _drivers(seen: Snapshot) -> dict[str, Mapping[str, object]]:
    return {name: _stored_driver(driver) for name, driver in seen.drivers.items()}


def _stored_driver(driver: core.Driver) -> Mapping[str, object]:
    at = driver.position
    return {
        "wish": driver.wish.value,
        "until": driver.until_ms,
        "socket": (driver.connected, driver.epoch, driver.node),
        "lost": None if driver.connected else driver.lost_ms,
        "cool": driver.cool_until_ms,
        "out": (driver.suspended, driver.unreachable),
        "offer": driver.offer,
        "jobs": {held.job: held.attempt for held in driver.jobs},
        "history": _pairs(driver.history.encode()),
        "room": (driver.vehicle.max_jobs, driver.vehicle.max_weight_g),
        "position": at and (at.received_ms, at.at_ms, at.lat, at.lon),
    }


def _job(job: Job) -> Mapping[str, object]:
    return {
        "state": job.state,
        "attempt": job.attempt,
        "driver": job.holder or None,
        "offer": job.offer or None,
        "asked": job.asked,
        "pay": job.pay,
        "eta": job.eta if job.state in BEFORE_PICKUP else None,
        "held": job.held if job.is_held else None,
        "shops": {
            name: (shop.state, shop.got, shop.there, shop.holds)
            for name, shop in job.shops.items()
            if shop != Shop()
        },
        "done": _done(job),
        "door": (job.attempts, job.door and job.door[2] if job.state == "picked_up" else None),
        "cancelled": job.cancel_requested,
    }


def _done(job: Job) -> set[str]:
    """The shops that need not be visited; a closed one only if another is left."""
    closed = {name for name, shop in job.shops.items() if shop.state == "closed"}
    left = {name for name, shop in job.shops.items() if shop.is_open}
    return job.shops.keys() - (left or closed)


def _jobs(seen: Snapshot) -> dict[str, Mapping[str, object]]:
    return {
        name: {
            "state": job.state.value,
            "attempt": job.attempt,
            "driver": job.driver,
            "offer": job.offer,
            "pay": job.need.pay_minor if job.raised_pay_minor is None else job.raised_pay_minor,
            "asked": [(t.driver, t.attempt, t.outcome, t.at_ms) for t in job.asked],
            "eta": _expected(job),
            "held": job.hold and (job.hold.why, job.hold.store, job.hold.until_ms),
            "shops": {
                shop.store: (shop.state.value, shop.collected, shop.there, shop.holds)
                for shop in job.shops
                if shop != core.Shop(store=shop.store)
            },
            "done": set(job.need.done),
            "door": (job.delivery_attempts, job.door_ms if job.state == "picked_up" else None),
            "cancelled": job.cancel_requested,
        }
        for name, job in seen.jobs.items()
    }


def _expected(job: core.Job) -> tuple[int, int | None] | None:
    """The ETAs of a job before pickup; after it, the stored times are the actual ones."""
    if job.eta_pickup_ms is None or job.state not in BEFORE_PICKUP:
        return None
    return job.eta_pickup_ms, job.eta_dropoff_ms


def _compare(what: str, expected: Mapping[str, object], stored: Mapping[str, object]) -> None:
    if expected == stored:
        return
    for name in sorted(expected.keys() | stored.keys()):
        model, store = expected.get(name), stored.get(name)
        assert model == store, f"{what}: {name}: the model has {model}, the store {store}"


def _pairs(counts: bytes) -> list[list[int]]:
    return [list(pair) for pair in zip(counts[::2], counts[1::2], strict=True)]
