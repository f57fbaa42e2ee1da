"""What to do after a round or an offer that did not find its driver: widen, wait, give up."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mallard_engine.core.matching.offer_rungs import Rung
from mallard_engine.core.model import RankedDriver, Waiting
from mallard_engine.core.policy import MarketPolicy, SearchPolicy
from mallard_protocol.codes import JobReason

# The next search at a mall starts a little beyond what the last one needed, and never from nothing:
# the store widens a search by doubling.
_MARGIN = 1.5
_LEAST_RADIUS_M = 100.0
# A round reads about this many queued jobs: the first of each service.
JOBS_AT_FIRST = 64
# How long a store is held when a driver found it not ready and did not say until when; and at most.
HOLD_MS = 900_000
LONGEST_HOLD_MS = 4 * 3_600_000
# Which reports hold all of a store's jobs, and which the parcels of their own job.
HOLDS_STORE = ("not_ready", "store_closed")
HOLDS_PARCELS = (*HOLDS_STORE, "missing", "partial")


@dataclass(frozen=True, slots=True)
class Search:
    """How far and how wide a round looks."""

    radius_m: float
    drivers: int
    jobs: int = JOBS_AT_FIRST


def held_until_ms(kind: str, until_ms: int | None, now_ms: int) -> int | None:
    """Until when a driver's report holds parcels; None: it holds none, or none any more.

    A store that is closed or not ready is held a while though nobody says until when; what is
    missing, only until the time that is told. One driver's word holds a store's jobs back for
    everybody, so it does no longer than `LONGEST_HOLD_MS`: whoever stands there then says it again.
    """
    if until_ms is None and kind in HOLDS_STORE:
        return now_ms + HOLD_MS
    if until_ms is None or until_ms <= now_ms or kind not in HOLDS_PARCELS:
        return None
    return min(until_ms, now_ms + LONGEST_HOLD_MS)


def first_look_ms(ready_ms: int, now_ms: int, way_s: float, policy: MarketPolicy) -> int:
    """When a job begins to look for a driver, so that one arrives when the parcel is ready.

    A driver needs the way there, ``way_s`` from as far as a search starts, and an offer or two
    before that.
    """
    lead_ms = int(way_s * 1000) + 2 * policy.offer_timeout_ms
    return max(now_ms, ready_ms - lead_ms)


def first_batch_ms(ready_ms: int, now_ms: int, way_s: float, policy: MarketPolicy) -> int:
    """The same where rounds are batches: when a plan may begin to count with the job. A batch holds
    it itself until its driver must set off."""
    look_ahead_ms = int(policy.look_ahead_s * 1000)
    first_ms = first_look_ms(ready_ms, now_ms, way_s, policy)
    return min(first_ms, max(now_ms, ready_ms - look_ahead_ms))


def first_search(needed_m: float | None, policy: SearchPolicy) -> Search:
    """Where a round starts: from what the last search at this mall needed."""
    radius_m = policy.initial_radius_m
    if needed_m is not None:
        radius_m = max(needed_m * _MARGIN, _LEAST_RADIUS_M)
    return Search(min(radius_m, policy.max_radius_m), min(policy.candidates, policy.max_candidates))


def wide_for(search: Search, rungs: Sequence[Rung], policy: SearchPolicy) -> Search:
    """The same search for rounds that may ask so many drivers at once."""
    widest = min(max(rung.drivers for rung in rungs), policy.max_candidates)
    return replace(search, drivers=max(search.drivers, widest))


def wide_enough(search: Search, jobs: int, policy: SearchPolicy) -> Search | None:
    """The same search with two drivers for each of these jobs, within the cap; None if it has
    them."""
    drivers = min(2 * jobs, policy.max_candidates)
    return Search(search.radius_m, drivers, search.jobs) if drivers > search.drivers else None


def widened(search: Search, policy: SearchPolicy, *, more_drivers: bool) -> Search | None:
    """The next search after one that placed nothing; None when all drivers have been looked at, or
    the cap was met."""
    drivers = min(search.drivers * 2, policy.max_candidates) if more_drivers else search.drivers
    return None if drivers == search.drivers else replace(search, drivers=drivers)


def end_reason(
    job: Waiting, ranked: Sequence[RankedDriver], now_ms: int, policy: SearchPolicy
) -> JobReason | None:
    """Why a queued job must end now; None while it may go on."""
    if job.attempt >= policy.max_attempts:
        return JobReason.TOO_MANY_ATTEMPTS
    if now_ms < job.need.expires_ms:
        return None
    if now_ms < max(job.need.ready_ms, job.held_until_ms):
        return JobReason.NOT_READY_IN_TIME
    if job.asked:
        return JobReason.NOBODY_ACCEPTED
    return JobReason.NOBODY_FITS if ranked else JobReason.NOBODY_IN_REACH
