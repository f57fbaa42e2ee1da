"""Bugs at the counter of a shop, each with the story that finds it.

See `test_planted_bugs.py`.
"""

from tests.properties.mallard import Mallard
from tests.properties.planted.planting import Planted
from tests.properties.rules.jobs.job import Order


def driver_shows_its_code(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 2)])
    mallard.show_code(mallard.job_at(0), 1, how="twice")


def driver_at_the_mall_shows_its_code(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 3)])
    mallard.time_passes(60_000)
    mallard.show_code(mallard.job_at(0), 1)


def earlier_holder_shows_its_code(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 0)])
    job = mallard.job_at(0)
    mallard.assign(job, "d0")
    mallard.unassign(job, 1)
    mallard.assign(job, "d1")
    mallard.show_code(job, 1)


def earlier_holder_shows_its_code_twice(mallard: Mallard) -> None:
    earlier_holder_shows_its_code(mallard)
    mallard.show_code(mallard.job_at(0), 1, how="twice")


def driver_who_gave_up_shows_its_code(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 0)])
    job = mallard.job_at(0)
    mallard.assign(job, "d0")
    mallard.step(job, "d0", 1, "give_up")
    mallard.assign(job, "d1")
    mallard.show_code(job, 1)


def code_of_an_offer_is_shown(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 0)])
    job = mallard.job_at(0)
    mallard.assign(job, "d0")
    mallard.unassign(job, 1)
    mallard.round(mallard.model.jobs[job].mall)
    mallard.show_code(job, mallard.model.jobs[job].attempt)


def wrong_code_is_shown(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 2)])
    mallard.show_code(mallard.job_at(0), 1, wrong=True)


def offered_job_is_claimed_by_code(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 0)])
    job = mallard.job_at(0)
    mallard.assign(job, "d0")
    mallard.unassign(job, 1)
    mallard.round(mallard.model.jobs[job].mall)
    mallard.show_code(job, 1)


def offered_job_is_cancelled(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 1)])
    mallard.cancel(mallard.job_at(0))


# Of `shop_handover.lua`.
_FORMER = "if handover_code(job, former[2]) == code then return former[1], former[2] end"
_CURRENT = """if job.driver ~= '' and handover_code(job, job.attempt) == code then
    return job.driver, job.attempt"""
_COLLECT = "local fault = collect("

PLANTED_IN_COUNTERS = (
    Planted(
        "any code is right at the counter",
        "shop_handover",
        (("= holder_of(arg.code)", "= job.driver, job.attempt"),),
        wrong_code_is_shown,
    ),
    Planted(
        "code of an earlier holder counts for the holder",
        "shop_handover",
        ((_FORMER, _FORMER.replace("former[1], former[2]", "job.driver, job.attempt")),),
        earlier_holder_shows_its_code,
    ),
    Planted(
        "code of an earlier holder is wrong",
        "shop_handover",
        ((_FORMER, ""),),
        earlier_holder_shows_its_code,
    ),
    Planted(
        "code of an attempt that nobody holds is right",
        "shop_handover",
        (
            (
                _CURRENT,
                """if handover_code(job, job.attempt) == code then
    return job.former[1][1], job.former[1][2]""",
            ),
        ),
        code_of_an_offer_is_shown,
    ),
    Planted(
        "repeated handover is announced again",
        "shop_handover",
        (("if shop.state ~= was or shop.collected ~= had then", "if true then"),),
        driver_shows_its_code,
    ),
    Planted(
        "handover at the mall is no stay",
        "shop_handover",
        ((_COLLECT, f"policy.learns_dwell = nil\n{_COLLECT}"),),
        driver_at_the_mall_shows_its_code,
    ),
    Planted(
        "driver who gave up may still show its code",
        "release",
        (("else strike_former(job, job.driver) end", "else note_former(job, job.driver) end"),),
        driver_who_gave_up_shows_its_code,
    ),
    Planted(
        "claim by code leaves the live offer",
        "shop_handover",
        (("close_offer(job, run, 'withdrawn', 'collected')", ""),),
        offered_job_is_claimed_by_code,
    ),
    Planted(
        "ended job stays in the list of its shop",
        "cancel",
        (("      redis.call('ZREM', BY_SHOP, name)\n", ""),),
        offered_job_is_cancelled,
    ),
    Planted(
        "new job is not in the list of its shop",
        "submit",
        (("    redis.call('ZADD', BY_SHOP, 0, name)\n", ""),),
        offered_job_is_cancelled,
    ),
)
