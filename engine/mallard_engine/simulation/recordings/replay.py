"""Turns a recorded day into statistics, and into a scenario for another policy.

A recording is incomplete; these are all the assumptions. A driver starts each block at the distance
from its first mall that its first drive there took, in a random direction; a driver without a job
starts at the distance of the others, around a random mall. It accepts offers with its probability
of that day (smoothed by two offers of the mean driver), ignores half of the others, and answers
after the median time. At a mall it needs the median time there after the parcel was ready. Driving
takes the market's travel time and a door its dwell time. Cancelled jobs and jobs without a stored
need are left out. Weights, volumes, equipment and holds are ignored.
"""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import cos, pi, radians, sin
from statistics import fmean, median

from mallard_engine.core.matching.travel_time import StraightLine
from mallard_engine.core.places.geo import haversine_m
from mallard_engine.core.places.markets import Places
from mallard_engine.core.policy import MarketPolicy
from mallard_engine.input_files import InputError
from mallard_engine.simulation.recordings.recording import RecordedEvent, RecordedJob, Recording
from mallard_engine.simulation.scenario import MINUTE_MS, Scenario, Service, Shift, SimulatedOrder
from mallard_protocol.lifecycle import JobState

_M_PER_DEG = 111_195.0
# A driver that is away for less than this continues its block.
_PAUSE_MS = 2 * MINUTE_MS
_SMOOTHING = 2.0
# An order whose deadline is years ahead expires this long after the end of the recording.
_AFTER_MS = 24 * 60 * MINUTE_MS
# A cool-down may end this much later than live.
_SWEEP_S = 5.0


@dataclass(frozen=True, slots=True)
class ReplayStatistics:
    """The statistics that compare a recorded and a replayed day, in minutes and per cent."""

    orders: int
    undelivered_percent: float
    wait_mean: float | None
    wait_p95: float | None
    click_to_door_mean: float | None
    on_time_percent: float
    offers_per_order: float
    km_per_order: float | None = None


@dataclass(frozen=True, slots=True)
class _JobHistory:
    """When a job last entered each state."""

    job: RecordedJob
    at: Mapping[str, int]
    driver: str


def as_it_was(recording: Recording) -> ReplayStatistics:
    """Return the statistics of the recorded day."""
    histories = _job_histories(recording)
    orders = len(histories)
    if not orders:
        raise InputError("no job of the recording was submitted in it and not cancelled")
    done = [
        one for one in histories if JobState.DELIVERED in one.at and JobState.PICKED_UP in one.at
    ]
    waits = sorted(
        (one.at[JobState.PICKED_UP] - max(one.job.ready_ms, one.job.created_ms)) / MINUTE_MS
        for one in done
    )
    on_time = sum(one.at[JobState.DELIVERED] <= one.job.deadline_ms for one in done)
    ctd = [(one.at[JobState.DELIVERED] - one.job.created_ms) / MINUTE_MS for one in done]
    jobs = {one.job.id for one in histories}
    offers = sum(
        event.became == JobState.OFFERED and event.job in jobs for event in recording.events
    )
    return ReplayStatistics(
        orders,
        100 * (orders - len(done)) / orders,
        fmean(waits) if waits else None,
        waits[int(0.95 * len(waits))] if waits else None,
        fmean(ctd) if ctd else None,
        100 * on_time / orders,
        offers / orders,
    )


def scenario_of(
    recording: Recording, places: Places, policy: MarketPolicy, *, seed: int = 0
) -> Scenario:
    """Return the day as a scenario. Raises `InputError` if nothing of it can be replayed."""
    if recording.market not in places.markets:
        raise InputError(f"there is no market {recording.market!r}")
    histories = _job_histories(recording)
    malls = places.markets[recording.market].malls
    for one in histories:
        stores = malls[one.job.mall].stores if one.job.mall in malls else {}
        if unknown := [store for store in one.job.stores if store not in stores]:
            raise InputError(f"job {one.job.id}: there is no {unknown[0]} at {one.job.mall}")
    shifts = _shifts(
        recording, histories, places, policy, random.Random(f"{seed} {recording.market}")
    )
    if not histories or not shifts:
        raise InputError("the recording has no job, or no driver, that could be replayed")
    last_ms = max(event.at for event in recording.events) + _AFTER_MS
    orders = tuple(
        SimulatedOrder(
            # A job's id begins with its market's, which the simulation adds again.
            one.job.id.removeprefix(f"job_{recording.market}."),
            one.job.mall,
            one.job.lat,
            one.job.lon,
            placed_ms=one.job.created_ms,
            ready_ms=one.job.ready_ms,
            best_by_ms=one.job.deadline_ms,
            expires_ms=min(one.job.expires_ms, max(last_ms, one.job.created_ms + _AFTER_MS)),
            stores=one.job.stores,
        )
        for one in histories
    )
    answers = _spans(recording.events, JobState.OFFERED, JobState.ASSIGNED)
    return Scenario(
        name=f"{recording.market} replayed",
        market=recording.market,
        places=places,
        policy=policy,
        travel=StraightLine.of(policy, places.market(recording.market).time_zone),
        distance_m=lambda *ends: policy.circuity * haversine_m(*ends),
        service=Service(
            park_ms=_at_counter_ms(histories, policy),
            door_ms=round(policy.dropoff_dwell_s * 1000),
            leave_ms=0,
        ),
        orders=orders,
        shifts=shifts,
        start_ms=min(*(order.placed_ms for order in orders), *(shift.on_ms for shift in shifts)),
        end_ms=max(order.expires_ms for order in orders) + MINUTE_MS,
        answer_ms=round(median(answers)) if answers else 0,
        sweep_s=_SWEEP_S,
        seed=seed,
    )


def _job_histories(recording: Recording) -> list[_JobHistory]:
    """Return the jobs that were submitted within the recording and not cancelled."""
    at: dict[str, dict[str, int]] = {}
    driver: dict[str, str] = {}
    for event in recording.events:
        if event.kind == "job" and event.became != event.was:
            if not event.was:
                at[event.job] = {}
            at.setdefault(event.job, {})[event.became] = event.at
            if event.became == JobState.ASSIGNED:
                driver[event.job] = event.driver
    begun = {event.job for event in recording.events if event.kind == "job" and not event.was}
    return [
        _JobHistory(recording.jobs[job], states, driver.get(job, ""))
        for job, states in at.items()
        if job in begun and job in recording.jobs and JobState.CANCELLED not in states
    ]


def _spans(events: Sequence[RecordedEvent], start: str, end: str) -> list[int]:
    """Return the times between two consecutive states of the jobs."""
    since: dict[str, tuple[str, int]] = {}
    spans = []
    for event in events:
        if event.kind != "job" or event.was == event.became:
            continue
        state, at = since.get(event.job, ("", 0))
        if state == start and event.became == end:
            spans.append(event.at - at)
        since[event.job] = (event.became, event.at)
    return spans


def _at_counter_ms(histories: Sequence[_JobHistory], policy: MarketPolicy) -> int:
    spans = [
        one.at[JobState.PICKED_UP] - max(one.at[JobState.AT_MALL], one.job.ready_ms)
        for one in histories
        if JobState.PICKED_UP in one.at and JobState.AT_MALL in one.at
    ]
    return max(0, round(median(spans))) if spans else round(policy.store_dwell_s * 1000)


def _shifts(
    recording: Recording,
    histories: Sequence[_JobHistory],
    places: Places,
    policy: MarketPolicy,
    rng: random.Random,
) -> tuple[Shift, ...]:
    ways = {
        (one.driver, one.at[JobState.ASSIGNED]): (one, one.at[JobState.AT_MALL])
        for one in histories
        if one.driver and JobState.ASSIGNED in one.at and JobState.AT_MALL in one.at
    }
    away_m = [
        min((there - at) / 1000 * policy.speed_mps / policy.circuity, policy.max_radius_m)
        for (_, at), (_, there) in ways.items()
    ]
    malls = tuple(places.markets[recording.market].malls.values())
    acceptance, overall = _acceptance(recording, histories)
    shifts: list[Shift] = []
    for driver, blocks in _blocks(recording).items():
        for number, (on_ms, off_ms) in enumerate(blocks, start=1):
            mine = [
                (at, one, there)
                for (who, at), (one, there) in ways.items()
                if who == driver and on_ms <= at <= off_ms
            ]
            if mine:
                at, one, there = min(mine, key=lambda way: way[0])
                mall = places.mall(one.job.mall)
                metres = (there - at) / 1000 * policy.speed_mps / policy.circuity
            else:
                mall = rng.choice(malls)
                metres = rng.choice(away_m) if away_m else policy.initial_radius_m
            metres, angle = min(metres, policy.max_radius_m), rng.uniform(0, 2 * pi)
            shifts.append(
                Shift(
                    driver if number == 1 else f"{driver}~{number}",
                    mall.lat + metres * cos(angle) / _M_PER_DEG,
                    mall.lon + metres * sin(angle) / (_M_PER_DEG * cos(radians(mall.lat))),
                    on_ms,
                    off_ms,
                    acceptance.get(driver, overall),
                )
            )
    return tuple(shifts)


def _blocks(recording: Recording) -> dict[str, list[tuple[int, int]]]:
    """Return the blocks in which each driver could receive offers."""
    if not recording.events:
        return {}
    first_ms, last_ms = recording.events[0].at, recording.events[-1].at
    since: dict[str, int] = {}
    wish: dict[str, bool] = {}
    blocks: dict[str, list[tuple[int, int]]] = {}

    def close(driver: str, at_ms: int) -> None:
        on_ms = since.pop(driver, None)
        if on_ms is None or at_ms <= on_ms:
            return
        known = blocks.setdefault(driver, [])
        if known and on_ms - known[-1][1] < _PAUSE_MS:
            on_ms = known.pop()[0]
        known.append((on_ms, at_ms))

    for event in recording.events:
        if event.kind == "job" and event.driver and event.driver not in wish:
            # It was available before the recording began.
            wish[event.driver] = True
            since[event.driver] = first_ms
        if event.kind != "driver":
            continue
        if event.what in {"available", "paused", "offline"}:
            wish[event.driver] = event.what == "available"
        if event.what in {"available", "connected", "resumed"} and wish.get(event.driver):
            since.setdefault(event.driver, event.at)
        elif event.what in {"paused", "offline", "disconnected", "suspended"}:
            close(event.driver, event.at)
    for driver in sorted(since):
        close(driver, last_ms)
    return dict(sorted(blocks.items()))


def _acceptance(
    recording: Recording, histories: Sequence[_JobHistory]
) -> tuple[dict[str, float], float]:
    """Return each driver's share of accepted offers, and the share of all drivers together."""
    taken = Counter(event.driver for event in recording.events if event.became == JobState.ASSIGNED)
    refused = Counter(driver for one in histories for driver in one.job.refused_by)
    asked = taken.total() + refused.total()
    overall = taken.total() / asked if asked else 1.0
    own = {
        driver: (taken[driver] + _SMOOTHING * overall)
        / (taken[driver] + refused[driver] + _SMOOTHING)
        for driver in {*taken, *refused}
    }
    return own, overall
