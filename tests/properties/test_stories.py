"""Stories that once failed, and rare ones, as calls of the machine's methods.

Each call compares Redis with the model and checks every invariant; see `machine.py`.
"""

from collections.abc import Iterator
from contextlib import closing

import pytest

from mallard_protocol.lifecycle import JobState
from tests.properties.mallard import Mallard
from tests.properties.models.drivers import FORGET_DRIVER_MS
from tests.properties.rules.jobs.job import Order
from tests.properties.world import MALLS, MARKET

JOB = f"job_{MARKET}.j000"
NEXT = f"job_{MARKET}.j001"


@pytest.fixture
def day(redis_url: str) -> Iterator[Mallard]:
    day = Mallard(redis_url)
    with closing(day.world):
        yield day
        assert day.world.other_market_is_untouched(), "S11"


def test_repeated_fix_does_not_confirm_itself(day: Mallard) -> None:
    day.a_day_begins([])
    day.time_passes(1_000)
    for _ in range(4):
        day.positions([("d0", "far")], "once")
    day.positions([("d0", "far")], "reply lost")


def test_three_consistent_fixes_are_accepted(day: Mallard) -> None:
    day.a_day_begins([])
    for _ in range(3):
        day.time_passes(1_000, reports=False)
        day.positions([("d0", "far")], "once")
    assert day.model.drivers["d0"].fix is not None
    assert day.model.drivers["d0"].fix.received == day.now


def test_stale_driver_is_notified_once(day: Mallard) -> None:
    day.a_day_begins([])
    day.time_passes(61_000, reports=False)
    day.sweep("n1", "twice")
    day.sweep("n2", "twice")


def test_repeated_ready_changes_nothing(day: Mallard) -> None:
    day.a_day_begins([(Order(), 2)])
    day.ready(JOB, 60_000, "reply lost")
    day.ready(JOB, 60_000, "twice")


def test_driver_who_gave_up_cannot_claim_the_job(day: Mallard) -> None:
    day.a_day_begins([(Order(), 2)])
    day.unassign(JOB, 1)
    day.assign(JOB, "d0")
    day.step(JOB, "d0", 3, "give_up", how="reply lost")
    day.step(JOB, "d0", 3, "picked_up")
    day.step(JOB, "d0", 1, "picked_up")


def test_custody_wins_over_a_later_assignment(day: Mallard) -> None:
    day.a_day_begins([(Order(), 2)])
    day.unassign(JOB, 1)
    day.assign(JOB, "d1")
    day.step(JOB, "d0", 1, "picked_up", how="reply lost")
    day.step(JOB, "d1", 3, "picked_up")
    day.step(JOB, "d0", 4, "delivered", how="twice")
    day.step(JOB, "d0", 1, "picked_up")


def test_custody_wins_over_a_live_offer(day: Mallard) -> None:
    day.a_day_begins([(Order(), 2)])
    day.unassign(JOB, 1)
    day.round(MALLS[0])
    day.step(JOB, "d0", 1, "picked_up")
    day.accept("o1", "d1")


def test_driver_assigned_again_may_claim_custody(day: Mallard) -> None:
    day.a_day_begins([(Order(), 2)])
    day.unassign(JOB, 1)
    day.assign(JOB, "d0")
    day.step(JOB, "d0", 1, "picked_up", how="twice")
    day.step(JOB, "d0", 4, "delivered")


@pytest.mark.finding("C9")
def test_winner_continues_under_its_claimed_attempt(day: Mallard) -> None:
    day.a_day_begins([(Order(), 2)])
    day.unassign(JOB, 1)
    day.assign(JOB, "d1")
    day.step(JOB, "d0", 1, "picked_up", how="reply lost")
    for step in ("at_mall", "give_up", "returning", "delivered"):
        day.step(JOB, "d0", 1, step, how="twice")
    day.step(JOB, "d1", 3, "delivered")


def test_driver_with_custody_cannot_accept_another_job(day: Mallard) -> None:
    day.a_day_begins([(Order(), 2)])
    day.unassign(JOB, 1)
    day.submit(Order())
    day.offer(NEXT, 0, ["d0"])
    day.step(JOB, "d0", 1, "picked_up")
    day.accept("o1", "d0")
    day.time_passes(30_000)
    day.sweep()
    day.step(JOB, "d0", 3, "delivered")


def test_last_attempt_may_still_be_accepted(day: Mallard) -> None:
    day.a_day_begins([(Order(), 1)])
    day.expire(JOB, most=1)
    day.accept("o0", "d0", "n1", "reply lost")


def test_ended_job_is_never_reopened(day: Mallard) -> None:
    day.a_day_begins([(Order(), 4)])
    day.step(JOB, "d0", 1, "returning")
    day.close(JOB, JobState.LOST, "twice")
    for step in ("delivered", "returned", "give_up"):
        day.step(JOB, "d0", 1, step)
    day.cancel(JOB)
    day.assign(JOB, "d1")


def test_node_dies_with_drivers_offers_and_jobs(day: Mallard) -> None:
    day.a_day_begins([(Order(), 1), (Order(), 3)])
    day.node_dies("n1")
    day.time_passes(1_500, reports=False)
    day.reap("n1")
    day.settle()
    day.hello("d0", "n2", "good")
    day.node_beats("n1")
    day.settle()
    day.time_passes(900_000, reports=False)
    day.settle()


def test_driver_is_forgotten_after_a_week_away(day: Mallard) -> None:
    day.a_day_begins([])
    day.disconnect("d0")
    day.time_passes(FORGET_DRIVER_MS - 1)
    day.sweep()
    assert "d0" in day.seen.drivers
    day.time_passes(1)
    day.sweep()
    assert "d0" not in day.seen.drivers


def test_driver_with_a_parcel_is_forgotten_when_it_closes(day: Mallard) -> None:
    day.a_day_begins([(Order(), 4)])
    day.disconnect("d0")
    day.time_passes(FORGET_DRIVER_MS)
    day.settle()
    assert "d0" in day.seen.drivers
    day.close(JOB, JobState.LOST)
    day.time_passes(1)
    day.settle()
    assert "d0" not in day.seen.drivers
