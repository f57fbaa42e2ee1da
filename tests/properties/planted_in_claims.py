"""Bugs planted in what a hello may claim, each with the story that finds it.

See `test_planted_bugs.py`.
"""

from tests.properties.job_rules import Order
from tests.properties.mallard import Mallard
from tests.properties.planting import Planted, Story

JOB = "job_phoenix.j000"


def a_holder_has_delivered(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 2)])
    mallard.claim(JOB, "d0", 1, "delivered")


def a_stranger_claims_a_higher_attempt(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 2)])
    mallard.claim(JOB, "d1", 2, "picked_up")


def a_job_made_after_the_loss_is_claimed(mallard: Mallard) -> None:
    mallard.a_day_begins([])
    mallard.lost_writes_are_noticed()
    mallard.time_passes(1)
    mallard.submit(Order())
    mallard.claim(JOB, "d1", 1, "picked_up")


def one_who_declined_claims_it_after_a_loss(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 1)])
    mallard.decline("o0", "d0")
    mallard.time_passes(1)
    mallard.lost_writes_are_noticed()
    mallard.claim(JOB, "d0", 1, "picked_up")


def a_lost_accept_is_claimed(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 1)])
    mallard.time_passes(1)
    mallard.lost_writes_are_noticed()
    mallard.claim(JOB, "d1", 5, "picked_up", "twice")


def a_job_with_an_age_check_is_claimed_as_delivered(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(age_check=True), 2)])
    mallard.claim(JOB, "d0", 1, "delivered")


def a_winner_delivers_under_the_attempt_claimed(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 2)])
    mallard.unassign(JOB, 1)
    mallard.step(JOB, "d0", 1, "picked_up")
    mallard.step(JOB, "d0", 1, "delivered")


def a_former_holder_arrives_under_its_old_attempt(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 2)])
    mallard.unassign(JOB, 1)
    mallard.assign(JOB, "d0")
    mallard.step(JOB, "d0", 1, "at_mall")


def _claimed(name: str, old: str, new: str, story: Story) -> Planted:
    return Planted(name, "claim", ((old, new),), story)


PLANTED_IN_CLAIMS = (
    _claimed(
        "a delivery stays in its driver's hands",
        "  leave_hands(job, read_driver(arg.driver))\n",
        "",
        a_holder_has_delivered,
    ),
    _claimed(
        "everybody is believed without a loss",
        "if lost > job.created_ms and not",
        "if not",
        a_stranger_claims_a_higher_attempt,
    ),
    _claimed(
        "a loss is remembered against later jobs",
        "if lost > job.created_ms and not",
        "if lost > 0 and not",
        a_job_made_after_the_loss_is_claimed,
    ),
    _claimed(
        "who declined is believed after a loss",
        " and not has_refused() then",
        " then",
        one_who_declined_claims_it_after_a_loss,
    ),
    _claimed(
        "the attempt falls behind the claim",
        "job.attempt = math.max(job.attempt, attempt) + 1",
        "job.attempt = job.attempt + 1",
        a_lost_accept_is_claimed,
    ),
    _claimed(
        "a delivery needs no proof",
        "\n  and #missing_proofs(job, codes_of(job)) == 0 then",
        " then",
        a_job_with_an_age_check_is_claimed_as_delivered,
    ),
    Planted(
        "a winner must know its new attempt",
        "progress",
        (("former_turn(job, driver, attempt)[3] = job.attempt", "local _ = nil"),),
        a_winner_delivers_under_the_attempt_claimed,
    ),
    Planted(
        "every former attempt counts",
        "progress",
        ((" and former[3] == job.attempt then", " then"),),
        a_former_holder_arrives_under_its_old_attempt,
    ),
)
