"""The search for a driver: where it starts, how it widens, and when a job ends without one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mallard_engine.core.matching.offer_rungs import Rung
from mallard_engine.core.model import RankedDriver, Waiting
from mallard_engine.core.policy import MarketPolicy, SearchPolicy
from mallard_protocol.codes import JobReason

# The next search at a mall starts beyond the radius that the last one needed, and above a minimum,
# as the script widens a search by doubling.
_MARGIN = 1.5
_LEAST_RADIUS_M = 100.0
# A round reads about this many queued jobs: the first ones of each service.
JOBS_AT_FIRST = 64
# How long a store is held when a driver's report gives no time, and at most.
HOLD_MS = 900_000
LONGEST_HOLD_MS = 4 * 3_600_000
# Kinds of reports that hold all of a store's jobs.
HOLDS_STORE = ("not_ready", "store_closed")


@dataclass(frozen=True, slots=True)
class Search:
    """The limits of a round: radius in metres, drivers to rank and jobs to read."""

    radius_m: float
    drivers: int
    jobs: int = JOBS_AT_FIRST


def held_until_ms(kind: str, until_ms: int | None, now_ms: int) -> int | None:
    """Return until when a driver's report holds parcels (epoch ms); None if it does not.

    A report that a store is closed or not ready holds for `HOLD_MS` if it gives no time. One report
    holds a store's jobs for all drivers, so it holds for `LONGEST_HOLD_MS` at most; the next driver
    there can report again.
    """
    if kind not in HOLDS_STORE:
        return None
    if until_ms is None:
        return now_ms + HOLD_MS
    if until_ms <= now_ms:
        return None
    return min(until_ms, now_ms + LONGEST_HOLD_MS)


def first_look_ms(ready_ms: int, now_ms: int, way_s: float, policy: MarketPolicy) -> int:
    """Return when the search for a driver begins, so that one arrives when the parcel is ready.

    The lead time is the travel from the initial radius (`way_s` seconds) and two offers.
    """
    lead_ms = int(way_s * 1000) + 2 * policy.offer_timeout_ms
    return max(now_ms, ready_ms - lead_ms)


def first_batch_ms(ready_ms: int, now_ms: int, way_s: float, policy: MarketPolicy) -> int:
    """Return when batches begin to plan the job; a batch holds it until its driver must set off."""
    look_ahead_ms = int(policy.look_ahead_s * 1000)
    first_ms = first_look_ms(ready_ms, now_ms, way_s, policy)
    return min(first_ms, max(now_ms, ready_ms - look_ahead_ms))


def first_search(needed_m: float | None, policy: SearchPolicy) -> Search:
    """Return the first search of a round, from the radius that the last one at the mall needed."""
    radius_m = policy.initial_radius_m
    if needed_m is not None:
        radius_m = max(needed_m * _MARGIN, _LEAST_RADIUS_M)
    return Search(min(radius_m, policy.max_radius_m), min(policy.candidates, policy.max_candidates))


def wide_for(search: Search, rungs: Sequence[Rung], policy: SearchPolicy) -> Search:
    """Return the search with enough drivers for the widest of these rungs."""
    widest = min(max(rung.drivers for rung in rungs), policy.max_candidates)
    return replace(search, drivers=max(search.drivers, widest))


def wide_enough(search: Search, jobs: int, policy: SearchPolicy) -> Search | None:
    """Return the search with two drivers for each job, within the cap; None if it has them."""
    drivers = min(2 * jobs, policy.max_candidates)
    return Search(search.radius_m, drivers, search.jobs) if drivers > search.drivers else None


def widened(search: Search, policy: SearchPolicy, *, more_drivers: bool) -> Search | None:
    """Return the search after one that placed no job; None at the cap or without more drivers."""
    drivers = min(search.drivers * 2, policy.max_candidates) if more_drivers else search.drivers
    return None if drivers == search.drivers else replace(search, drivers=drivers)


def end_reason(
    job: Waiting, ranked: Sequence[RankedDriver], now_ms: int, policy: SearchPolicy
) -> JobReason | None:
    """Return why a queued job must end now; None while it may continue."""
    if job.attempt >= policy.max_attempts:
        return JobReason.TOO_MANY_ATTEMPTS
    if now_ms < job.need.expires_ms:
        return None
    if now_ms < max(job.need.ready_ms, job.held_until_ms):
        return JobReason.NOT_READY_IN_TIME
    if job.asked:
        return JobReason.NOBODY_ACCEPTED
    return JobReason.NOBODY_FITS if ranked else JobReason.NOBODY_IN_REACH
