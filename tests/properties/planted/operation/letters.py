"""Bugs in dead letters and alerts, each with the story that finds it.

See `test_planted_bugs.py`.
"""

from tests.properties.mallard import Mallard
from tests.properties.planted.planting import Planted
from tests.properties.rules.jobs.job import Order

JOB = "job_phoenix.j000"
LETTER = "dead_phoenix.j000"


def job_is_given_up(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 0)])
    mallard.job_breaks_its_rounds(0)


def letter_is_retried_twice(mallard: Mallard) -> None:
    job_is_given_up(mallard)
    mallard.retry_letter(LETTER)
    mallard.retry_letter(LETTER)


def dead_letter_is_assigned(mallard: Mallard) -> None:
    job_is_given_up(mallard)
    mallard.assign(JOB, "d1")


def dead_letter_expires(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(lasts_ms=20_000), 0)])
    mallard.job_breaks_its_rounds(0)
    mallard.pass_time(20_000)
    mallard.sweep()


def alert_is_acknowledged_twice(mallard: Mallard) -> None:
    job_is_given_up(mallard)
    mallard.operator_acknowledges(0, "boss")
    mallard.operator_acknowledges(0, "eve")


def given_up_at_an_old_attempt(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 1)])
    mallard.withdraw("o0")
    mallard.job_breaks_its_rounds(0, 1)


def offered_job_is_given_up_at_its_attempt(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 1)])
    mallard.job_breaks_its_rounds(0)


PLANTED_IN_LETTERS = (
    Planted(
        "bury ignores the attempt",
        "bury",
        ((" or job.attempt ~= arg.attempt then", " then"),),
        given_up_at_an_old_attempt,
    ),
    Planted(
        "bury takes a job in any state",
        "bury",
        (("job.state ~= 'queued' or ", ""),),
        offered_job_is_given_up_at_its_attempt,
    ),
    Planted(
        "dead letter waits without end",
        "bury",
        (("job.release_ms, job.dead_letter = job.expires_ms, id", "job.dead_letter = id"),),
        dead_letter_expires,
    ),
    Planted(
        "dead letter is queued at its expiry",
        "queue",
        (("if job.dead_letter ~= '' and now >= job.expires_ms then", "if false then"),),
        dead_letter_expires,
    ),
    Planted(
        "retried job stays a dead letter",
        "revive",
        (("  redis.call('HDEL', K.dead_letters, job.dead_letter)\n", ""),),
        letter_is_retried_twice,
    ),
    Planted(
        "assigned job stays a dead letter",
        "assign",
        (("  redis.call('HDEL', K.dead_letters, job.dead_letter)\n", ""),),
        dead_letter_is_assigned,
    ),
    Planted(
        "alert is in the effects and not stored",
        "bury",
        (("  redis.call('HSET', K.alerts, id, cmsgpack.pack(fields))\n", ""),),
        job_is_given_up,
    ),
    Planted(
        "alert is in no list",
        "bury",
        (("  redis.call('ZADD', K.alerts_open, now, id)\n", ""),),
        job_is_given_up,
    ),
    Planted(
        "acknowledged alert stays open",
        "acknowledge",
        (("  redis.call('ZREM', K.alerts_open, arg.id)\n", ""),),
        alert_is_acknowledged_twice,
    ),
    Planted(
        "second operator replaces the first",
        "acknowledge",
        (("if not raised.by then", "if true then"),),
        alert_is_acknowledged_twice,
    ),
)
