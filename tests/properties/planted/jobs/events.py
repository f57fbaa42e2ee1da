"""Bugs in what the scripts tell the readers of events, each with the story that finds it.

See `test_planted_bugs.py` and `event_trail.py`.
"""

from tests.properties.mallard import Mallard
from tests.properties.planted.planting import Planted
from tests.properties.rules.jobs.job import Order

JOB = "job_phoenix.j000"


def job_is_assigned(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 2)])


def parcels_went_back_a_while_ago(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 4)])
    mallard.time_passes(5_000)
    mallard.timed_step(JOB, "d0", 1, "returning", late=500)


def job_is_cancelled(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 2)])
    mallard.cancel(JOB)


PLANTED_IN_EVENTS = (
    Planted(
        "event tells the state before the change",
        "accept",
        (("from = was, to = state,", "from = was, to = was,"),),
        job_is_assigned,
    ),
    Planted(
        "event of a change belongs to no service",
        "accept",
        (("service = job.service, from = was,", "service = '', from = was,"),),
        job_is_assigned,
    ),
    Planted(
        "event of a change names no driver",
        "accept",
        (
            (
                "attempt = job.attempt, driver = job.driver, actor = actor, cause = cause,",
                "attempt = job.attempt, driver = '', actor = actor, cause = cause,",
            ),
        ),
        job_is_assigned,
    ),
    Planted(
        "change that was reported late occurs when it is heard",
        "progress",
        (("occurred_ms = occurred, etas", "occurred_ms = now, etas"),),
        parcels_went_back_a_while_ago,
    ),
    Planted(
        "cancelled job is no event",
        "cancel",
        (
            (
                "  note_transfer(job, reason)\n",
                "  note_transfer(job, reason)\n  if true then return end\n",
            ),
        ),
        job_is_cancelled,
    ),
)
