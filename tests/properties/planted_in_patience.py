"""Bugs in the limits that fit the slack of a job, each with the story that finds it.

See `test_planted_bugs.py`.
"""

from tests.properties.job_rules import Order
from tests.properties.mallard import Mallard
from tests.properties.planting import Planted

DAY_MS = 86_400_000


def driver_who_declined_is_planned_again(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 1)])
    mallard.whoever_was_asked_is_free_again(0, first_decline=True, how="once")


def driver_who_declined_is_asked_after_its_bar(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(lasts_ms=DAY_MS), 1)])
    mallard.a_bar_ends(0, off_by=-1, how="once")
    mallard.a_bar_ends(0, off_by=0, how="once")


def urgent_job_is_declined(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(lasts_ms=600_000), 1)])
    mallard.a_bar_ends(0, off_by=0, how="once")


def very_urgent_job_is_declined(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(lasts_ms=100_000), 1)])
    mallard.decline("o0", "d0")


def driver_who_gave_up_is_planned_again(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(lasts_ms=DAY_MS), 2)])
    mallard.step(mallard.job_at(0), "d0", 1, "give_up")
    mallard.time_passes(3_600_000)
    mallard.whoever_was_asked_is_free_again(0, first_decline=False, how="once")


PLANTED_IN_PATIENCE = (
    Planted(
        "driver who declined is asked again at once",
        "offer",
        (("declined = policy.declined_ms, ", ""),),
        driver_who_declined_is_planned_again,
    ),
    Planted(
        "driver who declined is never asked again",
        "offer",
        (("local FOREVER = { ", "local FOREVER = { declined = true, "),),
        driver_who_declined_is_asked_after_its_bar,
    ),
    Planted(
        "driver who gave up is asked again",
        "offer",
        (("gave_up = true, ", ""),),
        driver_who_gave_up_is_planned_again,
    ),
    Planted(
        "bar does not fit the slack",
        "offer",
        (("policy.slack_share * left_ms", "1 * left_ms"),),
        urgent_job_is_declined,
    ),
    Planted(
        "cool-down does not fit the slack",
        "decline",
        (("policy.slack_share * left_ms", "1 * left_ms"),),
        very_urgent_job_is_declined,
    ),
)
