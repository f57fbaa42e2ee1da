"""Invariants of the stored data after every call: S1–S14, checked on its raw records.

The checks use the records only; the model checks the verdicts.
"""

import itertools
import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace

import msgspec

from mallard_engine.contract.transitions import may_move
from mallard_engine.core.model import TRANSFER, Driver, Job
from mallard_engine.core.policy import MarketPolicy
from mallard_engine.ports import Effects
from mallard_engine.storage.calls.script_runner import RETURN_CHECK_MS
from mallard_engine.storage.records.offers import OfferRecord
from mallard_protocol.lifecycle import BEFORE_PICKUP, ON_BOARD, JobState, Outcome, ShopState, Wish
from tests.properties.event_trail import check_events
from tests.properties.risks import check_risks
from tests.properties.world import Snapshot

# A sweeper retries an overdue entry within this time, even if another one died with it.
GRACE_MS = 2_000
# Causes of changes that give a job to a driver.
_GIVEN_BY = ("accepted", "operator_assigned", "custody", "transferred")
_LACKING = (ShopState.MISSING, ShopState.SHORT)
# A redelivery that ended like this has left the parcels where they were.
_NOT_CARRIED = (JobState.CANCELLED, JobState.EXPIRED, JobState.FAILED)
_DUE_KIND = {
    JobState.SCHEDULED: "release",
    JobState.QUEUED: "retry",
    JobState.OFFERED: "offer",
}


def check(seen: Snapshot, policy: MarketPolicy, lapsed: Collection[str] = ()) -> None:
    """Check every invariant of a snapshot. ``lapsed``: nodes whose lease expired and which have not
    yet registered or closed their sockets."""
    check_holders(seen, policy)
    check_offers(seen)
    check_winners(seen)
    check_queues(seen)
    check_counts(seen)
    check_timelines(seen)
    check_events(seen.jobs, seen.values["events"])
    check_transfers(seen)
    check_shops(seen)
    check_unanswered(seen)
    check_redeliveries(seen)
    check_risks(seen, policy)
    check_packed(seen)
    check_due(seen, policy)
    check_idle(seen, policy, lapsed)
    check_coming(seen, policy, lapsed)


def check_packed(seen: Snapshot) -> None:
    """A job that has ended is packed or waits for that, and no other one."""
    for name, job in seen.jobs.items():
        found = (name in seen.packed, name in seen.unpacked)
        assert sum(found) == job.terminal, f"{name} ({job.state}): packed, to be packed: {found}"


def check_shops(seen: Snapshot) -> None:
    """The counter of a shop is shown every open job, and of the ended ones those collected."""
    for name, job in seen.jobs.items():
        if job.kind:
            continue  # a transfer has no shop
        is_shown = not job.terminal or job.collected_ms is not None
        for store in job.need.stores:
            is_listed = f"{job.mall}/{store}/{name}" in seen.by_shop
            assert is_listed == is_shown, f"{name} ({job.state}): {store} lists it: {is_listed}"


def check_unanswered(seen: Snapshot) -> None:
    """A job is offered to nobody while a shop that lacks parcels has not answered."""
    for name, job in seen.jobs.items():
        if job.state in {JobState.QUEUED, JobState.OFFERED} and job.shops:
            order = msgspec.json.decode(job.body)
            lacking = [it.store for it in job.shops if it.state in _LACKING and not it.collected]
            is_open = any(it.state not in _LACKING or it.there for it in job.shops)
            waits = lacking and (order.get("on_short") == "hold" or not is_open)
            assert not waits, f"{name} ({job.state}): {lacking} have not answered"


def check_redeliveries(seen: Snapshot) -> None:
    """The parcels of a returned job are in one job at most, which both of them name."""
    made = [job for job in seen.jobs.values() if job.redelivery_of]
    carried = Counter(job.redelivery_of for job in made if job.state not in _NOT_CARRIED)
    assert all(count == 1 for count in carried.values()), f"S8: redelivered twice: {carried}"
    for job in made:
        origin = seen.jobs[job.redelivery_of or ""]
        assert origin.state is JobState.RETURNED, f"{job.id}: its origin is {origin.state}"
        is_last = job.state in _NOT_CARRIED or origin.redelivered_as == job.id
        assert is_last, f"S8: {origin.id} does not name its redelivery {job.id}"


def check_step(before: Snapshot, after: Snapshot) -> None:
    """Check the changes of one call, whichever call it was."""
    for name, was in before.jobs.items():
        now = after.jobs.get(name)
        assert now is not None, f"S4: {name} is gone"
        assert now.attempt >= was.attempt, f"S7: {name}: attempt {was.attempt} → {now.attempt}"
        if was.terminal:
            again = now.redelivered_as if was.state is JobState.RETURNED else was.redelivered_as
            is_same = now == replace(was, redelivered_as=again)
            assert is_same, f"S9: {name} changed after it had ended"
        # A reassignment goes through the queue in one step: its timeline has both changes.
        steps = [was.state, *(JobState(entry.state) for entry in now.timeline[len(was.timeline) :])]
        for source, target in itertools.pairwise([*steps, now.state]):
            assert source == target or may_move(source, target), f"{name}: {source} → {target}"
        keeps = (now.driver, now.attempt) == (was.driver, was.attempt)
        if was.held and not now.terminal:
            assert keeps or now.attempt > was.attempt, f"S5: {name} taken from {was.driver}"


def check_holders(seen: Snapshot, policy: MarketPolicy) -> None:
    for name, job in seen.jobs.items():
        holders = {
            (driver.id, held.attempt)
            for driver in seen.drivers.values()
            for held in driver.jobs
            if held.job == name
        }
        expected = {(job.driver, job.attempt)} if job.held else set()
        assert holders == expected, f"S1: {name} ({job.state}) is held by {holders}"
        if not job.held and not job.terminal:
            assert job.driver is None, f"S1: {name} ({job.state}) names {job.driver}"
    for driver in seen.drivers.values():
        for held in driver.jobs:
            need = seen.jobs[held.job].need
            place = (held.lat, held.lon, held.deadline_ms)
            is_known = not held.has_place or place == (need.lat, need.lon, need.deadline_ms)
            assert is_known, f"S1: the record of {driver.id} has another drop-off of {held.job}"
        given = [h.job for h in driver.jobs if not _is_collected(seen.jobs[h.job])]
        weight_g = sum(seen.jobs[name].need.weight_g for name in given)
        most = max(min(policy.max_run_jobs, driver.vehicle.max_jobs), 1)
        fits = len(given) <= most and weight_g <= driver.vehicle.max_weight_g
        assert fits or len(given) <= 1, f"S2: {driver.id} holds {given}"

        check_alone([seen.jobs[held.job] for held in driver.jobs])


def check_alone(jobs: Sequence[Job]) -> None:
    """Check the jobs of a driver, in the order in which it got them: none was accepted beside
    another if one of them is express."""
    for count, job in enumerate(jobs):
        given = [entry.cause for entry in job.timeline if entry.cause in _GIVEN_BY]
        is_express = any(it.need.service_level == "express" for it in jobs[: count + 1])
        alone = count == 0 or not is_express or given[-1] != "accepted"
        assert alone, f"S2: {job.id} was accepted beside {jobs[0].id}, one of them is express"


def _is_collected(job: Job) -> bool:
    """Whether custody was claimed: such a parcel is on board even if it does not fit."""
    return any(entry.cause == "custody" for entry in job.timeline)


def check_offers(seen: Snapshot) -> None:
    live = {name: offer for name, offer in seen.offers.items() if offer.state == "live"}
    for driver in seen.drivers.values():
        mine = [name for name, offer in live.items() if offer.driver == driver.id]
        assert mine == ([driver.offer] if driver.offer else []), f"S2: {driver.id}: {mine}"
    for name, job in seen.jobs.items():
        out = {(o, j.attempt) for o, r in live.items() for j in r.jobs if j.job == name}
        expected = {(offer, job.attempt) for offer in offers_of(seen, job)}
        assert out == expected, f"S3: {name} ({job.state}, {job.offer}): {out}"
        assert (job.offer is not None) == bool(expected), f"S3: {name} names {job.offer}"
    for name, offer in seen.offers.items():
        assert offer.attempt == max(each.attempt for each in offer.jobs), f"{name}: its attempt"


def offers_of(seen: Snapshot, job: Job) -> list[str]:
    """The live offers of a job: one, or those of its staggered round."""
    several = seen.rounds.get(job.id)
    if job.state is not JobState.OFFERED:
        assert several is None, f"S3: {job.id} ({job.state}) has a round: {several}"
        return []
    if several is None:
        return [job.offer or ""]
    assert several.live[0] == job.offer, f"S3: {job.id}: {job.offer} is not the first: {several}"
    asked = [o for o in seen.offers.values() if (job.id, job.attempt) in _runs_of(o)]
    counts = len(several.live), several.asked, several.most
    assert len(several.live) <= len(asked) <= several.asked <= several.most, f"S3: {counts}"
    return several.live


def _runs_of(offer: OfferRecord) -> list[tuple[str, int]]:
    return [(each.job, each.attempt) for each in offer.jobs]


def check_winners(seen: Snapshot) -> None:
    for name, job in seen.jobs.items():
        won = [turn.attempt for turn in job.asked if turn.outcome == Outcome.ACCEPTED]
        assert len(set(won)) == len(won), f"S3: {name}: two winners of one round: {job.asked}"


def check_queues(seen: Snapshot) -> None:
    for mall, queue in seen.queues.items():
        waiting = [
            job for job in seen.jobs.values() if job.state is JobState.QUEUED and job.mall == mall
        ]
        waiting.sort(key=lambda job: (-job.priority, job.created_ms, job.id))
        assert queue == tuple(job.id for job in waiting), f"wait set of {mall}: {queue}"
    queued = {name: job for name, job in seen.jobs.items() if job.state is JobState.QUEUED}
    assert set(seen.waiting) == set(queued)
    for name, job in queued.items():
        said = seen.waiting[name]
        assert (said.attempt, said.need, said.asked, said.card) == (
            job.attempt,
            job.need,
            job.asked,
            job.card,
        ), f"the queue entry of {name} is outdated"


def check_counts(seen: Snapshot) -> None:
    counted = {state: n for state, n in seen.counts.items() if n and state != "submitted"}
    jobs = Counter(
        f"transfer_{job.state.value}" if job.kind == TRANSFER else job.state.value
        for job in seen.jobs.values()
    )
    assert counted == jobs, f"S13: counted {counted}, there are {dict(jobs)}"
    submitted = seen.counts.get("submitted", 0)
    assert submitted == len(seen.jobs), f"S13: {submitted} submitted, {len(seen.jobs)} there"
    assert set(seen.listed) == set(seen.jobs), f"S4: {seen.listed} are listed"


def check_timelines(seen: Snapshot) -> None:
    for name, job in seen.jobs.items():
        states = [JobState(entry.state) for entry in job.timeline]
        assert states[-1] is job.state, f"{name}: timeline ends with {states[-1]}"
        for source, target in itertools.pairwise(states):
            assert may_move(source, target), f"{name}: {source} → {target}"


def _due_limits(seen: Snapshot, job: Job, policy: MarketPolicy) -> dict[str, int | None]:
    """The due entries of the job and when each is due at the latest; None: it may be missing."""
    kind = _DUE_KIND.get(job.state, "silent" if job.held else None)
    if kind != "offer":
        limits_of = {kind: _limit(seen, job, policy)} if kind else {}
        if job.state is JobState.PICKED_UP and job.door_ms is not None:
            limits_of["door"] = job.door_ms
        elif job.state is JobState.RETURNING:
            limits_of["return"] = seen.now + RETURN_CHECK_MS
        return {f"{kind}/{job.mall}/{job.id}": limit for kind, limit in limits_of.items()}
    limits = dict[str, int | None]()
    for name in offers_of(seen, job):
        out = seen.offers[name]
        limits[f"offer/{job.mall}/{name}/{job.id}"] = out.ack_by_ms or out.expires_ms
    several = seen.rounds.get(job.id)
    if several and several.asks_more:
        limits[f"more/{job.mall}/{job.id}"] = several.next_ms
    return limits


def check_transfers(seen: Snapshot) -> None:
    """Check that the two drivers of a transfer differ, and that one that is empty will end."""
    for name, job in seen.jobs.items():
        if job.kind != TRANSFER:
            continue
        assert job.driver != job.first, f"S1: {job.first} hands {name} over to itself"
        assert job.state not in ON_BOARD, f"S1: {name} is {job.state}"
        carried = [seen.jobs[each] for each in job.carries]
        live = [it for it in carried if it.driver == job.first and it.state in ON_BOARD]
        if job.state in BEFORE_PICKUP and not live:
            assert f"transfer/{job.mall}/{name}" in seen.due, f"S14: nothing will end {name}"


def check_due(seen: Snapshot, policy: MarketPolicy) -> None:
    limits = dict[str, int | None]()
    for job in seen.jobs.values():
        limits |= _due_limits(seen, job, policy)
    for member in seen.due:
        kind, _, name = member.partition("/")
        owned = name in seen.drivers if kind == "driver" else member in limits
        if kind == "transfer":
            owned = seen.jobs[name.partition("/")[2]].kind == kind
        assert owned, f"S14: {member} is due for nothing"
    for member, limit in limits.items():
        if limit is not None:
            at = seen.due.get(member)
            assert at is not None, f"S14: there is no due entry {member}"
            assert at <= max(limit, seen.now + GRACE_MS), f"S14: {member} comes {at - limit} late"


def _limit(seen: Snapshot, job: Job, policy: MarketPolicy) -> int | None:
    """When the job's due entry is due at the latest, in ms."""
    if job.state is JobState.SCHEDULED:
        return job.release_ms
    if job.state is JobState.QUEUED:
        return job.expires_ms
    holder = seen.drivers[job.driver or ""]
    resume_ms = math.ceil(policy.resume_ttl_s * 1000)
    if job.state in BEFORE_PICKUP:
        longest_s = max(policy.at_mall_silence_s, policy.resume_ttl_s * policy.silence_stretch)
        return (seen.now if holder.connected else holder.lost_ms) + math.ceil(longest_s * 1000)
    # A parcel on board is never requeued: after the alert there is no due entry.
    away_ms = 0 if holder.connected else seen.now - holder.lost_ms
    return holder.lost_ms + resume_ms if 0 < away_ms < resume_ms else None


def wants_work(driver: Driver) -> bool:
    """The conditions of ``may_be_asked`` that do not depend on time."""
    return (
        driver.wish is Wish.AVAILABLE
        and driver.connected
        and not driver.suspended
        and not driver.unreachable
        and driver.offer is None
        and driver.position is not None
    )


def is_bound_for(seen: Snapshot, driver: Driver, policy: MarketPolicy) -> str | None:
    """The mall for which the driver may get an add-on: docs/contract/protocol.md, "Offers"."""
    malls = {held.mall for held in driver.jobs}
    states = {seen.jobs[held.job].state for held in driver.jobs}
    has_room = len(driver.jobs) < min(policy.max_run_jobs, driver.vehicle.max_jobs)
    levels = {seen.jobs[held.job].need.service_level for held in driver.jobs}
    meets = any(seen.jobs[held.job].kind for held in driver.jobs)
    is_alone = meets or "express" in levels
    is_on_its_way = len(malls) == 1 and states == {JobState.ASSIGNED} and not is_alone
    return malls.pop() if is_on_its_way and has_room else None


def may_be_asked(seen: Snapshot, driver: Driver, policy: MarketPolicy) -> bool:
    """Whether the driver may get offers, held jobs aside: docs/contract/protocol.md, "Offers"."""
    return (
        wants_work(driver)
        and driver.cool_until_ms <= seen.now
        and _last_ms(driver, policy) > seen.now
        and seen.nodes.get(driver.node, 0) > seen.now
    )


def _last_ms(driver: Driver, policy: MarketPolicy) -> int:
    """When the driver stops getting offers, by the age of its position or its block's end."""
    received_ms = driver.position.received_ms if driver.position else 0
    stale_ms = received_ms + math.ceil(policy.stale_after_s * 1000) + 1
    return stale_ms if driver.until_ms is None else min(driver.until_ms, stale_ms)


def check_idle(seen: Snapshot, policy: MarketPolicy, lapsed: Collection[str]) -> None:
    for name, driver in seen.drivers.items():
        at = seen.due.get(f"driver/{name}", math.inf)
        may = may_be_asked(seen, driver, policy) and not driver.jobs
        alive = seen.nodes.get(driver.node, 0) > seen.now
        if name in seen.idle and not may:
            wants = wants_work(driver) and not driver.jobs
            assert wants, f"S10: {name} is idle but may not be offered anything"
            if alive:
                limit = max(_last_ms(driver, policy), seen.now)
                assert at <= limit + GRACE_MS, f"S10: nothing will take {name} out of idle"
        if name not in seen.idle and may and driver.node not in lapsed:
            limit = max(driver.cool_until_ms, seen.now)
            assert at <= limit + GRACE_MS, f"S10: nothing will put {name} into idle"
        if driver.connected:
            assert name in seen.held[driver.node], f"S10: a reaper would not find {name}"
    assert seen.idle <= set(seen.drivers), "S10: idle has an unknown driver"


def check_coming(seen: Snapshot, policy: MarketPolicy, lapsed: Collection[str]) -> None:
    """Check the index of drivers who may get an add-on, whose entries are mall/driver."""
    entries = dict[str, str]()
    for entry in seen.coming:
        mall, _, name = entry.partition("/")
        assert name not in entries, f"S10: {name} comes to {mall} and {entries.get(name)}"
        entries[name] = mall
    for name, driver in seen.drivers.items():
        at = seen.due.get(f"driver/{name}", math.inf)
        bound_for = is_bound_for(seen, driver, policy)
        may = bound_for is not None and may_be_asked(seen, driver, policy)
        if name in entries:
            mall = entries[name]
            assert mall == bound_for, f"S10: {name} comes to {mall}, not to {bound_for}"
            assert may or wants_work(driver), f"S10: {name} is coming and may not be offered more"
            if not may and seen.nodes.get(driver.node, 0) > seen.now:
                limit = max(_last_ms(driver, policy), seen.now)
                assert at <= limit + GRACE_MS, f"S10: nothing will take {name} out of coming"
        elif may and driver.node not in lapsed:
            limit = max(driver.cool_until_ms, seen.now)
            assert at <= limit + GRACE_MS, f"S10: nothing will put {name} into coming"
    assert set(entries) <= set(seen.drivers), "S10: coming has an unknown driver"


def check_settled(seen: Snapshot, policy: MarketPolicy) -> None:
    """Check that nothing is overdue after a sweep of all due entries and dead nodes."""
    asked = [driver for driver in seen.drivers.values() if may_be_asked(seen, driver, policy)]
    bound = {f"{is_bound_for(seen, driver, policy)}/{driver.id}" for driver in asked if driver.jobs}
    bound = {entry for entry in bound if not entry.startswith("None/")}
    assert seen.coming == bound, f"S10: coming are {set(seen.coming)}, should be {bound}"
    free = {driver.id for driver in asked if not driver.jobs}
    assert seen.idle == free, f"S10: idle is {set(seen.idle)}, free are {free}"
    late = {member: at for member, at in seen.due.items() if at <= seen.now}
    assert not late, f"S14: still overdue: {late}"


def check_effects(
    before: Snapshot, after: Snapshot, malls: Collection[str], freed: Collection[str]
) -> None:
    """Check that the effects name each mall with a new queued job and each freed driver."""
    for name, job in after.jobs.items():
        was = before.jobs.get(name)
        if job.state is JobState.QUEUED and (was is None or was.state is not JobState.QUEUED):
            assert job.mall in malls, f"L3: no effect names {name}, which searches for a driver"
    new = after.idle - before.idle
    assert new <= set(freed), f"L1: no effect names {new - set(freed)}, now free"
    for entry in after.coming - before.coming:
        mall = entry.partition("/")[0]
        is_named = mall in malls or not after.queues[mall]
        assert is_named, f"L1: no effect names {entry}, who may be offered more"


def check_alerts(before: Snapshot, seen: Snapshot, effects: Effects | None) -> None:
    """Every alert is in the list of its state, and each one in the effects is stored."""
    acknowledged = {name for name, alert in seen.alerts.items() if alert.get("by")}
    assert seen.alerts_done == acknowledged, "acknowledged alerts are in another list"
    assert seen.alerts_open == seen.alerts.keys() - acknowledged, "open alerts are in another list"
    if effects is not None:
        new = [seen.alerts[name]["what"] for name in sorted(seen.alerts.keys() - before.alerts)]
        assert new == list(effects.alerts), f"{effects.alerts} in effects, {new} stored"
