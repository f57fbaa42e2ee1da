"""Bugs in the scripts of a repair, each with the story that finds it.

See `test_planted_bugs.py`.
"""

from functools import partial

from tests.properties.mallard import Mallard
from tests.properties.planted.planting import Planted
from tests.properties.rules.jobs.job import Order


def broken(what: str, hops: int, mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), hops)])
    mallard.something_is_broken_and_mended(what, 0)


def driver_is_lost_from_sight(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 0)])
    mallard.something_is_broken_and_mended("idle", 0)


PLANTED_IN_REPAIRS = (
    Planted(
        "repair does not make it due again",
        "mend_job",
        (("local entry = due_member(job)\n", "local entry = false\n"),),
        partial(broken, "due entry", 0),
    ),
    Planted(
        "repair leaves the queue as it is",
        "mend_job",
        (("  wait_for_driver(job)\n", ""),),
        partial(broken, "queue", 0),
    ),
    Planted(
        "repair takes a job from its holder",
        "mend_job",
        (
            (
                "(job.state == 'assigned' or job.state == 'at_mall') and not is_held",
                "job.state == 'assigned'",
            ),
        ),
        partial(broken, "list", 2),
    ),
    Planted(
        "repair counts one too many",
        "mend_counts",
        (("string.format('%.0f', count)", "string.format('%.0f', count + 1)"),),
        partial(broken, "counted twice", 0),
    ),
    Planted(
        "repair does not look at the risk",
        "mend_job",
        (("  look_at_risk(job)\n  done('its risk", "  done('its risk"),),
        partial(broken, "risk", 0),
    ),
)
