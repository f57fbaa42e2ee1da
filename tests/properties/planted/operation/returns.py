"""Bugs at the door and on the way back, each with the story that finds it.

See `test_planted_bugs.py`.
"""

from mallard_engine.ports import DueEntry, DueKind
from mallard_protocol.lifecycle import Wish
from tests.properties.mallard import Mallard
from tests.properties.planted.planting import Planted, Story
from tests.properties.rules.jobs.job import Order

JOB = "job_phoenix.j000"
# Offered, accepted, at the mall, on board.
ON_BOARD = 4


def on_board(mallard: Mallard, undeliverable: str = "return") -> None:
    mallard.a_day_begins([(Order(undeliverable=undeliverable), ON_BOARD)])


def old_return_is_repeated_after_the_turn(mallard: Mallard) -> None:
    on_board(mallard)
    mallard.timed_step(JOB, "d0", 1, "returning", late=1_000)
    mallard.timed_step(JOB, "d0", 1, "resume", late=500)
    mallard.timed_step(JOB, "d0", 1, "returning", late=1_000)


def report_is_repeated_at_the_door(mallard: Mallard) -> None:
    on_board(mallard)
    mallard.undelivered(JOB, "d0", 1, how="twice")


def report_names_an_old_attempt(mallard: Mallard) -> None:
    on_board(mallard)
    mallard.undelivered(JOB, "d0", 0)


def door_is_swept_too_early(mallard: Mallard) -> None:
    on_board(mallard)
    mallard.undelivered(JOB, "d0", 1)
    mall = mallard.model.jobs[JOB].mall
    mallard.at_door_due(DueEntry(f"door/{mall}/{JOB}", DueKind.DOOR, JOB, mall=mall))


def held_parcel_outlasts_the_block(mallard: Mallard) -> None:
    on_board(mallard, "hold")
    mallard.status("d0", Wish.AVAILABLE, 600_000)
    mallard.undelivered(JOB, "d0", 1, "refused")


def block_is_shortened_during_the_wait(mallard: Mallard) -> None:
    on_board(mallard, "hold")
    mallard.undelivered(JOB, "d0", 1, "refused")
    mallard.status("d0", Wish.AVAILABLE, 600_000)


def third_attempt_is_held(mallard: Mallard) -> None:
    on_board(mallard, "hold")
    for _ in range(3):
        mallard.time_passes(1_000, reports=False)
        mallard.timed_step(JOB, "d0", 1, "at_door", late=0)
        mallard.undelivered(JOB, "d0", 1)


def answer_is_for_the_shop(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(stores=("lego", "gap")), 2)])
    mallard.problem(JOB, "d0", 1, "not_ready", "gap")
    mallard.collect(JOB, "d0", 1, "lego", 2)
    mallard.undelivered(JOB, "d0", 1)
    mallard.answer(JOB, "p1", "instructions")


def parcels_are_ready_after_the_answer(mallard: Mallard) -> None:
    mallard.a_day_begins([(Order(), 2)])
    mallard.problem(JOB, "d0", 1, "not_ready")
    mallard.answer(JOB, "p1", "wait")
    mallard.ready_said(JOB, "lego")
    mallard.answer(JOB, "p1", "retry")


def cancelled_return_is_answered(mallard: Mallard) -> None:
    on_board(mallard)
    mallard.undelivered(JOB, "d0", 1, "refused")
    mallard.cancel(JOB)
    mallard.answer(JOB, "p1", "retry")


def cancelled_return_is_resumed(mallard: Mallard) -> None:
    on_board(mallard)
    mallard.cancel(JOB)
    mallard.timed_step(JOB, "d0", 1, "resume")


def return_in_front_of_the_gate(mallard: Mallard) -> None:
    on_board(mallard)
    mallard.cancel(JOB)
    mallard.returned(JOB, "d0", 1, at_place=False)


def photo_after_the_code_was_shown(mallard: Mallard) -> None:
    on_board(mallard)
    mallard.cancel(JOB)
    mallard.is_shown(JOB)
    mallard.returned(JOB, "d0", 1, "photo")


def parcel_comes_back(mallard: Mallard) -> None:
    on_board(mallard)
    mallard.cancel(JOB)
    mallard.returned(JOB, "d0", 1)


def parcel_is_sent_again_twice(mallard: Mallard) -> None:
    parcel_comes_back(mallard)
    mallard.redeliver(JOB)
    mallard.redeliver(JOB)


def parcel_on_its_way_back_is_sent_again(mallard: Mallard) -> None:
    on_board(mallard)
    mallard.cancel(JOB)
    mallard.redeliver(JOB)


def cancelled_redelivery_is_replaced(mallard: Mallard) -> None:
    parcel_comes_back(mallard)
    mallard.redeliver(JOB)
    first = mallard.model.jobs[JOB].again
    mallard.cancel(first)
    mallard.redeliver(JOB, first)
    assert mallard.model.jobs[JOB].again != first


def _planted(name: str, script: str, old: str, new: str, story: Story) -> Planted:
    return Planted(name, script, ((old, new),), story)


PLANTED_IN_RETURNS = (
    _planted(
        "returned job is redelivered twice",
        "submit",
        "  if made ~= '' and made ~= arg.replaces then return reply('replayed', made) end\n",
        "",
        parcel_is_sent_again_twice,
    ),
    _planted(
        "job on its way back is redelivered",
        "submit",
        "  if origin[1] ~= 'returned' then return reply('wrong_state', origin[1]) end\n",
        "",
        parcel_on_its_way_back_is_sent_again,
    ),
    _planted(
        "returned job does not name its redelivery",
        "submit",
        "  redis.call('HSET', ORIGIN, 'redelivered_as', arg.job)\n",
        "",
        parcel_is_sent_again_twice,
    ),
    _planted(
        "cancelled redelivery is never replaced",
        "submit",
        "made ~= '' and made ~= arg.replaces",
        "made ~= ''",
        cancelled_redelivery_is_replaced,
    ),
    _planted(
        "repeat of an old step is taken again",
        "progress",
        "  if is_taken(job, arg.at_ms) then return answer() end\n",
        "",
        old_return_is_repeated_after_the_turn,
    ),
    _planted(
        "turned return keeps its entry",
        "progress",
        "  if was == 'picked_up' or was == 'returning' then waits_no_more(job) end\n",
        "",
        old_return_is_repeated_after_the_turn,
    ),
    _planted(
        "repeated report is another attempt",
        "undelivered",
        "  if is_counted and not is_new then return end\n",
        "  is_counted = false\n",
        report_is_repeated_at_the_door,
    ),
    _planted(
        "report of an old attempt counts",
        "undelivered",
        "if arg.attempt and not is_holder(job, arg.driver, arg.attempt) then",
        "if false then",
        report_names_an_old_attempt,
    ),
    _planted(
        "rule acts before the wait is over",
        "door",
        "if door.at > now then",
        "if false then",
        door_is_swept_too_early,
    ),
    _planted(
        "held parcel stays on board after the block",
        "undelivered",
        "deadline_ms, rec.until_ms or math.huge)",
        "deadline_ms)",
        held_parcel_outlasts_the_block,
    ),
    _planted(
        "shorter block does not end the wait",
        "status",
        "if until_ms and until_ms ~= rec.until_ms then shorten_waits(rec, until_ms) end\n",
        "",
        block_is_shortened_during_the_wait,
    ),
    _planted(
        "third attempt follows the rule of the order",
        "undelivered",
        "  if attempts >= MOST_ATTEMPTS then door.action = 'return' end\n",
        "",
        third_attempt_is_held,
    ),
    _planted(
        "answer to a shop's problem ends the wait at the door",
        "answer",
        "job.state == 'picked_up' and AT_DOOR[problem.kind]",
        "job.state == 'picked_up'",
        answer_is_for_the_shop,
    ),
    _planted(
        "answered problem outlasts the shop's word",
        "ready",
        "problem.state ~= 'resolved' then",
        "problem.state == 'open' then",
        parcels_are_ready_after_the_answer,
    ),
    _planted(
        "answer turns a cancelled return round",
        "answer",
        "if arg.action == 'retry' and is_cancel_requested(job) then",
        "if false then",
        cancelled_return_is_answered,
    ),
    _planted(
        "driver turns a cancelled return round",
        "progress",
        "local is_barred = arg.step == 'resume' and is_cancel_requested(job)",
        "local is_barred = false",
        cancelled_return_is_resumed,
    ),
    _planted(
        "return counts in front of the place",
        "returned",
        "if not arg.at_place and been ~= (place or arg.plan.place).mall then",
        "if false then",
        return_in_front_of_the_gate,
    ),
    _planted(
        "photo replaces a code that was shown",
        "returned",
        "if redis.call('HGET', job.key, 'code_shown') == '1' then",
        "if false then",
        photo_after_the_code_was_shown,
    ),
    _planted(
        "returned job stays with its driver",
        "returned",
        "    leave_hands(job, read_driver(driver))\n",
        "",
        parcel_comes_back,
    ),
    _planted(
        "cancelled parcel is not sent back",
        "cancel",
        "    turn_back(job, rec, arg.actor, 'cancel_requested', arg.reason, arg.plan)\n",
        "",
        parcel_comes_back,
    ),
)
