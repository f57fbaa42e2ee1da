"""The audit's rules: the invariants of docs/architecture.md, as far as stored data can show them.

Each function takes a view and yields (rule, what is wrong). The rules are S1–S14 and L1–L3 by name,
and `queue` (the wait sets hold exactly the queued jobs), `index` (a job is listed), `leak` (data
that is never removed), `risk` (the risk of an open job is looked at again), `lifecycle` (a change
that the contract does not allow), `pay` (outside of its bounds) and `record` (unreadable data). An
overdue item is a breach once it is late by more than a sweeper's grace, and only while a node is
alive that should have handled it.
"""

import math
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Final

from mallard_engine.contract.transitions import may_move
from mallard_engine.core.job_ids import market_of_job
from mallard_engine.core.matching.offer_rungs import read_rungs
from mallard_engine.core.model import TRANSFER, Driver, Job
from mallard_engine.core.pauses import MARKET, place_of
from mallard_engine.core.policy import MarketPolicy
from mallard_engine.core.vehicles import DriverProfile
from mallard_engine.storage.audit.shops import judge_shops
from mallard_engine.storage.audit.views import DriverView, Held, JobView, OfferView
from mallard_engine.storage.records.offers import OfferedJobRecord, OfferRecord, RoundOfOffers
from mallard_protocol.lifecycle import (
    BEFORE_PICKUP,
    HELD,
    ON_BOARD,
    TERMINAL,
    JobState,
    Outcome,
    Risk,
    Wish,
)

Found = Iterator[tuple[str, str]]

# How late a sweep may be; an entry that failed is read again after two seconds.
SWEEP_GRACE_MS: Final = 5_000
# S10: how long an entry of `idle` may be stale.
INDEX_GRACE_MS: Final = 2_000

_DUE_KIND: Final = {
    JobState.SCHEDULED: "release",
    JobState.QUEUED: "retry",
    JobState.ASSIGNED: "silent",
    JobState.AT_MALL: "silent",
    JobState.PICKED_UP: "silent",
    JobState.RETURNING: "silent",
}
# What a job on board may wait for besides its driver.
_ON_BOARD_KIND: Final = {JobState.PICKED_UP: "door", JobState.RETURNING: "return"}
_UNTAKEN: Final = BEFORE_PICKUP - HELD


def due_members(
    state: JobState, mall: str, job: str, offer: str | None, several: RoundOfOffers | None
) -> set[str]:
    """Return the due entries of a job in this state: one, or none if it has ended.

    A job on board may have one of its holder, and one of the door or the way back, or none.
    A staggered round (``several``) has one for each live offer, and one for the next offer.
    """
    if state is JobState.OFFERED:
        members = {f"offer/{mall}/{each}/{job}" for each in (several.live if several else [offer])}
        return members | ({f"more/{mall}/{job}"} if several and several.asks_more else set())
    kinds = {_DUE_KIND.get(state), _ON_BOARD_KIND.get(state)} - {None}
    return {f"{kind}/{mall}/{job}" for kind in kinds}


# -- jobs


def judge_job(view: JobView, policy: MarketPolicy) -> Found:
    """Check a job, its holder, its offer and its entries."""
    if view.state is None:
        if view.is_listed and view.is_kept_till is None:
            yield "S4", "it is listed, but its key was removed before it ended"
        return
    job = view.job
    if job is None:
        yield "S4", f"its state {view.state!r} is unknown"
        return
    yield from _holder(job, view.driver)
    yield from _transfer(job)
    yield from _offered(job, view.offer)
    yield from _round(job, view, policy)
    yield from _pay(job, view)
    yield from judge_shops(job)
    yield from _history(job)
    yield from _entries(job, view)
    yield from _risk(job, view)
    yield from _paused(job, view)
    yield from _end(job, view)
    yield from _packed(job, view)
    if job.external_id and view.external != job.id and _keeps_external(job.state):
        yield "S8", f"its external id belongs to {view.external or 'no job'}"
    if job.market != market_of_job(job.id):
        yield "S11", f"its record names the market {job.market}, its id another"
    if not view.is_listed:
        yield "index", "it is missing from a list of jobs"


def _holder(job: Job, driver: Driver | None) -> Found:
    if job.state not in HELD:
        if job.driver and not job.terminal:
            yield "S1", f"it is {job.state}, but has the driver {job.driver}"
        return
    if job.driver is None:
        yield "S1", f"it is {job.state} without a driver"
        return
    holds = [held for held in (driver.jobs if driver else ()) if held.job == job.id]
    if not holds:
        yield "S1", f"its driver {job.driver} does not hold it"
    for held in holds:
        if held.attempt != job.attempt:
            yield "S7", f"its driver holds attempt {held.attempt}, but it is at {job.attempt}"


def _paused(job: Job, view: JobView) -> Found:
    """Check that nothing was offered since an operator paused matching there."""
    if job.state is not JobState.OFFERED:
        return
    offered_ms = job.timeline[-1].at_ms if job.timeline else 0
    places = (MARKET, job.mall, *(place_of(job.mall, store) for store in job.need.visits))
    for place in places:
        pause = view.pauses.get(place)
        if pause is not None and offered_ms > pause.since_ms:
            yield "pause", f"it was offered {offered_ms - pause.since_ms} ms into a pause"


def _transfer(job: Job) -> Found:
    """Check a transfer: its two drivers differ, and it is never on board itself."""
    if job.kind != TRANSFER:
        return
    if job.driver and job.driver == job.first:
        yield "S1", f"{job.first} hands parcels over to itself"
    if job.state in ON_BOARD:
        yield "S1", f"it is {job.state}, but its parcels are jobs of their own"


def _offered(job: Job, offer: OfferRecord | None) -> Found:
    if job.state is not JobState.OFFERED:
        if job.offer:
            yield "S3", f"it is {job.state}, but has the offer {job.offer}"
    elif offer is None or offer.state != "live":
        yield "S3", f"its offer {job.offer} is not live"
    elif (job.id, job.attempt) not in [(each.job, each.attempt) for each in offer.jobs]:
        yield "S3", f"its offer {job.offer} is for another job or attempt"


def _round(job: Job, view: JobView, policy: MarketPolicy) -> Found:
    """Check a staggered round: S3.

    It has no more offers than the ladder allows, each to another driver, all at the job's attempt.
    """
    several = view.round
    if several is None:
        return
    if job.state is not JobState.OFFERED:
        yield "S3", f"it is {job.state}, but has a round of {', '.join(several.live)}"
        return
    most = max(rung.drivers for rung in read_rungs(policy.offer_rungs))
    if not len(several.live) <= several.asked <= several.most <= most:
        made = f"{several.asked} offers were made and {len(several.live)} are live"
        yield "S3", f"{made}, of at most {min(several.most, most)}"
    if several.live[:1] != [job.offer]:
        yield (
            "S3",
            f"its offer {job.offer} is not first in its round: {', '.join(several.live)}",
        )
    for name, offer in zip(several.live, view.round_offers, strict=True):
        if offer is None or offer.state != "live":
            yield "S3", f"its offer {name} is not live"
        elif [(each.job, each.attempt) for each in offer.jobs] != [(job.id, job.attempt)]:
            yield "S3", f"its offer {name} is for another job or attempt"
    drivers = [offer.driver for offer in view.round_offers if offer]
    if len(set(drivers)) < len(drivers):
        yield "S3", f"two offers of a round have the same driver: {', '.join(drivers)}"


def _pay(job: Job, view: JobView) -> Found:
    need, raised = job.need, job.raised_pay_minor
    if raised is not None and not need.pay_minor < raised <= need.pay_max_minor:
        yield "pay", f"its pay {raised} is not in ({need.pay_minor}, {need.pay_max_minor}]"
    for each in view.offer.jobs if view.offer and view.offer.state == "live" else ():
        if each.job == job.id and each.attempt == job.attempt and each.pay_minor != raised:
            yield "pay", f"its pay is {raised}, and its offer says {each.pay_minor}"


def _history(job: Job) -> Found:
    winners = [turn.attempt for turn in job.asked if turn.outcome == Outcome.ACCEPTED]
    if len(set(winners)) < len(winners):
        yield "S3", f"two drivers accepted in the same round; accepted attempts: {winners}"
    attempts = [turn.attempt for turn in job.asked]
    if attempts != sorted(attempts) or any(attempt > job.attempt for attempt in attempts):
        yield "S7", f"its attempts {attempts} are out of order, or above {job.attempt}"
    states = [JobState(entry.state) for entry in job.timeline]
    if not states or states[-1] is not job.state:
        yield "S9", f"it is {job.state}, but its timeline ends with another state"
    for was, became in pairwise(states):
        if was in TERMINAL:
            yield "S9", f"it went from {was} to {became}"
        elif not may_move(was, became):
            yield "lifecycle", f"it went from {was} to {became}"


def _entries(job: Job, view: JobView) -> Found:
    expected = due_members(job.state, job.mall, job.id, job.offer, view.round)
    if job.state in BEFORE_PICKUP and not expected <= view.due.keys():
        yield "S14", f"it is {job.state} and has no due entry"
    for member, at_ms in view.due.items():
        if member not in expected:
            yield "S14", f"it is {job.state}, but has the due entry {member}"
        elif view.is_swept and at_ms < view.now_ms - SWEEP_GRACE_MS:
            yield "L3", f"its due entry is {view.now_ms - at_ms} ms late"
    if job.state is JobState.PICKED_UP and job.door_ms and not _has(view, "door"):
        yield "S14", "nobody takes it, and no due entry applies its rule"
    if job.state is JobState.RETURNING and job.return_to and not _has(view, "return"):
        yield "S14", "it goes back, and no due entry checks its place again"
    queued = job.state is JobState.QUEUED
    if view.waits != queued or view.is_in_waiting != queued:
        yield "queue", f"it is {job.state} and " + ("is not" if queued else "is") + " in the queue"
    late_ms = view.now_ms - job.expires_ms
    if view.is_swept and job.state in _UNTAKEN and late_ms > SWEEP_GRACE_MS:
        yield "L2", f"it is {job.state} {late_ms} ms after it should have expired"


def _risk(job: Job, view: JobView) -> Found:
    """Check that the risk of an open job is looked at again, unless it can only stay as it is."""
    if job.terminal:
        # A node of the release before does not remove the entry; the sweep does, once it is due.
        is_left = view.risk_ms is not None and view.risk_ms < view.now_ms - SWEEP_GRACE_MS
        if view.is_swept and is_left:
            yield "leak", "it has ended, but its risk is still looked at"
        return
    stays = job.risk is Risk.LATE or job.state is JobState.RETURNING
    if view.risk_ms is None and view.has_risk and not stays:
        yield "risk", f"its risk is {job.risk}, and is not looked at again"


def _has(view: JobView, kind: str) -> bool:
    """Whether the due set has an entry of this kind for the job."""
    return any(member.partition("/")[0] == kind for member in view.due)


def _packed(job: Job, view: JobView) -> Found:
    if view.is_packed and not job.terminal:
        yield "record", f"it is packed and {job.state}"
    if view.is_packed and view.has_last_round:
        yield "leak", "it is packed, and its last round is still there"
    if view.pack_ms is not None and not job.terminal:
        yield "record", f"it is to be packed and {job.state}"


def _end(job: Job, view: JobView) -> Found:
    if not job.terminal:
        if view.ttl_ms >= 0:
            yield "S4", f"it is {job.state}, but its key expires in {view.ttl_ms} ms"
    elif view.ttl_ms < 0:
        yield "leak", "it has ended, but its key has no TTL"
    elif view.is_kept_till is None:
        yield "leak", "it has ended, but no entry of `forget` removes it from the lists"


def _keeps_external(state: JobState) -> bool:
    return state not in TERMINAL or state is JobState.DELIVERED


# -- drivers


def judge_driver(view: DriverView, policy: MarketPolicy) -> Found:
    """Check a driver, what it holds, and its place in the index."""
    driver = view.driver
    if driver is None:
        if view.is_idle:
            yield "S10", "it is in idle, but has no record"
        return
    yield from _holds(driver, view, policy)
    if view.registered is not None:
        yield from _registered(driver, view.registered)
    if driver.offer and (
        view.offer is None or view.offer.state != "live" or view.offer.driver != driver.id
    ):
        yield "S2", f"its offer {driver.offer} is not live, or is another driver's"
    if driver.connected and not view.is_held:
        yield "S10", f"the set of its node {driver.node} lacks it, so no sweeper would reap it"
    yield from _index(driver, view, policy)


def _holds(driver: Driver, view: DriverView, policy: MarketPolicy) -> Found:
    names = [held.job for held in driver.jobs]
    if len(set(names)) < len(names):
        yield "S2", f"it holds a job twice: {', '.join(names)}"
    # Only custody may exceed the vehicle's room. The vehicle may have changed with a hello since it
    # took the jobs.
    on_top = sum(job is not None and job.is_by_custody for job in view.jobs)
    if len(names) - on_top > policy.max_run_jobs:
        yield "S2", f"it holds more jobs than fit: {', '.join(names)}"
    yield from _alone(view)
    for held, job in zip(driver.jobs, view.jobs, strict=True):
        if job is None or job.state not in HELD or job.driver != driver.id:
            yield "S1", f"it holds {held.job}, which is not assigned to it"
        elif job.attempt != held.attempt:
            yield "S7", f"it holds {held.job} at attempt {held.attempt}, but it is at {job.attempt}"
        elif held.has_place and job.place not in {None, (held.lat, held.lon, held.deadline_ms)}:
            yield "record", f"it goes to another place, or by another time, than {held.job} says"


def _alone(view: DriverView) -> Found:
    """Check that no accept put an express job beside others, or others beside an express job.

    Jobs are in the order in which the driver got them. Custody and operators may do so.
    """
    held = [job for job in view.jobs if job is not None]
    for count, job in enumerate(held):
        if count and job.came_by == "accepted" and any(it.is_express for it in held[: count + 1]):
            yield "S2", "it accepted a job beside another, and one of them is express"


def _registered(driver: Driver, profile: DriverProfile) -> Found:
    """Check that nothing has widened a registered vehicle, and that the qualifications follow."""
    limits, vehicle = profile.vehicle, driver.vehicle
    if limits is not None:
        for name in ("max_jobs", "max_weight_g", "max_volume_l"):
            most = getattr(limits, name)
            if most is not None and getattr(vehicle, name) > most:
                yield "S2", f"its {name} is {getattr(vehicle, name)}, but {most} is registered"
        extra = {*vehicle.equipment} - {*(limits.equipment or ()), *driver.qualifications}
        if extra:
            yield "S2", f"it has unregistered equipment: {', '.join(sorted(extra))}"
    if profile.qualifications is not None and driver.qualifications != profile.qualifications:
        yield "S2", "its qualifications are not the registered ones"


def _index(driver: Driver, view: DriverView, policy: MarketPolicy) -> Found:
    fixed_ms = view.position.received_ms if view.position else 0
    limits_ms = {
        # A position of exactly that age still counts, as in lib/askable.lua.
        "its position has been stale": fixed_ms + math.ceil(policy.stale_after_s * 1000) + 1,
        f"its node {driver.node} has been dead": view.leases.get(driver.node, 0),
    }
    if driver.until_ms:
        limits_ms["its block has been over"] = driver.until_ms
    never = _why_never(driver)
    yield from _place(driver, view, "idle", never or _why_not_idle(driver), limits_ms)
    yield from _place(driver, view, "coming", never or _why_not_coming(driver, policy), limits_ms)


def _place(
    driver: Driver, view: DriverView, index: str, reason: str | None, limits_ms: Mapping[str, int]
) -> Found:
    """Check that the driver is in the index if and only if it should be.

    ``reason``: why it should not be, whatever the time; None if it may be.
    """
    if view.is_idle if index == "idle" else view.is_coming:
        if reason is None and driver.cool_until_ms > view.now_ms:
            reason = "is cooling down"
        if reason:
            yield "S10", f"it {reason}, but is in {index}"
        if view.is_swept:
            for limit, at_ms in limits_ms.items():
                if at_ms < view.now_ms - INDEX_GRACE_MS:
                    yield "S10", f"{limit} for {view.now_ms - at_ms} ms, but it is in {index}"
        if view.due_ms is None:
            yield "S10", f"it is in {index}, but has no due entry that removes it"
    elif reason is None and view.is_swept and min(limits_ms.values()) > view.now_ms:
        if driver.cool_until_ms < view.now_ms - SWEEP_GRACE_MS:
            yield "L1", f"it could be offered a job, but is not in {index}"
        elif view.due_ms is None or view.due_ms > (
            max(driver.cool_until_ms, view.now_ms) + SWEEP_GRACE_MS
        ):
            yield "L1", f"nothing will put it into {index} when it may be offered a job"


def _why_never(driver: Driver) -> str | None:
    """Return why the driver may not be offered a job, regardless of the time."""
    facts = {
        f"wants to be {driver.wish}": driver.wish is not Wish.AVAILABLE,
        "has no socket": not driver.connected,
        "is suspended": driver.suspended,
        "is unreachable": driver.unreachable,
        "has an offer": driver.offer is not None,
    }
    return next((fact for fact, is_so in facts.items() if is_so), None)


def _why_not_idle(driver: Driver) -> str | None:
    return "holds a job" if driver.jobs else None


def _why_not_coming(driver: Driver, policy: MarketPolicy) -> str | None:
    """Return why the driver may not be offered one more job, regardless of the time."""
    malls = {held.mall for held in driver.jobs}
    facts = {
        "holds no job": not driver.jobs,
        "has no room": len(driver.jobs) >= min(policy.max_run_jobs, driver.vehicle.max_jobs),
        "holds jobs of several malls": len(malls) > 1,
        "holds an express job": any(held.alone for held in driver.jobs),
        "is at the mall": any(held.there for held in driver.jobs),
        "holds a job without a place": not all(held.has_place for held in driver.jobs),
    }
    return next((fact for fact, is_so in facts.items() if is_so), None)


# -- offers


def judge_offer(view: OfferView) -> Found:
    """Check an offer, live or ended."""
    offer, driver = view.offer, view.driver
    if offer is None:
        return
    if offer.state != "live":
        if not view.is_kept:
            yield "leak", "it has ended, but no entry of `forget` removes it"
        if offer.state == "accepted":
            for each, job in zip(offer.jobs, view.jobs, strict=True):
                yield from _promise(offer.driver, each, job)
        return
    if len(offer.jobs) > 1 and any(job is not None and job.is_express for job in view.jobs):
        yield "S2", "it offers an express job together with others"
    for each, job in zip(offer.jobs, view.jobs, strict=True):
        if (
            job is None
            or (job.state, job.attempt) != ("offered", each.attempt)
            or view.id not in job.offers
        ):
            yield "S3", f"it is live, but its job {each.job} is not offered by it"
    if driver is None or driver.offer != view.id:
        yield "S2", f"it is live, but its driver {offer.driver} has another offer or none"
    if view.is_swept:
        by_ms = offer.ack_by_ms or offer.expires_ms
        if by_ms < view.now_ms - SWEEP_GRACE_MS:
            yield "S6", f"it is still live {view.now_ms - by_ms} ms after its time limit"


def _promise(driver: str, promised: OfferedJobRecord, job: Held | None) -> Found:
    """Check S5: the driver keeps an accepted job until it ends or its attempt rises."""
    if job is None:
        yield "S4", f"it was accepted, but its job {promised.job} is gone"
    elif job.attempt < promised.attempt:
        yield "S7", f"{promised.job} was accepted at {promised.attempt}, but is at {job.attempt}"
    elif job.attempt == promised.attempt and job.state != JobState.CANCELLED:
        kept = job.driver == driver and JobState(job.state) in HELD | TERMINAL
        if not kept:
            yield (
                "S5",
                f"{promised.job} was accepted, but is {job.state} (driver: {job.driver})",
            )
