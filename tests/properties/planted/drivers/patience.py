"""Bugs in the limits that fit the slack of a job, each with the story that finds it.

See `test_planted_bugs.py`.
"""

from tests.properties.mallard import Mallard
from tests.properties.planted.planting import Planted
from tests.properties.rules.jobs.job import Order
from tests.properties.world import MALLS

DAY_MS = 86_400_000


def driver_who_declined_is_planned_again(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 1)])
    mallard.asked_drivers_are_free_again(0, first_decline=True, how="once")


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
    mallard.asked_drivers_are_free_again(0, first_decline=False, how="once")


def nobody_takes_a_job(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(pay=(900, 970)), 1)])
    mallard.decline("o0", "d0")
    for offer in ("o1", "o2"):
        mallard.round(MALLS[0])
        mallard.decline(offer, mallard.model.offers[offer].driver)
    assert mallard.model.jobs[mallard.job_at(0)].pay == 970


def offer_is_withdrawn(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(pay=(900, 970)), 1)])
    mallard.withdraw("o0")


def holder_of_a_late_job_is_silent(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(lasts_ms=300_000), 2)])
    mallard.a_holder_falls_silent(0, off_by=0, how="once")
    mallard.sweep()  # the first one takes the overdue entries of the other drivers
    assert mallard.model.jobs[mallard.job_at(0)].state == "queued"


def holder_with_slack_is_silent(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(lasts_ms=DAY_MS), 2)])
    mallard.disconnect("d0")
    mallard.time_passes(121_000)
    mallard.sweep()
    mallard.a_holder_falls_silent(0, off_by=-1, how="once")
    mallard.time_passes(1)
    mallard.sweep()


PLANTED_IN_PATIENCE = (
    Planted(
        "pay rises beyond the order's limit",
        "decline",
        (("math.min(most, pay + policy.pay_step_minor)", "pay + policy.pay_step_minor"),),
        nobody_takes_a_job,
    ),
    Planted(
        "pay does not rise",
        "decline",
        (("    raise_pay(job, outcome)\n", ""),),
        nobody_takes_a_job,
    ),
    Planted(
        "pay rises after a withdrawal",
        "withdraw",
        (
            ("  if not TOOK_NONE[outcome] then return end\n", ""),
            (
                "close_offer(job, run, 'withdrawn', 'withdrawn')\n",
                "close_offer(job, run, 'withdrawn', 'withdrawn')\nraise_pay(job)\n",
            ),
        ),
        offer_is_withdrawn,
    ),
    Planted(
        "silence ignores the slack",
        "silence",
        (("fitted_ms(left_ms, policy.resume_ms, policy.silence_most_ms)", "policy.resume_ms"),),
        holder_with_slack_is_silent,
    ),
    Planted(
        "late job waits as long as one with slack",
        "silence",
        (("math.max(tonumber(times[2]) or 0, lost_ms)", "0"),),
        holder_of_a_late_job_is_silent,
    ),
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
