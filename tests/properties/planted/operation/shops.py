"""Bugs in pickup shop by shop, each with the story that finds it.

See `test_planted_bugs.py`.
"""

from mallard_protocol.lifecycle import ShopState
from tests.properties.mallard import Mallard
from tests.properties.planted.planting import Planted
from tests.properties.rules.jobs.job import Order
from tests.properties.world import MALLS

JOB = "job_phoenix.j000"


def nothing_is_there(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 2)])
    mallard.collect(JOB, "d0", 1, "lego", 0)


def nothing_is_there_twice(mallard: Mallard) -> None:
    nothing_is_there(mallard)
    mallard.ready_said(JOB, "lego")
    mallard.round(MALLS[0])
    driver = mallard.model.offers["o1"].driver
    mallard.accept("o1", driver)
    mallard.collect(JOB, driver, mallard.model.jobs[JOB].attempt, "lego", 0)


def revoked_driver_finds_nothing(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 2)])
    mallard.assign(JOB, "d1")
    mallard.collect(JOB, "d0", 1, "lego", 0)


def missing_is_a_problem(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 2)])
    mallard.problem(JOB, "d0", 1, "missing")


def nobody_answers_in_time(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(hold_s=60), 2)])
    mallard.collect(JOB, "d0", 1, "lego", 0)
    mallard.nobody_answers(0, "once")


def another_shop_answers(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(stores=("lego", "gap"), on_short="hold"), 2)])
    mallard.collect(JOB, "d0", 1, "lego", 0)
    mallard.ready_said(JOB, "gap")


def more_than_ordered(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 2)])
    mallard.collect(JOB, "d0", 1, "lego", 3)


def not_ready_and_given_up(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 2)])
    mallard.problem(JOB, "d0", 1, "not_ready")
    mallard.step(JOB, "d0", 1, "give_up")


def assigned_while_unanswered(mallard: Mallard) -> None:
    nothing_is_there(mallard)
    mallard.assign(JOB, "d1")
    mallard.unassign(JOB, mallard.model.jobs[JOB].attempt)


def one_of_two_is_missing_while_another_is_closed(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(stores=("lego", "gap"), on_short="hold"), 2)])
    mallard.problem(JOB, "d0", 1, "store_closed", late=1_000)
    mallard.shop_says(JOB, "gap", ShopState.MISSING)
    mallard.ready_said(JOB, "lego")
    mallard.time_passes(1_000)
    mallard.sweep()


def held_job_is_swept_late(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(stores=("lego", "gap"), on_short="hold", hold_s=60), 2)])
    mallard.collect(JOB, "d0", 1, "lego", 0)
    mallard.time_passes(60_000)
    mallard.ready_said(JOB, "gap")


def one_of_two_is_missing(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(stores=("lego", "gap")), 2)])
    mallard.collect(JOB, "d0", 1, "lego", 0)


def one_of_two_is_missing_and_comes(mallard: Mallard) -> None:
    one_of_two_is_missing(mallard)
    mallard.step(JOB, "d0", 1, "give_up")
    mallard.ready_said(JOB, "lego")


PLANTED_IN_SHOPS = (
    Planted(
        "next driver is sent to a missing shop",
        "progress",
        (("  note_done(job)\nend", "end"),),
        one_of_two_is_missing,
    ),
    Planted(
        "shop that is ready again is not visited",
        "ready",
        (("  note_done(job)\nend", "end"),),
        one_of_two_is_missing_and_comes,
    ),
    Planted(
        "missing parcel is offered to the next driver",
        "progress",
        (("return move(job, 'scheduled', actor", "return move(job, 'queued', actor"),),
        nothing_is_there,
    ),
    Planted(
        "second hold for a shop does not end the job",
        "progress",
        (("shop.holds > 1", "shop.holds > 9"),),
        nothing_is_there_twice,
    ),
    Planted(
        "collected ignores the attempt",
        "progress",
        (("if not holds_it then", "if not holds_it and not shop then"),),
        revoked_driver_finds_nothing,
    ),
    Planted(
        "driver keeps a held job",
        "problem",
        (("  take_from_holder(job, state, not gave_up and reason or nil)\n", ""),),
        missing_is_a_problem,
    ),
    Planted(
        "unanswered hold is queued at its end",
        "queue",
        (("held.why == 'missing' or held.why == 'short' or ", ""),),
        nobody_answers_in_time,
    ),
    Planted(
        "another shop's answer ends the hold",
        "ready",
        (("job.held and job.held.store == arg.said", "job.held and arg.said"),),
        another_shop_answers,
    ),
    Planted(
        "job fails for one shop when another was to open",
        "ready",
        (("if held.why ~= 'missing' and held.why ~= 'short' then", "if false then"),),
        one_of_two_is_missing_while_another_is_closed,
    ),
    Planted(
        "overdue hold is released by another shop",
        "ready",
        (("not job.held and now >= job.release_ms", "now >= job.release_ms"),),
        held_job_is_swept_late,
    ),
    Planted(
        "more parcels than ordered are collected",
        "progress",
        (
            ("(arg.parcels or 0) > shop.parcels", "false"),
            ("if parcels > shop.parcels then return 'bad_field' end", ""),
        ),
        more_than_ordered,
    ),
    Planted(
        "shop that is not ready gets the next driver",
        "release",
        (("shop.wait_ms > now", "shop.wait_ms < 0"),),
        not_ready_and_given_up,
    ),
    Planted(
        "unanswered job is queued after an assignment",
        "release",
        (("  if shop then\n    hold(", "  if false then\n    hold("),),
        assigned_while_unanswered,
    ),
)
