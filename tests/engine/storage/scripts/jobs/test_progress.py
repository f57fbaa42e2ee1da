"""Progress of a held job: each step from each state, give-up and custody."""

import itertools

import pytest

from mallard_engine.core.model import HeldJob
from mallard_engine.ports import JobRef, Refused
from mallard_protocol.codes import ErrorCode
from mallard_protocol.lifecycle import HELD, JobState, Outcome, Step
from tests.engine.storage.worlds import MALL, MARKET, NODE, RESUME_MS, World

S = JobState
# The outcome of a step in each state that a holder may see: a new state, no change, or a refusal.
TARGETS = {
    Step.AT_MALL: {S.ASSIGNED: S.AT_MALL},
    Step.COLLECTED: {S.ASSIGNED: S.PICKED_UP, S.AT_MALL: S.PICKED_UP},
    Step.PICKED_UP: {S.ASSIGNED: S.PICKED_UP, S.AT_MALL: S.PICKED_UP},
    Step.AT_DOOR: {S.PICKED_UP: S.PICKED_UP},
    Step.DELIVERED: {S.PICKED_UP: S.DELIVERED, S.RETURNING: S.DELIVERED},
    Step.RETURNING: {S.PICKED_UP: S.RETURNING},
    Step.RESUME: {S.RETURNING: S.PICKED_UP},
    Step.RETURNED: {S.RETURNING: S.RETURNED},
    Step.GIVE_UP: {S.ASSIGNED: S.QUEUED, S.AT_MALL: S.QUEUED},
}
DONE_BY = {
    Step.AT_MALL: {S.AT_MALL, S.PICKED_UP, S.RETURNING, S.DELIVERED, S.RETURNED},
    Step.COLLECTED: {S.PICKED_UP, S.RETURNING, S.DELIVERED, S.RETURNED},
    Step.PICKED_UP: {S.PICKED_UP, S.RETURNING, S.DELIVERED, S.RETURNED},
    Step.AT_DOOR: {S.DELIVERED},
    Step.DELIVERED: {S.DELIVERED},
    Step.RETURNING: {S.RETURNING, S.RETURNED},
    Step.RESUME: {S.PICKED_UP, S.DELIVERED},
    Step.RETURNED: {S.RETURNED},
    Step.GIVE_UP: set(),
}
SEEN_BY_HOLDER = (*sorted(HELD), S.DELIVERED, S.RETURNED, S.LOST)


async def code_of(world: World, ref: JobRef, step: Step, attempt: int, driver: str) -> ErrorCode:
    with pytest.raises(Refused) as refused:
        await world.step(ref, step, attempt, driver)
    return refused.value.code


@pytest.mark.parametrize(("state", "step"), list(itertools.product(SEEN_BY_HOLDER, Step)))
async def test_step_from_a_state_moves_repeats_or_is_refused(
    world: World, state: JobState, step: Step
) -> None:
    await world.driver("ann")
    ref, attempt = await world.in_state(state)
    await world.pass_ms(1)  # a timed step at the same time is a repeat
    before = await world.dump()
    if target := TARGETS[step].get(state):
        answered = await world.step(ref, step, attempt)
        raised = 1 if step is Step.GIVE_UP else 0
        assert (answered.job_state, answered.attempt) == (target, attempt + raised)
        held = [HeldJob(ref.job, attempt, MALL)] if target in HELD else []
        assert list(answered.driver.jobs) == held
        assert (await world.job(ref)).state is target
    elif state in DONE_BY[step]:
        assert (await world.step(ref, step, attempt)).job_state == state
        assert await world.dump() == before
    else:
        assert await code_of(world, ref, step, attempt, "ann") is ErrorCode.WRONG_STATE
        assert await world.dump() == before


async def test_pickup_without_an_arrival_records_the_arrival(world: World) -> None:
    await world.driver("ann")
    ref, attempt = await world.assigned()
    await world.store.jobs.progress(
        ref, "ann", attempt, Step.PICKED_UP, at_ms=world.now - 9_000, reason=""
    )
    timeline = (await world.job(ref)).timeline
    assert [(t.state, t.cause) for t in timeline[-2:]] == [
        ("at_mall", "arrived"),
        ("picked_up", "picked_up"),
    ]
    last = (await world.events("job"))[-1]
    assert (last["at"], last["reported_ms"]) == (world.now, world.now - 9_000)


async def test_delivered_job_frees_its_driver_and_gets_a_ttl(world: World) -> None:
    await world.driver("ann")
    ref, attempt = await world.picked_up()
    assert await world.redis.pttl(world.keys.job(ref.job)) == -1
    await world.pass_ms(10_000)
    answered = await world.step(ref, Step.DELIVERED, attempt)
    assert [freed.driver for freed in answered.effects.freed] == ["ann"]
    assert answered.driver.free_since_ms == world.now
    assert await world.idle() == {"ann"}
    assert await world.redis.pttl(world.keys.job(ref.job)) > 6 * 86_400_000
    assert set(await world.due()) == {"driver/ann"}
    assert await world.store.jobs.counts(MARKET) == {
        "submitted": 1, "queued": 0, "offered": 0, "assigned": 0, "at_mall": 0, "picked_up": 0,
        "delivered": 1,
    }  # fmt: skip


async def test_delivery_without_the_age_check_is_refused(world: World) -> None:
    await world.driver("ann")
    ref, attempt = await world.picked_up(needs_age_check=True)
    assert await code_of(world, ref, Step.DELIVERED, attempt, "ann") is ErrorCode.PROOF_NEEDED
    assert (await world.step(ref, Step.DELIVERED, attempt, age=True)).job_state == "delivered"
    assert (await world.step(ref, Step.DELIVERED, attempt)).job_state == "delivered"


async def test_step_of_another_driver_or_attempt_is_refused(world: World) -> None:
    await world.driver("ann")
    await world.driver("bob")
    ref, attempt = await world.assigned()
    before = await world.dump()
    for step in Step:
        assert await code_of(world, ref, step, attempt, "bob") is ErrorCode.NOT_YOURS
        assert await code_of(world, ref, step, attempt - 1, "ann") is ErrorCode.STALE_ATTEMPT
        missing = JobRef("job_phoenix.missing", MALL)
        assert await code_of(world, missing, step, 1, "ann") is ErrorCode.NOT_YOURS
    assert await world.dump() == before


# -- give up


async def test_given_up_job_excludes_its_driver(world: World) -> None:
    await world.driver("ann")
    ref, attempt = await world.assigned()
    answered = await world.store.jobs.progress(
        ref, "ann", attempt, Step.GIVE_UP, at_ms=None, reason="flat tyre"
    )
    assert (answered.job_state, answered.attempt) == ("queued", attempt + 1)
    assert answered.effects.malls == (MALL,)
    assert answered.effects.pushes == ()
    assert answered.driver.jobs == ()
    job = await world.job(ref)
    assert (job.driver, job.reason, job.eta_pickup_ms) == (None, None, None)
    assert job.asked[-1].outcome == "gave_up"
    assert (await world.events("job"))[-1]["reason"] == "flat tyre"
    verdict = await world.store.offers.make(world.plan(ref, job.attempt, "ann"))
    assert verdict.verdict == "nobody"


async def test_repeated_give_up_has_no_effect(world: World) -> None:
    await world.driver("ann")
    await world.driver("bob")
    ref, attempt = await world.assigned("ann")
    await world.step(ref, Step.GIVE_UP, attempt)
    await world.store.offers.accept(MARKET, "bob", await world.offer(ref, "bob"))
    before = await world.dump()
    again = await world.step(ref, Step.GIVE_UP, attempt)
    assert (again.job_state, again.driver.jobs) == ("assigned", ())
    assert await code_of(world, ref, Step.GIVE_UP, attempt, "bob") is ErrorCode.STALE_ATTEMPT
    assert await world.dump() == before


async def test_only_the_given_up_attempt_is_repeated(world: World) -> None:
    await world.driver("ann")
    ref, attempt = await world.assigned()
    await world.step(ref, Step.GIVE_UP, attempt)
    await world.store.jobs.assign(ref, "ann", "operator")
    await world.store.jobs.release(ref, attempt + 2, Outcome.UNASSIGNED, "operator", "")
    assert (await world.step(ref, Step.GIVE_UP, attempt)).job_state == "queued"
    code = await code_of(world, ref, Step.GIVE_UP, attempt + 2, "ann")
    assert code is ErrorCode.STALE_ATTEMPT


async def test_give_up_ends_custody(world: World) -> None:
    await world.driver("ann")
    ref, attempt = await world.assigned()
    await world.step(ref, Step.GIVE_UP, attempt)
    for step in set(Step) - {Step.GIVE_UP}:
        assert await code_of(world, ref, step, attempt, "ann") is ErrorCode.STALE_ATTEMPT
    assert await world.state(ref) == "queued"


# -- custody


async def revoked(world: World, outcome: Outcome = Outcome.SILENT) -> tuple[JobRef, int]:
    """A job that was taken from ann, who was disconnected; the attempt she had."""
    await world.driver("ann")
    ref, attempt = await world.assigned("ann")
    await world.store.jobs.release(ref, attempt, outcome, "engine", "")
    return ref, attempt


@pytest.mark.parametrize("outcome", [Outcome.SILENT, Outcome.UNASSIGNED])
async def test_custody_of_a_former_holder_overrides_the_queue(
    world: World, outcome: Outcome
) -> None:
    ref, attempt = await revoked(world, outcome)
    answered = await world.step(ref, Step.PICKED_UP, attempt)
    assert (answered.job_state, answered.attempt) == ("picked_up", attempt + 2)
    assert answered.driver.jobs == (HeldJob(ref.job, attempt + 2, MALL),)
    assert await world.waiting() == []
    job = await world.job(ref)
    assert (job.driver, job.timeline[-1].cause) == ("ann", "custody")
    before = await world.dump()
    assert (await world.step(ref, Step.PICKED_UP, attempt)).attempt == attempt + 2
    assert await world.dump() == before
    delivered = await world.step(ref, Step.DELIVERED, answered.attempt)
    assert delivered.job_state == "delivered"
    # The app repeats the queued step once more: it was answered long ago.
    assert (await world.step(ref, Step.PICKED_UP, attempt)).job_state == "delivered"
    assert await world.events("alert") == []


async def test_custody_closes_a_live_offer(world: World) -> None:
    ref, attempt = await revoked(world)
    await world.driver("bob")
    offer = await world.offer(ref, "bob")
    answered = await world.step(ref, Step.PICKED_UP, attempt)
    assert [(p.driver, p.kind, p.offer_id, p.why) for p in answered.effects.pushes] == [
        ("bob", "offer_closed", offer, "collected")
    ]
    assert answered.attempt == attempt + 3
    assert await world.idle() == {"bob"}
    with pytest.raises(Refused) as refused:
        await world.store.offers.accept(MARKET, "bob", offer)
    assert refused.value.code is ErrorCode.OFFER_CLOSED


@pytest.mark.parametrize("state", [JobState.ASSIGNED, JobState.AT_MALL])
async def test_custody_revokes_a_later_holder(world: World, state: JobState) -> None:
    ref, attempt = await revoked(world)
    await world.driver("bob")
    accepted = await world.store.offers.accept(MARKET, "bob", await world.offer(ref, "bob"))
    second = accepted.jobs[0].attempt
    if state is JobState.AT_MALL:
        await world.step(ref, Step.AT_MALL, second, "bob")
    answered = await world.step(ref, Step.PICKED_UP, attempt)
    assert answered.attempt == second + 1
    (push,) = answered.effects.pushes
    assert (push.driver, push.kind, push.job, push.reason) == ("bob", "job", ref.job, "collected")
    assert (await world.record("bob")).jobs == ()
    assert await world.idle() == {"bob"}
    job = await world.job(ref)
    assert (job.driver, job.attempt, job.eta_pickup_ms) == ("ann", second + 1, world.now)
    # Bob claims the parcel too: two claims change nothing.
    before = await world.job(ref)
    assert await code_of(world, ref, Step.PICKED_UP, second, "bob") is ErrorCode.WRONG_STATE
    assert await world.job(ref) == before
    (alert,) = await world.events("alert")
    assert (alert["what"], alert["driver"], alert["holder"]) == ("two_claim_a_parcel", "bob", "ann")


@pytest.mark.parametrize(
    "state", [JobState.PICKED_UP, JobState.RETURNING, JobState.DELIVERED, JobState.LOST]
)
async def test_second_claim_of_custody_raises_an_alert(world: World, state: JobState) -> None:
    ref, attempt = await revoked(world)
    await world.driver("bob")
    accepted = await world.store.offers.accept(MARKET, "bob", await world.offer(ref, "bob"))
    await world.step(ref, Step.PICKED_UP, accepted.jobs[0].attempt, "bob")
    if state is JobState.LOST:
        await world.store.jobs.close(ref, state, "operator", "")
    elif state is not JobState.PICKED_UP:
        await world.step(ref, Step(state.value), accepted.jobs[0].attempt, "bob")
    before = await world.job(ref)
    assert await code_of(world, ref, Step.PICKED_UP, attempt, "ann") is ErrorCode.WRONG_STATE
    assert await world.job(ref) == before
    (alert,) = await world.events("alert")
    assert (alert["what"], alert["state"]) == ("two_claim_a_parcel", state)


@pytest.mark.parametrize("end", [JobState.CANCELLED, JobState.EXPIRED])
async def test_custody_of_an_ended_job_raises_an_alert(world: World, end: JobState) -> None:
    ref, attempt = await revoked(world)
    if end is JobState.CANCELLED:
        await world.store.jobs.cancel(ref, "toys", "")
    else:
        await world.store.deadlines.expire(ref, "nobody_in_reach", 0)
    assert await code_of(world, ref, Step.PICKED_UP, attempt, "ann") is ErrorCode.WRONG_STATE
    assert await world.state(ref) == end
    assert [alert["what"] for alert in await world.events("alert")] == ["parcel_of_ended_job"]


async def test_pickup_of_a_cancelled_job_is_refused(world: World) -> None:
    await world.driver("ann")
    ref, attempt = await world.assigned()
    await world.store.jobs.cancel(ref, "toys", "")
    assert await code_of(world, ref, Step.PICKED_UP, attempt, "ann") is ErrorCode.WRONG_STATE


async def test_custody_of_a_job_reassigned_to_the_same_driver(world: World) -> None:
    ref, attempt = await revoked(world)
    await world.store.jobs.assign(ref, "ann", "operator")
    answered = await world.step(ref, Step.PICKED_UP, attempt)
    assert answered.effects.pushes == ()
    assert answered.driver.jobs == (HeldJob(ref.job, attempt + 3, MALL),)


@pytest.mark.finding("C9")
@pytest.mark.parametrize("is_assigned_since", [False, True])
@pytest.mark.parametrize("claims_by_hello", [False, True])
async def test_winner_of_custody_continues_under_its_claimed_attempt(
    world: World, *, is_assigned_since: bool, claims_by_hello: bool
) -> None:
    ref, attempt = await revoked(world)
    if is_assigned_since:
        await world.driver("bob")
        await world.store.offers.accept(MARKET, "bob", await world.offer(ref, "bob"))
    if claims_by_hello:
        await world.store.jobs.claim(MARKET, "ann", ref.job, attempt, "picked_up", at_ms=None)
    else:
        await world.step(ref, Step.PICKED_UP, attempt)
    now = (await world.job(ref)).attempt
    assert now > attempt
    assert (await world.step(ref, Step.AT_MALL, attempt)).job_state == "picked_up"
    for wrong in (attempt - 1, attempt + 1, now + 1):
        assert await code_of(world, ref, Step.DELIVERED, wrong, "ann") is ErrorCode.STALE_ATTEMPT
    assert await code_of(world, ref, Step.GIVE_UP, attempt, "ann") is ErrorCode.WRONG_STATE
    for kind, at in (("refused", attempt), ("wrong_address", now)):
        reported = await world.store.jobs.problem(
            MARKET, "ann", kind=kind, mall=MALL, job=ref.job, store="", until_ms=None, text="",
            attempt=at, at_ms=None,
        )  # fmt: skip
        assert reported.is_new
    assert (await world.step(ref, Step.RETURNING, attempt)).job_state == "returning"
    delivered = await world.step(ref, Step.DELIVERED, attempt)
    assert (delivered.job_state, delivered.attempt) == ("delivered", now)
    assert delivered.driver.jobs == ()
    before = await world.dump()
    assert (await world.step(ref, Step.DELIVERED, attempt)).job_state == "delivered"
    assert await world.dump() == before


@pytest.mark.finding("C9")
async def test_claim_counts_only_for_the_claimed_attempt(world: World) -> None:
    ref, first = await revoked(world)
    await world.store.jobs.assign(ref, "ann", "operator")
    second = (await world.job(ref)).attempt
    await world.store.jobs.release(ref, second, Outcome.SILENT, "engine", "")
    await world.step(ref, Step.PICKED_UP, second)
    assert await code_of(world, ref, Step.DELIVERED, first, "ann") is ErrorCode.STALE_ATTEMPT
    assert (await world.step(ref, Step.DELIVERED, second)).job_state == "delivered"


@pytest.mark.parametrize("step", [Step.AT_MALL, Step.DELIVERED, Step.RETURNING, Step.RETURNED])
async def test_only_a_pickup_claims_custody(world: World, step: Step) -> None:
    ref, attempt = await revoked(world)
    before = await world.dump()
    assert await code_of(world, ref, step, attempt, "ann") is ErrorCode.STALE_ATTEMPT
    assert await world.dump() == before


async def test_pickup_of_a_disconnected_driver_gets_a_due_entry(world: World) -> None:
    """The step may be processed after the close of its socket."""
    await world.driver("ann")
    ref, attempt = await world.assigned()
    await world.store.drivers.disconnect(MARKET, NODE, [("ann", 1)])
    await world.pass_ms(10)
    await world.step(ref, Step.PICKED_UP, attempt)
    assert await world.due_of(ref) == world.now - 10 + RESUME_MS


@pytest.mark.finding("D8")
@pytest.mark.parametrize(
    ("reported", "occurred"),
    [
        (None, "recorded"),
        (-60_000, -60_000),
        (-(10**9), "before"),
        (60_000, "recorded"),
    ],
)
async def test_offline_step_shows_both_times(
    world: World, reported: int | None, occurred: int | str
) -> None:
    await world.driver("ann")
    ref, _ = await world.in_state(JobState.ASSIGNED)
    taken_ms = world.now
    await world.pass_ms(300_000)
    job = await world.job(ref)
    await world.store.jobs.progress(
        ref,
        "ann",
        job.attempt,
        Step.PICKED_UP,
        at_ms=None if reported is None else world.now + reported,
        reason="",
    )
    *_, arrived, collected = (await world.job(ref)).timeline
    expected = {"recorded": world.now, "before": taken_ms}.get(
        str(occurred), world.now + (occurred if isinstance(occurred, int) else 0)
    )
    assert (arrived.state, collected.state) == ("at_mall", "picked_up")
    for entry in (arrived, collected):
        assert (entry.at_ms, entry.occurred_ms) == (world.now, expected)
    assert (await world.events("job"))[-1]["occurred_ms"] == expected


@pytest.mark.finding("D8")
async def test_custody_shows_when_it_was_collected(world: World) -> None:
    await world.driver("ann")
    ref, _ = await world.in_state(JobState.ASSIGNED)
    job = await world.job(ref)
    await world.pass_ms(300_000)
    await world.store.jobs.release(ref, job.attempt, Outcome.SILENT, "engine", "")
    at_ms = world.now
    await world.pass_ms(60_000)
    await world.store.jobs.progress(
        ref, "ann", job.attempt, Step.PICKED_UP, at_ms=at_ms + 5, reason=""
    )
    entry = (await world.job(ref)).timeline[-1]
    assert (entry.cause, entry.at_ms, entry.occurred_ms) == ("custody", world.now, at_ms + 5)
