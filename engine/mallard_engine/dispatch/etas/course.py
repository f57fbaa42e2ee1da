"""The course of a driver who holds jobs: where it goes next, and when it is at each door."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

from mallard_engine.core.model import Job, Need
from mallard_engine.core.pickup.pickup_plan import run_tour
from mallard_engine.core.runs.drop_off_order import HARD_S, OrderCosts, Stops, best_order
from mallard_engine.core.tracking import has_more_to_collect
from mallard_engine.dispatch.context import Context
from mallard_engine.ports import DriverSnapshot, NoSuchDriver, Stop
from mallard_protocol.lifecycle import JobState

_UNDER_WAY = (JobState.ASSIGNED, JobState.AT_MALL, JobState.PICKED_UP)

Times = dict[str, tuple[int, int]]
"""When each job is picked up and dropped off (epoch ms), by its id."""


@dataclass(frozen=True, slots=True)
class _Departure:
    """Where and when the drop-offs begin, and when what is not on board yet is picked up."""

    lat: float
    lon: float
    at_ms: int
    pickup_ms: int


def in_order(jobs: Sequence[Job]) -> tuple[Job, ...]:
    """Return the jobs under way in drop-off order; those without a time are last."""
    under_way = [job for job in jobs if job.state in _UNDER_WAY]
    return tuple(sorted(under_way, key=lambda job: job.eta_dropoff_ms or inf))


def times_of(
    context: Context, market: str, here: tuple[float, float], jobs: Sequence[Job], now_ms: int
) -> Times:
    """Return the times of jobs that are dropped off in this order, by a driver who is `here`."""
    return _times(context, market, _departure(context, market, here, jobs, now_ms), jobs, now_ms)


async def changed_course(context: Context, job: Job, need: Need) -> tuple[Stop, ...]:
    """Return the times of all jobs of a holder, in the best order, if one of them changes.

    Args:
        context: the dispatcher's context.
        job: the job that changes, as it was read.
        need: what it will need.

    Returns:
        Nothing if no driver is under way with it, or if its position is unknown.

    Raises:
        StoreUnavailable: The storage cannot be reached.
    """
    if job.driver is None or job.state not in _UNDER_WAY:
        return ()
    try:
        snapshot = await context.storage.drivers.snapshot(job.market, job.driver)
    except NoSuchDriver:
        return ()
    held = [replace(it, need=need) if it.id == job.id else it for it in snapshot.jobs]
    if all(it.id != job.id for it in held):
        return ()
    return _best_course(context, job.market, replace(snapshot, jobs=tuple(held)))


async def new_course(context: Context, market: str, driver: str) -> tuple[Stop, ...]:
    """Return the times of all jobs of a driver who has taken over others, in the best order.

    Returns:
        Nothing if the driver's position is unknown.

    Raises:
        NoSuchDriver: The market has no such driver.
        StoreUnavailable: The storage cannot be reached.
    """
    snapshot = await context.storage.drivers.snapshot(market, driver)
    return _best_course(context, market, snapshot)


def _best_course(context: Context, market: str, snapshot: DriverSnapshot) -> tuple[Stop, ...]:
    """Return the times of the jobs under way, in the best order from where their driver is."""
    at, now_ms = snapshot.driver.position, context.storage.now_ms()
    jobs = in_order([it for it in snapshot.jobs if context.places.knows(it.mall)])
    if at is None or not jobs:
        return ()
    departure = _departure(context, market, (at.lat, at.lon), jobs, now_ms)
    jobs = _best_order(context, market, departure, jobs)
    times = _times(context, market, departure, jobs, now_ms)
    return tuple(Stop(it.id, it.attempt, *times[it.id]) for it in jobs)


def _departure(
    context: Context, market: str, here: tuple[float, float], jobs: Sequence[Job], now_ms: int
) -> _Departure:
    waiting = [job for job in jobs if has_more_to_collect(job)]
    if not waiting:
        return _Departure(*here, now_ms, now_ms)
    mall = context.places.mall(waiting[0].mall)
    # An operator may have added a job elsewhere, such as a transfer.
    waiting = [job for job in waiting if job.mall == mall.id]
    service_time = context.service_time(market)
    needs = [job.need for job in waiting]
    arrived_ms = [ms for job in waiting if (ms := job.arrived_ms) is not None]
    come_ms = min(arrived_ms, default=now_ms)
    tour = run_tour(mall, needs, service_time, come_ms)
    gate = mall.gates[tour.gate]
    if not arrived_ms:
        way_s = context.travel_time(market).seconds(*here, gate.lat, gate.lon, now_ms)
        come_ms = now_ms + int(way_s * 1000)
        tour = run_tour(mall, needs, service_time, come_ms, gate.id)
    pickup_ms = max(tour.done_ms(come_ms), now_ms)
    return _Departure(gate.lat, gate.lon, pickup_ms + tour.back_ms, pickup_ms)


def _times(
    context: Context, market: str, departure: _Departure, jobs: Sequence[Job], now_ms: int
) -> Times:
    travel, policy = context.travel_time(market), context.policy(market)
    here, at_ms, times = (departure.lat, departure.lon), departure.at_ms, {}
    for job in jobs:
        way_s = travel.seconds(*here, job.need.lat, job.need.lon, at_ms)
        at_ms += int((way_s + policy.dropoff_dwell_s) * 1000)
        is_on_board = job.state is JobState.PICKED_UP
        pickup_ms = (job.eta_pickup_ms or now_ms) if is_on_board else departure.pickup_ms
        times[job.id] = pickup_ms, at_ms
        here = job.need.lat, job.need.lon
    return times


def _best_order(
    context: Context, market: str, departure: _Departure, jobs: Sequence[Job]
) -> tuple[Job, ...]:
    travel, policy = context.travel_time(market), context.policy(market)
    points = [
        (departure.lat, departure.lon),
        *((job.need.lat, job.need.lon) for job in jobs),
    ]
    ways_s = [[travel.seconds(*a, *b, departure.at_ms) for b in points] for a in points]
    stops = Stops(
        out_s=ways_s[0][1:],
        between_s=[row[1:] for row in ways_s[1:]],
        back_s=[row[0] for row in ways_s[1:]],
        due_s=[(job.need.deadline_ms - departure.at_ms) / 1000 for job in jobs],
        dwell_s=policy.dropoff_dwell_s,
    )
    late = HARD_S if policy.run.deadlines == "hard" else policy.run.late
    best = best_order(stops, OrderCosts(late, policy.run.back, policy.run.delay))
    return tuple(jobs[stop] for stop in best.order)
