"""Nobody is offered what it cannot collect by the tour that it chooses on arrival.

Orders of several stores close to their window's end or to closing, in instant, batch and run
rounds; and nobody is refused who could collect by that tour.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, Literal

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from mallard_engine.core.batch.cost_matrix import Table
from mallard_engine.core.batch.solver import BatchDriver, BatchJob, solve
from mallard_engine.core.matching import ranking
from mallard_engine.core.matching.ranking import Matcher
from mallard_engine.core.model import Near, Need, RankedDriver, Vehicle, Waiting
from mallard_engine.core.pickup.pickup_deadline import collect_by_ms
from mallard_engine.core.pickup.pickup_plan import run_tour, service_times
from mallard_engine.core.places.mall import Mall
from mallard_engine.core.places.opening_hours import OpeningHours, parse_spans
from mallard_engine.core.policy import MarketPolicy, RunCosts
from mallard_engine.core.runs.run import Run
from mallard_engine.dispatch.rounds.runs.planner import RunPlanner
from tests.engine.core import makers
from tests.engine.core.makers import MALL, NOW_MS, TRAVEL
from tests.properties.profiles import DEEP

pytestmark = pytest.mark.finding("D2")

MINUTE_MS = 60_000
STORES = tuple(MALL.stores)[::7]
ROOMY = Vehicle(max_jobs=4)
SERVICE_TIME = service_times({MALL.id: MALL}.__getitem__, 120.0)
SETTINGS = settings(
    max_examples=2_000 if DEEP else 120,
    deadline=None,
    database=None,
    derandomize=not DEEP,
    report_multiple_bugs=False,
)
# What one store's parcels are ready at and an order's window ends at, in seconds from now.
visits = st.lists(
    st.tuples(st.sampled_from(STORES), st.integers(-60, 1_500)),
    min_size=1,
    max_size=4,
    unique_by=lambda visit: visit[0],
)
orders = st.tuples(visits, st.integers(300, 2_400))
# Found at random: what a batch judged by one tour for all drivers.
LATE_BY_ITS_OWN_TOUR = (
    [("lego", 0), ("forever-21", 0), ("sees-candies", 0), ("torrid", 1_018)],
    1_161,
)
# What a run found in time by the plan, and late by its driver's own tour.
LATE_BY_THE_RUNS_TOUR = ([("american-eagle", 316), ("lego", 0)], 513)
IN_TIME_BY_ITS_OWN_TOUR = ([("sees-candies", 211), ("lego", 0), ("american-eagle", 0)], 696)
# Metres north of the mall.
drivers = st.lists(st.integers(200, 9_000), min_size=1, max_size=3, unique=True)
# Minutes until the mall closes; None: it does not close today.
closings = st.none() | st.integers(5, 40)


@dataclass(frozen=True)
class Scene:
    """Waiting orders of a mall and the free drivers around it."""

    mall: Mall
    jobs: tuple[Waiting, ...]
    near: tuple[Near, ...]

    def in_hand_ms(self, candidate: RankedDriver, needs: list[Need], asked_ms: int) -> int:
        """When the driver has the parcels in hand, if it departs then."""
        at = next(it.position for it in self.near if it.driver.id == candidate.driver)
        gate = self.mall.gates[candidate.gate]
        way_s = TRAVEL.seconds(at.lat, at.lon, gate.lat, gate.lon, asked_ms)
        arrive_ms = asked_ms + int(way_s * 1000)
        return run_tour(self.mall, needs, SERVICE_TIME, arrive_ms, gate.id).done_ms(arrive_ms)

    def check(self, candidate: RankedDriver, jobs: tuple[Waiting, ...]) -> None:
        """Check a driver that may be offered these jobs until `ask_by_ms`."""
        needs = [job.need for job in jobs]
        by_ms = min(collect_by_ms(self.mall, need, NOW_MS) for need in needs)
        assert candidate.ask_by_ms >= NOW_MS, "nobody could offer it"
        until_ms = min(candidate.ask_by_ms, NOW_MS + 20 * MINUTE_MS)
        for asked_ms in {*range(NOW_MS, until_ms, MINUTE_MS // 2), until_ms}:
            late_ms = self.in_hand_ms(candidate, needs, asked_ms) - by_ms
            assert late_ms <= 0, f"{late_ms} ms late if asked {asked_ms - NOW_MS} ms from now"


def scene(asked: list[tuple[Any, int]], metres: list[int], closes_min: int | None) -> Scene:
    mall = MALL
    if closes_min is not None:
        week = _week_that_closes(closes_min)
        mall = replace(mall, hours=OpeningHours("UTC", (parse_spans(week),) * 7))
    jobs = []
    for number, (stores, window_s) in enumerate(asked):
        each_ms = tuple(NOW_MS + ready_s * 1000 for _, ready_s in stores)
        need = makers.need(
            stores=tuple(store for store, _ in stores),
            ready_ms=max(each_ms),
            store_ready_ms=each_ms if len(stores) > 1 else (),
            expires_ms=NOW_MS + window_s * 1000,
        )
        jobs.append(makers.waiting(f"job_phoenix.{number}", need=need))
    near = [makers.near(makers.driver(f"d{at}", vehicle=ROOMY), float(at)) for at in metres]
    return Scene(mall, tuple(jobs), tuple(near))


def _week_that_closes(in_min: int) -> str:
    closes_min = (NOW_MS // MINUTE_MS + in_min) % 1_440
    return f"{(closes_min + 60) // 60 % 24:02}:00-{closes_min // 60:02}:{closes_min % 60:02}"


def instant(at: Scene) -> Iterator[tuple[RankedDriver, tuple[Waiting, ...]]]:
    """What a round of the mall may offer."""
    matcher = Matcher(at.mall, at.near, NOW_MS, MarketPolicy(), TRAVEL, SERVICE_TIME)
    for job in at.jobs:
        yield from ((it, (job,)) for it in matcher.rank(job.need) if it.eligible)


def batch(at: Scene) -> Iterator[tuple[RankedDriver, tuple[Waiting, ...]]]:
    """What a batch may offer."""
    free = [BatchDriver(it.driver, it.position.lat, it.position.lon) for it in at.near]
    jobs = [BatchJob(job, at.mall) for job in at.jobs]
    policy = MarketPolicy(round="batch", max_run_jobs=3, bundle_jobs=3)
    for plan in solve(jobs, free, NOW_MS, policy, TRAVEL, SERVICE_TIME):
        if plan.now:
            yield plan.ranking()[0], tuple(job.waiting for job in plan.jobs)


def runs(
    at: Scene, plan: Literal["by_driver", "by_deadline"]
) -> Iterator[tuple[RankedDriver, tuple[Waiting, ...]]]:
    """What a round with pooling may offer."""
    policy = MarketPolicy(max_run_jobs=4, run=RunCosts(plan=plan))
    context: Any = SimpleNamespace(
        policy=lambda _: policy,
        travel_time=lambda _: TRAVEL,
        service_time=lambda _: SERVICE_TIME,
        runtime=SimpleNamespace(new_offer_id=lambda: "offer"),
    )
    waiting = {job.job: job for job in at.jobs}
    planned = RunPlanner(context, "phoenix").plan(at.mall, at.jobs, at.near, (), NOW_MS)
    for offer in planned.offers:
        jobs = tuple(waiting[it.job] for it in offer.jobs)
        yield from ((driver, jobs) for driver in offer.drivers)
        for shown in offer.jobs[0].record.candidates:
            if shown.eligible:
                yield shown, jobs


ROUNDS: dict[str, Callable[[Scene], Iterator[tuple[RankedDriver, tuple[Waiting, ...]]]]] = {
    "instant": instant,
    "batch": batch,
    "by driver": lambda at: runs(at, "by_driver"),
    "by deadline": lambda at: runs(at, "by_deadline"),
}


def check_offers(kind: str, profile: settings) -> None:
    """Check that each driver who may be offered jobs collects them in time."""

    @example(asked=[LATE_BY_ITS_OWN_TOUR], metres=[200], closes_min=None)
    @example(asked=[LATE_BY_THE_RUNS_TOUR], metres=[200], closes_min=None)
    @given(asked=st.lists(orders, min_size=1, max_size=3), metres=drivers, closes_min=closings)
    @profile
    def each(asked: list[tuple[Any, int]], metres: list[int], closes_min: int | None) -> None:
        at = scene(asked, metres, closes_min)
        for candidate, jobs in ROUNDS[kind](at):
            at.check(candidate, jobs)

    each()


def check_candidates(kind: str, profile: settings) -> None:
    """Check that each driver who collects a job in time is a candidate.

    A batch shows only the driver that it has chosen, so it gets one.
    """

    @example(asked=IN_TIME_BY_ITS_OWN_TOUR, metres=[200], closes_min=None)
    @given(asked=orders, metres=drivers, closes_min=closings)
    @profile
    def each(asked: tuple[Any, int], metres: list[int], closes_min: int | None) -> None:
        at = scene([asked], metres if kind == "instant" else metres[:1], closes_min)
        (job,) = at.jobs
        by_ms = collect_by_ms(at.mall, job.need, NOW_MS)
        offered = {candidate.driver for candidate, _ in ROUNDS[kind](at)}
        everybody = Matcher(at.mall, at.near, NOW_MS, MarketPolicy(), TRAVEL, SERVICE_TIME)
        for candidate in everybody.rank(job.need):
            early_ms = by_ms - at.in_hand_ms(candidate, [job.need], NOW_MS)
            # A few milliseconds for the times that a round rounds.
            assert candidate.driver in offered or early_ms < 5, f"refused, {early_ms} ms early"

    each()


def _as_planned(_planner: RunPlanner, _mall: Mall, run: Run, *times_ms: int) -> tuple[int, int]:
    """Judge a driver by the tour of the one for whom the run was planned."""
    arrive_ms, by_ms = times_ms
    collect_ms = int(run.collect_s * 1000)
    return arrive_ms + collect_ms, by_ms - collect_ms


@pytest.mark.parametrize("kind", ROUNDS)
def test_no_driver_is_offered_what_it_cannot_collect(kind: str) -> None:
    check_offers(kind, SETTINGS)


@pytest.mark.parametrize("kind", ["instant", "batch"])
def test_driver_in_time_for_pickup_is_a_candidate(kind: str) -> None:
    check_candidates(kind, SETTINGS)


@pytest.mark.parametrize(
    ("kind", "place", "name", "bug"),
    [
        ("instant", ranking, "arrive_by_ms", lambda _tour_of, _arrive_ms, by_ms: by_ms),
        ("batch", Table, "_judge_by_own_tours", lambda *_: None),
        ("by driver", RunPlanner, "_pickup_ms", _as_planned),
    ],
)
def test_planted_bug_of_tours_is_found(
    monkeypatch: pytest.MonkeyPatch, kind: str, place: object, name: str, bug: Callable[..., object]
) -> None:
    monkeypatch.setattr(place, name, bug)
    with pytest.raises(AssertionError):
        check_offers(kind, settings(SETTINGS, phases=[Phase.explicit, Phase.generate]))
