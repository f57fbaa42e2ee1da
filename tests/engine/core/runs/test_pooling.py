import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mallard_engine.core.model import HeldJob, Vehicle, Waiting
from mallard_engine.core.pickup.pickup_plan import run_tour
from mallard_engine.core.policy import MarketPolicy, RunCosts
from mallard_engine.core.runs.pooling import Pool
from mallard_engine.core.runs.run import Pooled, Run, RunDriver
from tests.engine.core.makers import HOUR_MS, MALL, NOW_MS, TRAVEL, need, turn, waiting

BY_DRIVER = RunCosts(plan="by_driver", back=1.0)
POLICY = MarketPolicy(max_run_jobs=4, run=BY_DRIVER)
HOLDING = replace(POLICY, preset="same_day", hold_max_s=4 * 3_600.0, hold_margin_s=1_800.0)
BY_DEADLINE = replace(HOLDING, hold_margin_s=300.0, run=RunCosts(plan="by_deadline", back=1.0))
CAR = Vehicle(max_jobs=8)
KM_DEG = 1_000 / 111_195


def job(name: str, north_km: float, east_km: float = 0.0, **changes: Any) -> Waiting:
    """Return a job with its drop-off at this distance from the mall."""
    lon = MALL.lon + east_km * KM_DEG / math.cos(math.radians(MALL.lat))
    return waiting(name, need=need(lat=MALL.lat + north_km * KM_DEG, lon=lon, **changes))


def room(name: str = "d1", there_s: float = 300.0, **changes: Any) -> RunDriver:
    return RunDriver(name, CAR, there_s)._replace(**changes)


def pool(jobs: list[Waiting], *run_drivers: RunDriver, policy: MarketPolicy = POLICY) -> Pooled:
    return Pool(MALL, jobs, NOW_MS, policy, TRAVEL).runs(run_drivers or (room(),))


def names(run: Run) -> list[str]:
    return [each.job for each in run.jobs]


def test_neighbours_are_pooled_in_route_order() -> None:
    pooled = pool([job("far", 8), job("near", 6), job("other side", -8)])
    (run,) = pooled.runs
    assert names(run) == ["near", "far"]
    assert run.saved_s > 0
    assert run.why == "free"


def test_each_driver_gets_a_run_and_no_job_is_in_two() -> None:
    jobs = [job("n1", 6), job("n2", 7), job("s1", -6), job("s2", -7)]
    pooled = pool(jobs, room("d1"), room("d2"))
    assert [sorted(names(run)) for run in pooled.runs] == [["n1", "n2"], ["s1", "s2"]]
    assert [run.driver for run in pooled.runs] == ["d1", "d2"]


def test_job_saving_less_than_its_potential_stays() -> None:
    jobs = [job("seed", 8), job("across", 5, 7)]
    shy = MarketPolicy(max_run_jobs=4, run=replace(BY_DRIVER, potential=0.9))
    keen = MarketPolicy(max_run_jobs=4, run=replace(BY_DRIVER, potential=0.0, delay=0.0))
    assert [len(run.jobs) for run in pool(jobs, policy=shy).runs] == [1]
    assert [len(run.jobs) for run in pool(jobs, policy=keen).runs] == [2]


@pytest.mark.parametrize(
    ("vehicle", "fits"),
    [
        (Vehicle(max_jobs=8), 3),
        (Vehicle(max_jobs=2), 2),
        (Vehicle(max_jobs=8, max_weight_g=2_000), 2),
        (Vehicle(max_jobs=8, max_volume_l=14.0), 2),
    ],
)
def test_run_fits_its_vehicle(vehicle: Vehicle, fits: int) -> None:
    jobs = [job("a", 6), job("b", 6.5), job("c", 7)]
    (run,) = pool(jobs, room(vehicle=vehicle)).runs
    assert len(run.jobs) == fits


def test_job_with_equipment_goes_to_an_equipped_driver() -> None:
    jobs = [job("a", 6), job("cool", 6.5, requires=("cool_box",))]
    with_box = Vehicle(max_jobs=8, equipment=("cool_box",))
    pooled = pool(jobs, room("d1"), room("d2", vehicle=with_box))
    assert [(run.driver, names(run)) for run in pooled.runs] == [("d1", ["a"]), ("d2", ["cool"])]


def test_declined_job_is_not_offered_again_in_a_run() -> None:
    declined = waiting("b", need=job("b", 6.5).need, asked=(turn("d1", "declined"),))
    (run,) = pool([job("a", 6), declined]).runs
    assert names(run) == ["a"]


def test_run_ends_within_the_block() -> None:
    jobs = [job("a", 6), job("b", 7), job("c", 8)]
    (whole,) = pool(jobs).runs
    ends_s = 300.0 + whole.collect_s + whole.done_s[-1]
    (shorter,) = pool(jobs, room(until_s=ends_s - 1)).runs
    assert len(shorter.jobs) < len(whole.jobs) == 3
    assert 300.0 + shorter.collect_s + shorter.done_s[-1] <= ends_s - 1
    assert not pool(jobs, room(until_s=60.0)).runs


def test_no_driver_waits_at_the_mall_for_a_parcel() -> None:
    jobs = [job("ready", 6), job("later", 6.5, ready_ms=NOW_MS + 3_600_000)]
    (run,) = pool(jobs).runs
    assert names(run) == ["ready"]


def test_no_job_becomes_late_by_pooling() -> None:
    alone_s = pool([job("pressed", 10)]).runs[0]
    least_ms = NOW_MS + int((300 + alone_s.collect_s + alone_s.done_s[0]) * 1000)
    pressed = job("pressed", 10, deadline_ms=least_ms + 1_000)
    (run,) = pool([pressed, job("on the way", 5)]).runs
    assert names(run) == ["pressed"]
    soft = MarketPolicy(max_run_jobs=4, run=replace(BY_DRIVER, deadlines="soft", late=0.01))
    (run,) = pool([pressed, job("on the way", 5)], policy=soft).runs
    assert names(run) == ["on the way", "pressed"]


def test_same_store_is_visited_once() -> None:
    (one,) = pool([job("a", 6)]).runs
    (two,) = pool([job("a", 6), job("b", 6.5)]).runs
    assert one.collect_s == MALL.stores["lego"].walk_s + 120.0
    assert two.collect_s == one.collect_s


def test_run_walks_through_stores_and_back_to_its_gate() -> None:
    (run,) = pool([job("a", 6), job("b", 6.5, stores=("sephora",))]).runs
    walks, stores = MALL.walks, MALL.stores
    between_s = walks.between_s("lego", "sephora")
    assert run.gate == stores["lego"].gate == stores["sephora"].gate
    walk_s = run.collect_s - 240.0
    assert walk_s + run.done_s[0] == pytest.approx(
        stores["lego"].walk_s
        + between_s
        + stores["sephora"].walk_s
        + TRAVEL.seconds(MALL.lat, MALL.lon, MALL.lat + 6 * KM_DEG, MALL.lon, NOW_MS)
        + 60.0,
        abs=0.01,
    )


def test_learnt_service_times_are_used() -> None:
    (usual,) = pool([job("a", 6)]).runs
    known = Pool(MALL, [job("a", 6)], NOW_MS, POLICY, TRAVEL, lambda _mall, _store: 600.0)
    (slow,) = known.runs([room()]).runs
    assert slow.collect_s == usual.collect_s + 480.0


# -- holds


def test_job_with_slack_is_held_until_it_must_leave() -> None:
    pooled = pool([job("a", 6)], policy=HOLDING)
    assert not pooled.runs
    (held,) = pooled.held.items()
    (free,) = pool([job("a", 6)]).runs
    least_s = free.collect_s + free.done_s[0]
    deadline_ms = NOW_MS + 4 * HOUR_MS
    assert held[0] == "a"
    assert held[1] == pytest.approx(deadline_ms - (least_s + 1_800.0) * 1000, abs=2)


def test_held_job_leaves_when_it_must() -> None:
    until_ms = pool([job("a", 6)], policy=HOLDING).held["a"]
    (run,) = Pool(MALL, [job("a", 6)], until_ms, HOLDING, TRAVEL).runs([room()]).runs
    assert (names(run), run.why) == (["a"], "due")
    left_ms = until_ms + int((300 + run.collect_s + run.done_s[0]) * 1000)
    # The margin covers the driver's trip, with time to spare.
    assert left_ms <= NOW_MS + 4 * HOUR_MS - 1_000_000


def test_job_is_held_no_longer_than_hold_max() -> None:
    short = MarketPolicy(preset="same_day", max_run_jobs=4, hold_max_s=600.0, run=BY_DRIVER)
    assert pool([job("a", 6)], policy=short).held == {"a": NOW_MS + 600_000}


def test_full_run_leaves_at_once() -> None:
    jobs = [job(f"j{n}", 6 + n / 10) for n in range(5)]
    pooled = pool(jobs, policy=HOLDING)
    (run,) = pooled.runs
    assert (len(run.jobs), run.why) == (4, "full")
    assert len(pooled.held) == 1


def test_run_with_its_last_place_filled_is_full() -> None:
    pooled = pool([job(f"j{n}", 6 + n / 10) for n in range(4)], policy=HOLDING)
    assert [(len(run.jobs), run.why) for run in pooled.runs] == [(4, "full")]


def test_due_job_leaves_with_held_jobs() -> None:
    due = job("due", 8, ready_ms=NOW_MS - 5 * HOUR_MS)
    pooled = pool([job("held", 7), due], policy=HOLDING)
    (run,) = pooled.runs
    assert (names(run), run.why) == (["held", "due"], "due")
    assert not pooled.held


# -- add-ons


def carrying(*jobs: Waiting, **changes: Any) -> RunDriver:
    carried = tuple(
        HeldJob(
            it.job, 1, MALL.id, lat=it.need.lat, lon=it.need.lon, deadline_ms=it.need.deadline_ms
        )
        for it in jobs
    )
    return room("coming", carried=carried, **changes)


def test_driver_on_the_way_gets_one_more_job() -> None:
    pooled = pool([job("x", 6), job("y", 6.2)], carrying(job("has", 7)), room("d2"))
    add_on, run = pooled.runs
    assert (add_on.driver, len(add_on.jobs), add_on.why) == ("coming", 1, "add_on")
    assert add_on.route_s < add_on.alone_s / 2
    assert (run.driver, len(run.jobs)) == ("d2", 1)


def test_held_job_may_be_an_add_on() -> None:
    pooled = pool([job("x", 6)], carrying(job("has", 7)), policy=HOLDING)
    assert [run.why for run in pooled.runs] == ["add_on"]
    assert not pooled.held


def test_add_on_must_save_enough_and_fit() -> None:
    assert not pool([job("x", -6)], carrying(job("has", 7))).runs
    assert not pool([job("x", 6)], carrying(*(job(f"h{n}", 7) for n in range(4)))).runs


def test_add_on_makes_no_job_late() -> None:
    pressed = job("has", 7, deadline_ms=NOW_MS + 1_700_000)
    assert not pool([job("x", 6.9)], carrying(pressed)).runs


def test_add_on_ends_within_the_block() -> None:
    waits, has = [job("x", 6)], job("has", 7)
    (run,) = pool(waits, carrying(has)).runs
    # Its present job is the last, a kilometre further on.
    on_s = TRAVEL.seconds(*_door(waits[0]), *_door(has), NOW_MS) + POLICY.dropoff_dwell_s
    ends_s = 300.0 + run.collect_s + run.done_s[-1] + on_s
    assert pool(waits, carrying(has, until_s=ends_s + 1)).runs
    assert not pool(waits, carrying(has, until_s=ends_s - 1)).runs
    # Nor for a job that will be late anyway.
    assert not pool(waits, carrying(has, until_s=60.0)).runs


def known(*jobs: Waiting) -> RunDriver:
    """A driver on its way to the south gate, of whose jobs the record knows the stores."""
    driver = carrying(*jobs, gate="south")
    carried = [
        replace(held, stores=it.need.stores, gate="south")
        for held, it in zip(driver.carried, jobs, strict=True)
    ]
    return driver._replace(carried=tuple(carried))


def test_add_on_has_the_times_of_the_driver_s_tour() -> None:
    has, new = job("has", 7, stores=("dillards",)), job("x", 6, stores=("lego",))
    (run,) = pool([new], known(has)).runs
    tour = run_tour(MALL, [new.need, has.need], service_s, NOW_MS + 300_000, "south")
    assert (run.gate, run.why) == ("south", "add_on")
    assert run.collect_s == tour.collect_ms / 1000
    out_s = TRAVEL.seconds(MALL.lat, MALL.lon, *_door(new), NOW_MS) + POLICY.dropoff_dwell_s
    assert run.done_s[0] == pytest.approx(tour.back_ms / 1000 + out_s)


def test_add_on_s_store_makes_no_carried_job_late() -> None:
    """The visit with the other store decides, not the mean visit of two parcels."""
    has = job("has", 7, stores=("dillards",))
    same, far = (job("x", 6.9, stores=(store,)) for store in ("dillards", "hot-topic"))
    tour = run_tour(MALL, [has.need, far.need], service_s, NOW_MS + 300_000, "south")
    with_far_s = 300 + (tour.collect_ms + tour.back_ms) / 1000 + 2 * POLICY.dropoff_dwell_s
    with_far_s += TRAVEL.seconds(MALL.lat, MALL.lon, *_door(has), NOW_MS)
    pressed = replace(has, need=replace(has.need, deadline_ms=NOW_MS + int(with_far_s * 1000) - 1))
    assert not pool([far], known(pressed)).runs
    assert pool([same], known(pressed)).runs


def test_add_on_whose_shop_is_late_makes_no_carried_job_late() -> None:
    has = job("has", 7, deadline_ms=NOW_MS + 2_400_000)
    there_ms = NOW_MS + 300_000
    (run,) = pool([job("x", 6.9, ready_ms=there_ms)], known(has)).runs
    assert run.why == "add_on"
    waits = known(has)
    late = replace(waits.carried[0], ready_ms=there_ms + 900_000)
    assert not pool([job("x", 6.9)], waits._replace(carried=(late,))).runs


def test_job_joins_only_with_time_for_what_is_unknown() -> None:
    """A run of two that would be in time to the second is not planned."""
    (run,) = pool([job("a", 6), job("b", 6.5)]).runs
    ends_ms = NOW_MS + int((300 + run.collect_s + run.done_s[-1]) * 1000)
    just = pool([job("a", 6), job("b", 6.5, deadline_ms=ends_ms + 1_000)]).runs
    well = pool([job("a", 6), job("b", 6.5, deadline_ms=ends_ms + 60_000)]).runs
    assert [len(run.jobs) for run in (*just, *well)] == [1, 2]


def service_s(_mall: str, _store: str) -> float:
    return POLICY.store_dwell_s


def _door(job: Waiting) -> tuple[float, float]:
    return job.need.lat, job.need.lon


JOBS = st.lists(
    st.tuples(st.floats(-10, 10), st.floats(-10, 10), st.integers(1, 5), st.integers(0, 4)),
    min_size=1,
    max_size=14,
)


@settings(max_examples=60, deadline=None)
@given(JOBS, st.integers(1, 6), st.sampled_from([POLICY, HOLDING, BY_DEADLINE]))
def test_each_job_is_in_one_run_or_held_at_most(
    drawn: list[tuple[float, float, int, int]], drivers: int, policy: MarketPolicy
) -> None:
    jobs = [
        job(f"j{n}", north, east, deadline_ms=NOW_MS + hours * HOUR_MS, ready_ms=NOW_MS - age)
        for n, (north, east, hours, age) in enumerate(drawn)
    ]
    run_drivers = [room(f"d{n}", 60.0 * n) for n in range(drivers)]
    pooled = pool(jobs, *run_drivers, policy=policy)
    placed = [each for run in pooled.runs for each in names(run)]
    assert len(placed) == len(set(placed))
    assert not set(placed) & set(pooled.held)
    assert len({run.driver for run in pooled.runs}) == len(pooled.runs)
    assert all(until_ms > NOW_MS for until_ms in pooled.held.values())
    for run in pooled.runs:
        assert len(run.jobs) <= 4
        assert list(run.done_s) == sorted(run.done_s)
        # A run's route is never longer than the separate trips.
        assert run.saved_s >= -1e-6
    if policy is POLICY:
        assert not pooled.held
        # No driver is idle while a job waits.
        assert len(placed) == len(jobs) or len(pooled.runs) == drivers
