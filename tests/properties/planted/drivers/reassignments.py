"""Bugs in reassignments from a stuck driver, each with the story that finds it.

See `test_planted_bugs.py`. The market reassigns jobs of connected drivers who are late.
"""

from tests.properties.mallard import Mallard
from tests.properties.planted.planting import Planted, Story
from tests.properties.rules.jobs.job import Order

JOB = "job_phoenix.j000"


def job_is_accepted(mallard: Mallard) -> None:
    """`d0` won the job in a round of two; `o1`, the offer of `d1`, is closed."""
    mallard.a_day_begins([(Order(), 0)])
    mallard.begin_round(JOB, 0, ["d0", "d1"], 2, gap=0)
    mallard.offer_more(JOB)
    mallard.accept("o0", "d0")


def stuck_job_is_reassigned_to_the_loser(mallard: Mallard) -> None:
    job_is_accepted(mallard)
    mallard.hand_over_stuck(JOB, "d0", 1, ["d1"])
    mallard.accept("o1", "d1")
    mallard.accept("o2", "d1")


def stuck_driver_disconnects(mallard: Mallard) -> None:
    job_is_accepted(mallard)
    mallard.disconnect("d0")
    mallard.hand_over_stuck(JOB, "d0", 1, ["d1"])


def stuck_driver_arrives(mallard: Mallard) -> None:
    job_is_accepted(mallard)
    mallard.step(JOB, "d0", 1, "at_mall")
    mallard.hand_over_stuck(JOB, "d0", 1, ["d1"])


def reassignment_of_an_old_attempt(mallard: Mallard) -> None:
    job_is_accepted(mallard)
    mallard.hand_over_stuck(JOB, "d0", 0, ["d1"])


def _reassigned(name: str, old: str, new: str, story: Story) -> Planted:
    return Planted(name, "hand_over", ((old, new),), story)


PLANTED_IN_REASSIGNMENTS = (
    _reassigned(
        "disconnected driver counts as stuck",
        "arg.lost_ms == 0 and holder.connected and policy",
        "arg.lost_ms == 0 and policy",
        stuck_driver_disconnects,
    ),
    _reassigned(
        "arrived driver counts as stuck",
        "job.state ~= 'assigned' or job.attempt",
        "job.attempt",
        stuck_driver_arrives,
    ),
    _reassigned(
        "stuck driver counts as silent",
        "local outcome = is_silent and 'silent' or 'unassigned'",
        "local outcome = 'silent'",
        stuck_job_is_reassigned_to_the_loser,
    ),
    _reassigned(
        "reassignment ignores the attempt",
        " or job.attempt ~= arg.attempt",
        "",
        reassignment_of_an_old_attempt,
    ),
    _reassigned(
        "reassignment offers the old attempt",
        "job.attempt = job.attempt + 1\n    job.offer = arg.offer",
        "job.offer = arg.offer",
        stuck_job_is_reassigned_to_the_loser,
    ),
)
