"""At the customer's door: attempts, the order's rule, answers, and what outlives a node."""

import json
from typing import Any

import pytest

from mallard_engine.ports import (
    Answered,
    DueEntry,
    DueKind,
    JobRef,
    NoSuchProblem,
    Refused,
    WrongState,
)
from mallard_protocol.codes import ErrorCode
from mallard_protocol.lifecycle import JobState, Step, Wish
from tests.engine.storage.worlds import HOUR_MS, MALL, MARKET, World

WAIT_MS = 300_000
HOLD_MS = 4 * HOUR_MS


async def on_board(world: World, **order: Any) -> tuple[JobRef, int]:
    """A job on board whose order has these fields."""
    await world.driver("ann")
    return await world.picked_up(
        body=json.dumps(order).encode(), deadline_ms=world.now + 100 * HOUR_MS
    )


async def reports(
    world: World, ref: JobRef, attempt: int, kind: str = "customer_unreachable", **fields: Any
) -> Answered:
    given: dict[str, Any] = {"store": "", "until_ms": None, "text": "", "at_ms": None, **fields}
    return await world.store.returns.undelivered(
        ref, "ann", kind=kind, attempt=attempt, plan=world.way_back(), **given
    )


async def at_door(world: World, ref: JobRef, attempt: int, at_ms: int | None = None) -> Answered:
    return await world.store.jobs.progress(
        ref, "ann", attempt, Step.AT_DOOR, at_ms=at_ms or world.now, reason=""
    )


async def answers(world: World, ref: JobRef, problem: str, action: str, text: str = "") -> None:
    await world.store.returns.answer(
        ref, problem, action=action, text=text, actor="toys", plan=world.way_back()
    )


def door(ref: JobRef) -> DueEntry:
    return DueEntry(f"door/{MALL}/{ref.job}", DueKind.DOOR, ref.job, mall=MALL)


async def acts(world: World, ref: JobRef) -> tuple[str, ...]:
    """Execute the due entry of the door; return the actions that were pushed to the driver."""
    job = await world.job(ref)
    effects = await world.store.returns.act_at_door(door(ref), job.attempt, world.way_back())
    return tuple(push.answer.action for push in effects.pushes if push.answer)


async def door_due(world: World, ref: JobRef) -> int | None:
    return (await world.due()).get(door(ref).member)


async def test_attempt_counts_once_a_visit(world: World) -> None:
    ref, attempt = await on_board(world)
    await at_door(world, ref, attempt)
    for kind in ("customer_unreachable", "customer_unreachable", "wrong_address"):
        await reports(world, ref, attempt, kind)
    assert (await world.job(ref)).delivery_attempts == 1
    await world.pass_ms(1_000)
    await at_door(world, ref, attempt)
    await reports(world, ref, attempt)
    job = await world.job(ref)
    assert (job.delivery_attempts, job.state) == (2, "picked_up")
    assert [(it.kind, it.state) for it in job.problems] == [
        ("customer_unreachable", "resolved"),
        ("wrong_address", "resolved"),
        ("customer_unreachable", "open"),
    ]
    assert [it["number"] for it in await world.events("attempted")] == [1, 2]


async def test_earlier_arrival_at_the_door_is_a_repeat(world: World) -> None:
    ref, attempt = await on_board(world)
    await at_door(world, ref, attempt, world.now)
    await reports(world, ref, attempt)
    before = await world.dump()
    await at_door(world, ref, attempt, world.now)
    await at_door(world, ref, attempt, world.now - 1)
    assert await world.dump() == before


async def test_clock_far_ahead_does_not_refuse_later_steps(world: World) -> None:
    ref, attempt = await on_board(world)
    await at_door(world, ref, attempt, world.now + 24 * HOUR_MS)
    before = await world.dump()
    await at_door(world, ref, attempt, world.now + 24 * HOUR_MS)
    assert await world.dump() == before
    await world.pass_ms(61_000)
    assert (await world.step(ref, Step.RETURNING, attempt)).job_state == "returning"


@pytest.mark.parametrize("step", [Step.AT_DOOR, Step.RETURNING, Step.RESUME])
async def test_timed_step_without_a_time_is_refused(world: World, step: Step) -> None:
    ref, attempt = await on_board(world)
    with pytest.raises(Refused) as refused:
        await world.store.jobs.progress(ref, "ann", attempt, step, at_ms=None, reason="")
    assert refused.value.code is ErrorCode.BAD_FIELD


async def test_third_attempt_goes_back_at_once(world: World) -> None:
    ref, attempt = await on_board(world, on_undeliverable="hold")
    for _ in range(3):
        assert (await world.job(ref)).state == "picked_up"
        await world.pass_ms(1_000)
        await at_door(world, ref, attempt)
        await reports(world, ref, attempt)
    job = await world.job(ref)
    assert (job.state, job.reason, job.delivery_attempts) == (
        "returning",
        "customer_unreachable",
        3,
    )
    assert job.return_to
    assert job.timeline[-1].cause == "undeliverable"
    assert await door_due(world, ref) is None


async def test_unanswered_report_acts_after_the_wait(world: World) -> None:
    ref, attempt = await on_board(world)
    await reports(world, ref, attempt)
    assert await door_due(world, ref) == world.now + WAIT_MS
    await world.pass_ms(WAIT_MS - 1)
    assert await acts(world, ref) == ()
    assert (await world.job(ref)).state == "picked_up"
    await world.pass_ms(1)
    assert await acts(world, ref) == ("return",)
    assert (await world.job(ref)).state == "returning"
    assert await acts(world, ref) == ()


async def test_refusal_acts_at_once(world: World) -> None:
    ref, attempt = await on_board(world)
    answered = await reports(world, ref, attempt, "refused")
    (push,) = answered.effects.pushes
    assert (push.state, push.reason) == ("returning", "answer")
    assert push.answer
    assert (push.answer.problem, push.answer.action) == ("p1", "return")
    assert (await world.job(ref)).reason == "refused"


async def test_left_parcel_needs_a_photo(world: World) -> None:
    ref, attempt = await on_board(world, on_undeliverable="leave")
    await reports(world, ref, attempt)
    await world.pass_ms(WAIT_MS)
    assert await acts(world, ref) == ("leave",)
    job = await world.job(ref)
    assert (job.state, job.is_left, job.answer and job.answer.action) == (
        "picked_up",
        True,
        "leave",
    )
    with pytest.raises(Refused) as refused:
        await world.step(ref, Step.DELIVERED, attempt)
    assert refused.value.missing == ("photo",)
    answered = await world.store.jobs.progress(
        ref, "ann", attempt, Step.DELIVERED, at_ms=None, proof=await world.photo(), reason=""
    )
    assert answered.job_state == "delivered"


async def test_shorter_block_ends_the_wait_sooner(world: World) -> None:
    ref, attempt = await on_board(world, on_undeliverable="hold")
    await reports(world, ref, attempt, "refused")
    begun = world.now
    assert await door_due(world, ref) == begun + HOLD_MS
    for until_ms, due_ms in ((None, HOLD_MS), (600_000, 600_000), (900_000, 600_000)):
        until = begun + until_ms if until_ms else None
        await world.store.drivers.status(MARKET, "ann", Wish.AVAILABLE, until)
        assert await door_due(world, ref) == begun + due_ms
    await world.pass_ms(600_000)
    assert await acts(world, ref) == ("return",)


async def test_unanswered_report_waits_beyond_the_block(world: World) -> None:
    ref, attempt = await on_board(world)
    await reports(world, ref, attempt)
    await world.store.drivers.status(MARKET, "ann", Wish.AVAILABLE, world.now + 1_000)
    assert await door_due(world, ref) == world.now + WAIT_MS


@pytest.mark.parametrize(
    ("hold_s", "deadline_ms", "until_ms", "kept_ms"),
    [
        (None, 100 * HOUR_MS, None, HOLD_MS),
        (3_600, 100 * HOUR_MS, None, HOUR_MS),
        (3_600, HOUR_MS, None, HOUR_MS - WAIT_MS),
        (3_600, 100 * HOUR_MS, 400_000, 100_000),
    ],
)
async def test_held_parcel_goes_back_at_the_first_limit(
    world: World, hold_s: int | None, deadline_ms: int, until_ms: int | None, kept_ms: int
) -> None:
    order: dict[str, Any] = {"on_undeliverable": "hold"} | ({"hold_s": hold_s} if hold_s else {})
    await world.driver("ann")
    ref, attempt = await world.picked_up(
        body=json.dumps(order).encode(), deadline_ms=world.now + deadline_ms
    )
    if until_ms:
        await world.store.drivers.status(MARKET, "ann", Wish.AVAILABLE, world.now + until_ms)
    await reports(world, ref, attempt)
    await world.pass_ms(WAIT_MS)
    assert await acts(world, ref) == ("wait",)
    assert await door_due(world, ref) == world.now + kept_ms
    await world.pass_ms(kept_ms)
    assert await acts(world, ref) == ("return",)
    assert (await world.job(ref)).state == "returning"


async def test_answer_ends_the_wait(world: World) -> None:
    ref, attempt = await on_board(world)
    await reports(world, ref, attempt)
    await answers(world, ref, "p1", "instructions", "the code is 12")
    assert await door_due(world, ref) is None
    job = await world.job(ref)
    (problem,) = job.problems
    assert problem.answer
    assert (problem.state, problem.answer.text, problem.answer.actor) == (
        "answered",
        "the code is 12",
        "toys",
    )
    before = await world.dump()
    await answers(world, ref, "p1", "instructions", "the code is 12")
    assert await world.dump() == before


@pytest.mark.parametrize("action", ["instructions", "wait", "retry"])
async def test_answer_to_a_shops_problem_leaves_the_door(world: World, action: str) -> None:
    # Parcels of that shop are still to come: those that are there would resolve its problem.
    await world.driver("ann")
    order = {"pickup": {"stores": [{"store": store, "parcels": 2} for store in ("lego", "gap")]}}
    ref, attempt = await world.assigned(
        body=json.dumps(order).encode(), deadline_ms=world.now + 100 * HOUR_MS
    )
    await world.problem(ref, "not_ready", attempt=attempt, store="gap")
    await world.collect(ref, attempt, 2)
    await answers(world, ref, "p1", action, "first")
    assert await door_due(world, ref) is None
    await reports(world, ref, attempt)
    due = await door_due(world, ref)
    await answers(world, ref, "p1", action, "second")
    assert await door_due(world, ref) == due == world.now + WAIT_MS
    await reports(world, ref, attempt, "wrong_address")
    job = await world.job(ref)
    assert (job.delivery_attempts, [it.state for it in job.problems]) == (
        1,
        ["answered", "open", "open"],
    )


async def test_retry_turns_a_return_round(world: World) -> None:
    ref, attempt = await on_board(world)
    await reports(world, ref, attempt, "refused")
    await answers(world, ref, "p1", "retry", "she wants it")
    job = await world.job(ref)
    assert (job.state, job.reason, job.return_to) == ("picked_up", None, None)
    assert job.timeline[-1].cause == "turned_round"
    assert f"return/{MALL}/{ref.job}" not in await world.due()
    assert (await world.step(ref, Step.DELIVERED, attempt)).job_state == "delivered"


async def test_answer_return_sends_it_back(world: World) -> None:
    ref, attempt = await on_board(world)
    await reports(world, ref, attempt, "wrong_address")
    await answers(world, ref, "p1", "return")
    job = await world.job(ref)
    assert (job.state, job.reason, job.timeline[-1].actor) == (
        "returning",
        "wrong_address",
        "toys",
    )


@pytest.mark.parametrize("action", ["leave", "wait"])
async def test_answer_that_does_not_fit_the_state_is_refused(world: World, action: str) -> None:
    ref, attempt = await on_board(world)
    await reports(world, ref, attempt, "refused")
    before = await world.dump()
    with pytest.raises(WrongState):
        await answers(world, ref, "p1", action)
    with pytest.raises(NoSuchProblem):
        await answers(world, ref, "p9", "retry")
    assert await world.dump() == before


async def test_answer_after_the_next_visit_is_refused(world: World) -> None:
    ref, attempt = await on_board(world)
    await reports(world, ref, attempt)
    await at_door(world, ref, attempt)
    with pytest.raises(WrongState):
        await answers(world, ref, "p1", "return")


async def test_report_of_another_driver_or_attempt_is_refused(world: World) -> None:
    ref, attempt = await on_board(world)
    before = await world.dump()
    with pytest.raises(Refused) as refused:
        await reports(world, ref, attempt - 1)
    assert refused.value.code is ErrorCode.STALE_ATTEMPT
    with pytest.raises(Refused) as refused:
        await reports(world, JobRef("job_phoenix.missing", MALL), attempt)
    assert refused.value.code is ErrorCode.NOT_YOURS
    assert await world.dump() == before


@pytest.mark.parametrize("state", [JobState.ASSIGNED, JobState.AT_MALL, JobState.RETURNING])
async def test_report_away_from_the_door_counts_no_attempt(world: World, state: JobState) -> None:
    await world.driver("ann")
    ref, attempt = await world.in_state(state)
    await reports(world, ref, attempt)
    job = await world.job(ref)
    assert (job.state, job.delivery_attempts, len(job.problems)) == (state, 0, 1)


async def test_wait_of_another_attempt_does_not_act(world: World) -> None:
    ref, attempt = await on_board(world)
    await reports(world, ref, attempt)
    await world.pass_ms(WAIT_MS)
    effects = await world.store.returns.act_at_door(door(ref), attempt + 1, world.way_back())
    assert effects.pushes == ()
    assert (await world.job(ref)).state == "picked_up"
