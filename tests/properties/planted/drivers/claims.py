"""Bugs in claims of custody, each with the story that finds it.

See `test_planted_bugs.py`.
"""

from tests.properties.mallard import Mallard
from tests.properties.planted.planting import Planted, Story
from tests.properties.rules.jobs.job import Order

JOB = "job_phoenix.j000"


def holder_claims_the_delivery(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 2)])
    mallard.claim(JOB, "d0", 1, "delivered")


def holder_claims_two_shops(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(stores=("lego", "gap")), 2)])
    mallard.claim(JOB, "d0", 1, "picked_up")


def job_on_board_is_claimed_before_its_last_shop(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(stores=("lego", "gap")), 2)])
    mallard.collect(JOB, "d0", 1, "lego", 2)
    mallard.claim(JOB, "d0", 1, "picked_up")


def other_driver_claims_a_higher_attempt(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 2)])
    mallard.claim(JOB, "d1", 2, "picked_up")


def job_made_after_the_loss_is_claimed(mallard: Mallard) -> None:
    mallard.a_day_begins([])
    mallard.lost_writes_are_noticed()
    mallard.time_passes(1)
    mallard.submit(Order())
    mallard.claim(JOB, "d1", 1, "picked_up")


def driver_who_declined_claims_after_a_loss(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 1)])
    mallard.decline("o0", "d0")
    mallard.time_passes(1)
    mallard.lost_writes_are_noticed()
    mallard.claim(JOB, "d0", 1, "picked_up")


def lost_accept_is_claimed(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 1)])
    mallard.time_passes(1)
    mallard.lost_writes_are_noticed()
    mallard.claim(JOB, "d1", 5, "picked_up", "twice")


def lost_accept_of_an_offered_run_is_claimed(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 0), (Order(), 0)])
    mallard.offer_run({JOB: 0, "job_phoenix.j001": 0}, ["d0"])
    mallard.time_passes(1)
    mallard.lost_writes_are_noticed()
    mallard.claim(JOB, "d1", 5, "picked_up", "twice")


def job_with_an_age_check_is_claimed_as_delivered(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(age_check=True), 2)])
    mallard.claim(JOB, "d0", 1, "delivered")


def winner_delivers_under_its_claimed_attempt(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 2)])
    mallard.unassign(JOB, 1)
    mallard.step(JOB, "d0", 1, "picked_up")
    mallard.step(JOB, "d0", 1, "delivered")


def former_holder_arrives_under_its_old_attempt(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 2)])
    mallard.unassign(JOB, 1)
    mallard.assign(JOB, "d0")
    mallard.step(JOB, "d0", 1, "at_mall")


def _claimed(name: str, old: str, new: str, story: Story) -> Planted:
    return Planted(name, "claim", ((old, new),), story)


PLANTED_IN_CLAIMS = (
    _claimed(
        "claimed delivery stays with its driver",
        "  leave_hands(job, read_driver(arg.driver))\n",
        "",
        holder_claims_the_delivery,
    ),
    _claimed(
        "claimed pickup collects no shop",
        "if BEFORE_PICKUP[was] then collect_the_rest(job, arg.driver) end\n",
        "",
        holder_claims_two_shops,
    ),
    _claimed(
        "claim of a job on board collects its last shop",
        "if BEFORE_PICKUP[was] then collect_the_rest",
        "if true then collect_the_rest",
        job_on_board_is_claimed_before_its_last_shop,
    ),
    _claimed(
        "any driver may claim without lost writes",
        "if lost > job.created_ms and not",
        "if not",
        other_driver_claims_a_higher_attempt,
    ),
    _claimed(
        "lost writes also cover later jobs",
        "if lost > job.created_ms and not",
        "if lost > 0 and not",
        job_made_after_the_loss_is_claimed,
    ),
    _claimed(
        "driver who declined may claim after lost writes",
        " and not has_refused() then",
        " then",
        driver_who_declined_claims_after_a_loss,
    ),
    _claimed(
        "attempt is lower than the claimed one",
        "job.attempt = math.max(job.attempt, attempt) + 1",
        "job.attempt = job.attempt + 1",
        lost_accept_is_claimed,
    ),
    Planted(
        "alert is raised before the claimed job's run is known",
        "claim",
        (("    if not run then return reply('run', names) end\n    -- The", "    -- The"),),
        lost_accept_of_an_offered_run_is_claimed,
        max_run_jobs=3,
    ),
    _claimed(
        "claimed delivery needs no proof",
        "\n  and #missing_proofs(job, codes_of(job)) == 0 then",
        " then",
        job_with_an_age_check_is_claimed_as_delivered,
    ),
    Planted(
        "winner must use its new attempt",
        "progress",
        (("former_turn(job, driver, attempt)[3] = job.attempt", "local _ = nil"),),
        winner_delivers_under_its_claimed_attempt,
    ),
    Planted(
        "every former attempt is accepted",
        "progress",
        ((" and former[3] == job.attempt then", " then"),),
        former_holder_arrives_under_its_old_attempt,
    ),
)
