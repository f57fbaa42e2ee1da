"""Bugs in transfers of parcels between drivers, each with the story that finds it.

See `test_planted_bugs.py`. In each story `d0` has two parcels on board and a third job to collect,
and `d2` comes to meet it.
"""

from mallard_protocol.lifecycle import Wish
from tests.properties.mallard import Mallard
from tests.properties.planted.planting import Planted, Story
from tests.properties.rules.jobs.job import Order

JOB = "job_phoenix.j000"
NEXT = "job_phoenix.j001"
LATER = "job_phoenix.j002"
TRANSFER = "job_phoenix.t003"


def two_are_on_board(mallard: Mallard) -> None:
    mallard.a_day_begins([])
    for name in (JOB, NEXT, LATER):
        mallard.submit(Order(weight_g=50))
        mallard.assign(name, "d0")
    for name in (JOB, NEXT):
        mallard.step(name, "d0", 1, "picked_up")


def transfer_begins(mallard: Mallard) -> None:
    two_are_on_board(mallard)
    mallard.transfer("d0", [JOB, NEXT])
    mallard.sweep("n1")


def second_driver_comes(mallard: Mallard) -> None:
    transfer_begins(mallard)
    mallard.offer(TRANSFER, 0, ["d2"])
    mallard.accept("o0", "d2")


def they_meet(mallard: Mallard) -> None:
    second_driver_comes(mallard)
    mallard.take_over(TRANSFER, "d2", 1, how="twice")
    mallard.step(JOB, "d0", 1, "delivered")
    mallard.step(JOB, "d0", 1, "picked_up")
    mallard.step(JOB, "d2", 2, "delivered")


def second_driver_has_no_code(mallard: Mallard) -> None:
    second_driver_comes(mallard)
    for code in (None, "0"):
        mallard.take_over(TRANSFER, "d2", 1, code)


def codes_are_guessed(mallard: Mallard) -> None:
    second_driver_comes(mallard)
    for code in ("0", "1", "2"):
        mallard.take_over(TRANSFER, "d2", 1, code)
    mallard.take_over(TRANSFER, "d2", 1)


def one_is_delivered_meanwhile(mallard: Mallard) -> None:
    second_driver_comes(mallard)
    mallard.step(JOB, "d0", 1, "delivered")
    mallard.take_over(TRANSFER, "d2", 1)


def all_are_delivered_meanwhile(mallard: Mallard) -> None:
    second_driver_comes(mallard)
    mallard.sweep("n1")  # what the acceptance has left to do
    for name in (JOB, NEXT):
        mallard.step(name, "d0", 1, "delivered")
    mallard.sweep("n1")


def one_is_handed_over_twice(mallard: Mallard) -> None:
    transfer_begins(mallard)
    mallard.transfer("d0", [JOB])


def second_driver_comes_too_late(mallard: Mallard) -> None:
    second_driver_comes(mallard)
    mallard.unassign(TRANSFER, 1)
    mallard.assign(TRANSFER, "d2")
    mallard.take_over(TRANSFER, "d2", 2)


def stranger_takes_over(mallard: Mallard) -> None:
    second_driver_comes(mallard)
    mallard.take_over(TRANSFER, "d1", 1)


def hello_says_that_the_meeting_is_on_board(mallard: Mallard) -> None:
    second_driver_comes(mallard)
    mallard.claim(TRANSFER, "d2", 1, "picked_up")


def only_one_is_taken(mallard: Mallard) -> None:
    second_driver_comes(mallard)
    mallard.take_over(TRANSFER, "d2", 1, jobs=[NEXT])


def small_vehicle_is_asked(mallard: Mallard) -> None:
    transfer_begins(mallard)
    mallard.offer(TRANSFER, 0, ["d3"])


def first_driver_is_assigned_its_own_transfer(mallard: Mallard) -> None:
    transfer_begins(mallard)
    mallard.step(JOB, "d0", 1, "delivered")
    mallard.assign(TRANSFER, "d0")


def first_driver_is_free_again(mallard: Mallard) -> None:
    transfer_begins(mallard)
    for name in (JOB, NEXT):
        mallard.step(name, "d0", 1, "delivered")
    mallard.status("d0", Wish.AVAILABLE)
    mallard.offer(TRANSFER, 0, ["d0"])


def _planted(name: str, script: str, old: str, new: str, story: Story) -> Planted:
    return Planted(name, script, ((old, new),), story, max_run_jobs=3)


PLANTED_IN_TRANSFERS = (
    _planted(
        "custody changes hands without the code",
        "take_over",
        "if left then return reply('wrong_code', left) end",
        "",
        second_driver_has_no_code,
    ),
    _planted(
        "missing code counts as right",
        "take_over",
        "if not arg.proof or arg.proof.kind ~= 'code' then "
        "return reply('proof_needed', { 'code' }) end",
        "arg.proof = arg.proof or { kind = 'code', value = redis.call('HGET', job.key, 'code') }",
        second_driver_has_no_code,
    ),
    _planted(
        "code may be guessed without end",
        "take_over",
        "if #wrong < MOST_WRONG and is_same_code(",
        "if is_same_code(",
        codes_are_guessed,
    ),
    _planted(
        "both drivers hold what was handed over",
        "take_over",
        "drop_job(before, each.id)",
        "",
        they_meet,
    ),
    _planted(
        "transfer keeps the attempt",
        "take_over",
        "each.attempt = each.attempt + 1",
        "",
        they_meet,
    ),
    _planted(
        "second driver keeps the meeting as a job",
        "take_over",
        "drop_job(second, job.id)",
        "",
        they_meet,
    ),
    _planted(
        "delivered job changes hands as well",
        "take_over",
        "if is_here and (each.state == 'picked_up' or each.state == 'returning') then",
        "if is_here then",
        one_is_delivered_meanwhile,
    ),
    _planted(
        "all change hands though one was taken",
        "take_over",
        "if is_asked[each.id] then",
        "if true then",
        only_one_is_taken,
    ),
    _planted(
        "anybody with the code takes over",
        "take_over",
        "if not is_mine and not may_claim then",
        "if false then",
        stranger_takes_over,
    ),
    _planted(
        "transfer is taken over at an old attempt",
        "take_over",
        "local is_mine = is_holder(job, arg.driver, arg.attempt)",
        "local is_mine = job.driver == arg.driver",
        second_driver_comes_too_late,
    ),
    _planted(
        "job is part of two transfers",
        "transfer",
        "if job.is_carried then",
        "if false then",
        one_is_handed_over_twice,
    ),
    _planted(
        "first driver is not paused",
        "transfer",
        "rec.wish = 'paused'",
        "",
        transfer_begins,
    ),
    _planted(
        "jobs not on board stay with a broken car",
        "transfer",
        "take_back_from(job, 'unassigned', arg.actor, 'transfer')",
        "",
        transfer_begins,
    ),
    _planted(
        "empty transfer goes on",
        "settle_transfer",
        "if #live == 0 and BEFORE_PICKUP[job.state] then",
        "if false then",
        all_are_delivered_meanwhile,
    ),
    _planted(
        "end of a carried job is forgotten",
        "progress",
        "elseif job.transfer ~= '' and TERMINAL[job.state] then",
        "elseif false then",
        all_are_delivered_meanwhile,
    ),
    _planted(
        "hello picks a meeting up",
        "claim",
        "if job.kind == 'transfer' then return reply('wrong_state') end",
        "",
        hello_says_that_the_meeting_is_on_board,
    ),
    _planted(
        "transfer counts as one job",
        "offer",
        "return job.kind == 'transfer' and need_of(job).jobs or 1",
        "return 1",
        small_vehicle_is_asked,
    ),
    _planted(
        "driver hands over to itself",
        "assign",
        " or is_first then",
        " then",
        first_driver_is_assigned_its_own_transfer,
    ),
    _planted(
        "driver is offered its own transfer",
        "offer",
        "if job.kind == 'transfer' then barred[redis.call('HGET', job.key, 'first')] = true end",
        "",
        first_driver_is_free_again,
    ),
)
