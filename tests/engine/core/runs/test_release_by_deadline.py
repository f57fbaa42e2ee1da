"""Release by deadline: when runs leave, their drivers and their members."""

import math
from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import pytest

from mallard_engine.core.model import HeldJob, Vehicle, Waiting
from mallard_engine.core.pickup.approximate_tour import ApproximateTour
from mallard_engine.core.policy import MarketPolicy, RunCosts
from mallard_engine.core.runs.pooling import Pool
from mallard_engine.core.runs.release_by_deadline import Release
from mallard_engine.core.runs.run import Pooled, Run, RunDriver
from mallard_engine.core.runs.stops import Draft, RunStops
from tests.engine.core.makers import HOUR_MS, MALL, NOW_MS, TRAVEL, need, turn, waiting

POLICY = MarketPolicy(
    max_run_jobs=4,
    preset="same_day",
    hold_max_s=12 * 3_600.0,
    hold_margin_s=300.0,
    run=RunCosts(plan="by_deadline", back=1.0),
)
CAR = Vehicle(max_jobs=8)
KM_DEG = 1_000 / 111_195
MINUTE_MS = 60_000


def job(name: str, north_km: float, east_km: float = 0.0, **changes: Any) -> Waiting:
    lon = MALL.lon + east_km * KM_DEG / math.cos(math.radians(MALL.lat))
    return waiting(name, need=need(lat=MALL.lat + north_km * KM_DEG, lon=lon, **changes))


def due_in(minutes: float) -> dict[str, int]:
    return {"deadline_ms": NOW_MS + int(minutes * MINUTE_MS)}


def room(name: str = "d1", there_s: float = 300.0, **changes: Any) -> RunDriver:
    return RunDriver(name, CAR, there_s)._replace(**changes)


def pool(
    jobs: list[Waiting],
    *drivers: RunDriver,
    policy: MarketPolicy = POLICY,
    now_ms: int = NOW_MS,
) -> Pooled:
    return Pool(MALL, jobs, now_ms, policy, TRAVEL).runs(drivers or (room(),))


def names(run: Run) -> set[str]:
    return {each.job for each in run.jobs}


def ends_s(run: Run, there_s: float = 300.0) -> float:
    return there_s + run.collect_s + run.done_s[-1]


def test_run_with_slack_stays() -> None:
    pooled = pool([job("a", 6), job("b", 6.5)])
    assert not pooled.runs
    assert set(pooled.held) == {"a", "b"}


def test_run_leaves_when_its_most_urgent_stop_must() -> None:
    jobs = [job("pressed", 6, **due_in(100)), job("easy", 6.5, **due_in(600))]
    until_ms = pool(jobs).held["pressed"]
    assert NOW_MS < until_ms < NOW_MS + 100 * MINUTE_MS
    assert not pool(jobs, now_ms=until_ms - MINUTE_MS).runs
    (run,) = pool(jobs, now_ms=until_ms).runs
    assert (names(run), run.why) == ({"pressed", "easy"}, "due")
    turn_of = [each.job for each in run.jobs].index("pressed")
    done_ms = until_ms + (300 + run.collect_s + run.done_s[turn_of]) * 1000
    # The margin remains, plus at most what the better drop-off order has gained.
    assert 298_000 <= NOW_MS + 100 * MINUTE_MS - done_ms < 600_000


def test_run_leaves_while_all_stops_can_be_in_time() -> None:
    alone = pool([job("pressed", 6, **due_in(100))]).held["pressed"]
    together = [job("pressed", 6, **due_in(100)), job("before it", 5.5, **due_in(90))]
    assert min(pool(together).held.values()) < alone


def test_job_with_slack_must_save_more_to_join() -> None:
    across = 5.5, 2.5
    pressed = [job("first", 7, **due_in(33)), job("second", *across, **due_in(110))]
    patient = [job("first", 7, **due_in(33)), job("second", *across, **due_in(600))]
    assert [len(run.jobs) for run in pool(pressed).runs] == [2]
    assert [len(run.jobs) for run in pool(patient).runs] == [1]


def test_full_run_with_a_short_route_leaves_at_once() -> None:
    jobs = [job(f"j{n}", 9 + n / 20, **due_in(115 + n)) for n in range(4)]
    far = [job(f"j{n}", 9 + n / 20, 1.5 * n, **due_in(115 + n)) for n in range(4)]
    close = replace(POLICY, run=replace(POLICY.run, close=0.3))
    assert [(len(run.jobs), run.why) for run in pool(jobs, policy=close).runs] == [(4, "full")]
    assert not pool(jobs).runs
    assert not pool(far, policy=replace(POLICY, run=replace(POLICY.run, close=0.2))).runs


def test_members_are_exchanged_for_better_jobs() -> None:
    """The nearest job is not always the best: a full run takes neighbouring drop-offs."""
    jobs = [
        job("first", 8, **due_in(36)),
        *(job(f"beside{n}", 8.1 + n / 50, **due_in(120)) for n in range(3)),
        job("on the way", 4, **due_in(120)),
    ]
    (run,) = pool(jobs).runs
    assert len(run.jobs) == 4
    assert "first" in names(run)


def test_nearest_driver_who_can_do_the_whole_run_gets_it() -> None:
    jobs = [job("a", 6, **due_in(30)), job("b", 6.5, **due_in(200))]
    (whole,) = pool(jobs).runs
    short = room("short", 60.0, until_s=ends_s(whole, 60.0) - 1)
    (run,) = pool(jobs, short, room("far", 400.0), room("near", 200.0)).runs
    assert (run.driver, len(run.jobs)) == ("near", 2)


def test_driver_who_is_too_far_to_be_the_best_costs_no_plan(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    evaluated = RunStops.evaluated
    seen: list[str] = []

    def note(self: RunStops, turn: Any, load: Any, driver: RunDriver) -> Draft | None:
        seen.append(driver.driver)
        return evaluated(self, turn, load, driver)

    monkeypatch.setattr(RunStops, "evaluated", note)
    policy = replace(POLICY, hold_max_s=0.0)
    (run,) = pool([job("a", 6)], room("near", 60.0), room("far", 600.0), policy=policy).runs
    assert run.driver == "near"
    assert "far" not in seen


def test_long_block_is_kept_for_a_run_that_needs_it() -> None:
    jobs = [job("a", 6, **due_in(30))]
    (run,) = pool(jobs, room("long", 300.0), room("short", 310.0, until_s=3_000.0)).runs
    assert run.driver == "short"


def test_run_gets_a_driver_with_block_left_for_add_ons() -> None:
    jobs = [job("a", 6, **due_in(30))]
    (alone,) = pool(jobs).runs
    just, later = (
        room(name, until_s=ends_s(alone) + left_s)
        for name, left_s in (("just", 60.0), ("later", 1_500.0))
    )
    (run,) = pool(jobs, just, later).runs
    assert run.driver == "later"


def test_due_run_goes_in_part_to_the_driver_who_takes_most() -> None:
    jobs = [job("a", 6, **due_in(30)), job("b", 6.5, **due_in(200)), job("c", 7, **due_in(200))]
    (whole,) = pool(jobs).runs
    assert len(whole.jobs) == 3
    (part,) = pool(jobs, room(until_s=ends_s(whole) - 1)).runs
    assert "a" in names(part)
    assert len(part.jobs) == 2
    assert ends_s(part) <= ends_s(whole) - 1


def test_driver_who_declined_a_member_does_not_get_the_run() -> None:
    declined = waiting("b", need=job("b", 6.5).need, asked=(turn("d1", "declined"),))
    (run,) = pool([job("a", 6, **due_in(30)), declined], room("d1", 60.0), room("d2")).runs
    assert (run.driver, names(run)) == ("d2", {"a", "b"})


def test_no_driver_waits_at_the_mall_for_a_parcel() -> None:
    jobs = [
        job("a", 6, **due_in(50)),
        job("later", 6.2, ready_ms=NOW_MS + HOUR_MS, **due_in(300)),
    ]
    for run in pool(jobs).runs:
        assert names(run) == {"a"}


@pytest.mark.parametrize("plan", ["by_deadline", "by_driver"])
def test_driver_arrives_when_a_closed_shop_opens(plan: Any) -> None:
    """The far one sets off, the near one stays; nobody is added who would be too early."""
    opens_ms = NOW_MS + 20 * MINUTE_MS
    closed = replace(job("a", 6, ready_ms=opens_ms), held_until_ms=opens_ms)
    policy = replace(POLICY, hold_max_s=0.0, run=replace(POLICY.run, plan=plan))
    near, far = room("near", 1_199.0), room("far", 1_200.0)
    (run,) = pool([closed], near, far, policy=policy).runs
    assert run.driver == "far"
    has = job("has", 7).need
    held = HeldJob("has", 1, MALL.id, lat=has.lat, lon=has.lon, deadline_ms=has.deadline_ms)
    early, later = (driver._replace(carried=(held,)) for driver in (near, far))
    assert not pool([closed], early, policy=policy).runs
    assert [it.why for it in pool([closed], later, policy=policy).runs] == ["add_on"]


def test_closed_shop_makes_its_order_late_with_grace() -> None:
    """It will be late even alone: it may take company, as if the shop had been slow."""
    opens_ms = NOW_MS + 60 * MINUTE_MS
    jobs = [
        replace(job(name, km, ready_ms=opens_ms, **due_in(65)), held_until_ms=opens_ms)
        for name, km in (("a", 6), ("b", 6.2))
    ]
    policy = replace(POLICY, hold_max_s=0.0)
    drivers = room("near"), room("nearer", 240.0), room("far", 3_600.0)
    (run,) = pool(jobs, *drivers, policy=policy).runs
    assert (run.driver, names(run)) == ("far", {"a", "b"})


def test_without_holds_every_run_with_a_driver_leaves() -> None:
    policy = replace(POLICY, hold_max_s=0.0)
    jobs = [job("n1", 6), job("n2", 6.2), job("s1", -6), job("s2", -6.2)]
    pooled = pool(jobs, room("d1"), room("d2"), policy=policy)
    assert sorted(sorted(names(run)) for run in pooled.runs) == [["n1", "n2"], ["s1", "s2"]]
    assert {run.why for run in pooled.runs} == {"free"}
    assert not pooled.held


def test_job_is_held_no_longer_than_hold_max() -> None:
    policy = replace(POLICY, hold_max_s=600.0)
    assert pool([job("a", 6)], policy=policy).held == {"a": NOW_MS + 600_000}
    (run,) = pool([job("a", 6)], policy=policy, now_ms=NOW_MS + 600_000).runs
    assert run.why == "due"


def test_run_leaves_while_a_block_still_allows_it() -> None:
    """The last driver who can serve the stop ends its block in an hour, the deadline is later."""
    jobs = [job("a", 6, **due_in(110))]
    last = room(until_s=3_600.0)
    until_ms = pool(jobs, last).held["a"]
    gone_s = (until_ms - NOW_MS) / 1000
    (run,) = pool(jobs, last._replace(until_s=3_600.0 - gone_s), now_ms=until_ms).runs
    assert run.why == "due"
    assert 299.0 <= 3_600.0 - gone_s - ends_s(run) <= 301.0
    longer = room("longer", until_s=4_800.0)
    assert pool(jobs, last, longer).held["a"] == until_ms + 1_200_000


def test_run_is_held_no_longer_than_distant_drivers_allow() -> None:
    jobs = [job("a", 6, **due_in(110))]
    until_ms = pool(jobs).held["a"]
    short = [room(f"short{n}", until_s=600.0) for n in range(3)]
    assert pool(jobs, room(there_s=900.0), *short).held["a"] == until_ms - 600_000


def test_job_that_will_be_late_leaves_at_once() -> None:
    """The grace of a late job allows others to join it; it is no time to wait."""
    (alone,) = pool([job("a", 6, **due_in(30))], room(there_s=900.0)).runs
    late = {"deadline_ms": NOW_MS + int(ends_s(alone, 900.0) * 1000) - 60_000}
    (run,) = pool([job("a", 6, **late)], room(there_s=900.0)).runs
    assert run.why == "due"


POOLED = replace(POLICY, preset="pooled")


def test_no_more_runs_are_planned_than_drivers_are_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long queue beside few drivers must not make each round long."""
    filled = Release._filled
    seeds: list[Draft] = []

    def counted(self: Release, draft: Draft, *others: Any) -> Draft:
        seeds.append(draft)
        return filled(self, draft, *others)

    monkeypatch.setattr(Release, "_filled", counted)
    jobs = [job(f"j{n}", 6 * math.sin(n), 6 * math.cos(n)) for n in range(60)]
    assert len(pool(jobs, room("a"), room("b"), policy=POOLED).runs) == 2
    assert len(seeds) <= 8


def test_drivers_who_can_take_nothing_cost_no_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    filled = Mock()
    monkeypatch.setattr(Release, "_filled", filled)
    ending = [room(f"d{n}", until_s=400.0) for n in range(3)]
    assert not pool([job(f"j{n}", 6 + n / 9) for n in range(30)], *ending, policy=POOLED).runs
    filled.assert_not_called()


def test_driver_gets_the_next_run_if_the_first_has_none() -> None:
    """The most urgent job is too far for its block, another is not."""
    (alone,) = pool([job("near", 3)], policy=POOLED).runs
    short = room(until_s=ends_s(alone) + 60)
    (run,) = pool([job("far", 20, **due_in(60)), job("near", -3)], short, policy=POOLED).runs
    assert names(run) == {"near"}


CLUSTER = 4, 4.1, 4.2, 4.3


def late_in(minutes: float) -> dict[str, int]:
    """Due in so many minutes, or since; delivered for another four hours."""
    return due_in(minutes) | {"expires_ms": NOW_MS + 4 * HOUR_MS}


def cluster(minutes: float) -> list[Waiting]:
    return [job(f"c{n}", north_km, **late_in(minutes)) for n, north_km in enumerate(CLUSTER)]


def test_short_of_drivers_the_most_productive_run_leaves() -> None:
    """The most urgent order alone would take the driver for itself."""
    (alone,) = pool([job("far", -12)], policy=POOLED).runs
    far = job("far", -12, **late_in(ends_s(alone) / 60 + 1))
    jobs = [far, *cluster(5)]
    (run,) = pool(jobs, policy=POOLED).runs
    assert names(run) == {"c0", "c1", "c2", "c3"}
    both = pool(jobs, room("a"), room("b"), policy=POOLED).runs
    assert sorted(len(run.jobs) for run in both) == [1, 4]


def test_short_of_drivers_a_run_that_can_wait_waits() -> None:
    jobs = [job("pressed", -6, **due_in(30)), *cluster(240)]
    (run,) = pool(jobs, policy=POOLED).runs
    assert names(run) == {"pressed"}


def test_late_order_does_not_wait_for_ever() -> None:
    jobs = [job("far", -12, **late_in(-3_000)), *cluster(5)]
    (run,) = pool(jobs, policy=POOLED).runs
    assert names(run) == {"far"}


def test_late_job_waits_in_the_car_where_drivers_are_short() -> None:
    """It would wait for the next driver still longer."""
    jobs = [job("late", 6, **late_in(-60)), *[job(f"j{n}", -6, n, **due_in(60)) for n in (1, 2)]]
    tour = ApproximateTour(MALL, lambda _mall, _store: 60.0)
    late_s = []
    for is_behind in (False, True):
        needs = [it.need for it in jobs]
        stops = RunStops(
            MALL, needs, NOW_MS, POOLED, TRAVEL, tour, lambda *_: 60.0, is_behind=is_behind
        )
        turn_s = [stops.evaluated(turn, stops.load(turn), room()) for turn in ((0,), (1, 2, 0))]
        late_s.append([draft.late_s for draft in turn_s if draft is not None])
    (alone_s, last_s), behind_s = late_s
    assert alone_s == 0.0 < last_s
    assert behind_s == [0.0, 0.0]
