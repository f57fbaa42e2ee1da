"""Bugs planted in reassignments from a stuck driver, each with the story that finds it.

See `test_planted_bugs.py`. The market takes jobs from drivers who are connected and late.
"""

from tests.properties.job_rules import Order
from tests.properties.mallard import Mallard
from tests.properties.planting import Planted, Story

JOB = "job_phoenix.j000"


def one_is_on_its_way(mallard: Mallard) -> None:
    """`d0` won it in a round of two: `o1`, which is d1's, is over."""
    mallard.a_day_begins([(Order(), 0)])
    mallard.begin_round(JOB, 0, ["d0", "d1"], 2, gap=0)
    mallard.offer_more(JOB)
    mallard.accept("o0", "d0")


def the_loser_gets_what_the_winner_is_stuck_with(mallard: Mallard) -> None:
    one_is_on_its_way(mallard)
    mallard.hand_over_stuck(JOB, "d0", 1, ["d1"])
    mallard.accept("o1", "d1")
    mallard.accept("o2", "d1")


def one_is_stuck_and_then_lost(mallard: Mallard) -> None:
    one_is_on_its_way(mallard)
    mallard.disconnect("d0")
    mallard.hand_over_stuck(JOB, "d0", 1, ["d1"])


def one_is_stuck_and_then_arrives(mallard: Mallard) -> None:
    one_is_on_its_way(mallard)
    mallard.step(JOB, "d0", 1, "at_mall")
    mallard.hand_over_stuck(JOB, "d0", 1, ["d1"])


def one_who_is_stuck_is_looked_at_by_an_old_attempt(mallard: Mallard) -> None:
    one_is_on_its_way(mallard)
    mallard.hand_over_stuck(JOB, "d0", 0, ["d1"])


def _handed_over(name: str, old: str, new: str, story: Story) -> Planted:
    return Planted(name, "hand_over", ((old, new),), story)


PLANTED_IN_REASSIGNMENTS = (
    _handed_over(
        "one who is lost counts as stuck",
        "arg.lost_ms == 0 and holder.connected and policy",
        "arg.lost_ms == 0 and policy",
        one_is_stuck_and_then_lost,
    ),
    _handed_over(
        "one who has arrived counts as stuck",
        "job.state ~= 'assigned' or job.attempt",
        "job.attempt",
        one_is_stuck_and_then_arrives,
    ),
    _handed_over(
        "a stuck driver counts as silent",
        "local outcome = is_silent and 'silent' or 'unassigned'",
        "local outcome = 'silent'",
        the_loser_gets_what_the_winner_is_stuck_with,
    ),
    _handed_over(
        "attempt not fenced in a reassignment",
        " or job.attempt ~= arg.attempt",
        "",
        one_who_is_stuck_is_looked_at_by_an_old_attempt,
    ),
    _handed_over(
        "a reassignment offers under the old attempt",
        "job.attempt = job.attempt + 1\n    job.offer = arg.offer",
        "job.offer = arg.offer",
        the_loser_gets_what_the_winner_is_stuck_with,
    ),
)
