"""Bugs in the risk of open jobs, each with the story that finds it.

See `test_planted_bugs.py`.
"""

from mallard_protocol.lifecycle import ShopState
from tests.properties.mallard import Mallard
from tests.properties.planted.planting import Planted
from tests.properties.rules.jobs.job import Order

JOB = "job_phoenix.j000"


def nothing_is_there_for_hours(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 0)])
    mallard.shop_says(JOB, "lego", ShopState.MISSING)


def job_in_time_gets_another_driver(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 2)])
    mallard.a_risk_comes_to_its_limit(0, off_by=0, how="once")
    mallard.assign(JOB, "d1")


def risk_comes_to_its_limit(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 0)])
    for _ in range(2):
        mallard.a_risk_comes_to_its_limit(0, off_by=0, how="once")
    assert mallard.seen.jobs[JOB].risk == "late"


def driver_comes_later_than_promised(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 2)])
    mallard.update_etas("d0", [JOB], late=3_600_000)


def return_turns_round(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 4)])
    mallard.timed_step(JOB, "d0", 1, "returning", late=500)
    mallard.look_at_risk(JOB)
    mallard.timed_step(JOB, "d0", 1, "resume", late=0)


def queued_job_is_cancelled(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 0)])
    mallard.cancel(JOB)


def transfer_waits(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 4)])
    transfer = mallard.transfer("d0", [JOB])
    mallard.time_passes(3_500_000)
    mallard.look_at_risk(transfer)


PLANTED_IN_RISKS = (
    Planted(
        "risk of a held job is not looked at",
        "shop_says",
        ((" or state == 'scheduled' then", " then"),),
        nothing_is_there_for_hours,
    ),
    Planted(
        "job in time is left alone without its ETA",
        "assign",
        (("  look_at_risk(job) -- the ETA by which it was in time is gone\n", ""),),
        job_in_time_gets_another_driver,
    ),
    Planted(
        "risk of an order is looked at too late",
        "submit",
        (("ZADD', K.risks, next_ms,", "ZADD', K.risks, next_ms + 1,"),),
        risk_comes_to_its_limit,
    ),
    Planted(
        "job at risk never becomes late",
        "risk",
        (("return 'at_risk', late_from, expected", "return 'at_risk', nil, expected"),),
        risk_comes_to_its_limit,
    ),
    Planted(
        "later ETA is no risk",
        "etas",
        (("redis.call('ZADD', KEYS[1], 0, job[7])", ""),),
        driver_comes_later_than_promised,
    ),
    Planted(
        "job that turns round has no risk",
        "progress",
        ((" or was == 'returning' or", " or"),),
        return_turns_round,
    ),
    Planted(
        "risk of an ended job is looked at",
        "cancel",
        (("  redis.call('ZREM', K.risks, job.id)\n", ""),),
        queued_job_is_cancelled,
    ),
    Planted(
        "transfer is at risk",
        "risk",
        ((" or job.kind == 'transfer' then", " then"),),
        transfer_waits,
    ),
)
