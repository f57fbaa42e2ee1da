"""Changes of stored orders: offers, holds, holders, and what came too late."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from mallard_engine.core.model import Need, Vehicle
from mallard_engine.core.order_change import OrderChange
from mallard_engine.core.policy import MarketPolicy
from mallard_engine.ports import Effects, JobRef, NoSuchJob, PushKind, Stop
from mallard_protocol.lifecycle import JobState, ShopState, Step
from tests.engine.storage.worlds import HOUR_MS, LAT, LON, MARKET, World

EARLY = (JobState.SCHEDULED, JobState.QUEUED, JobState.OFFERED)
BEFORE = (*EARLY, JobState.ASSIGNED, JobState.AT_MALL)
OPEN = (*BEFORE, JobState.PICKED_UP, JobState.RETURNING)
ENDED = (JobState.DELIVERED, JobState.RETURNED, JobState.CANCELLED, JobState.LOST)
VAN = Vehicle(kind="van", max_jobs=4, max_weight_g=4_000, max_volume_l=40)


@pytest.fixture
def policy() -> MarketPolicy:
    return MarketPolicy(max_run_jobs=3, silence_stretch=1)


async def change(
    world: World, ref: JobRef, *, unless_touched: bool = False, etas: Any = (), **changes: Any
) -> Effects | None:
    """Change the order of a job; `order`: fields of its body, `need`: of its need."""
    was = await world.job(ref)
    return await world.store.changes.change(
        ref,
        was,
        changed(was.body, was.need, **{"release_ms": was.release_ms, **changes}),
        actor="toys",
        etas=etas,
        unless_touched=unless_touched,
    )


def changed(
    body: bytes,
    need: Need,
    release_ms: int,
    *,
    order: dict[str, Any] | None = None,
    needs: dict[str, Any] | None = None,
    **more: Any,
) -> OrderChange:
    fields = {"note": "ring twice"} if order is None else order
    new = msgspec.json.encode(msgspec.json.decode(body) | fields)
    plain: dict[str, Any] = {
        "fields": ("/dropoff/note",),
        "until": None,
        "stores": (),
        "body": new,
        "card": b"new card",
        "need": replace(need, **(needs or {})),
        "release_ms": release_ms,
    }
    return OrderChange(**(plain | more))


@pytest.mark.parametrize("state", OPEN)
async def test_open_job_gets_the_new_order(world: World, state: JobState) -> None:
    await world.driver("ann")
    ref, _ = await world.in_state(state)
    needs = {"deadline_ms": world.now + 3 * HOUR_MS, "lat": LAT + 0.01, "lon": LON}
    assert await change(world, ref, needs=needs) is not None
    job = await world.job(ref)
    assert b"ring twice" in job.body
    assert (job.deadline_ms, job.need.lat) == (world.now + 3 * HOUR_MS, LAT + 0.01)
    assert job.card == b"new card"
    (event,) = await world.events("updated")
    assert (event["job"], event["fields"], event["actor"]) == (ref.job, ["/dropoff/note"], "toys")
    assert await world.breaches() == ()


@pytest.mark.parametrize("state", ENDED)
async def test_ended_job_keeps_its_order(world: World, state: JobState) -> None:
    await world.driver("ann")
    ref, _ = await world.in_state(state)
    before = await world.dump()
    assert await change(world, ref) is None
    assert await world.dump() == before


async def test_change_of_an_unknown_job_is_refused(world: World) -> None:
    ref = await world.submit()
    was = await world.job(ref)
    gone = JobRef(ref.job[:-1] + "Z", ref.mall)
    with pytest.raises(NoSuchJob):
        await world.store.changes.change(
            gone, was, changed(was.body, was.need, was.release_ms), actor="toys"
        )


@pytest.mark.parametrize(
    ("until", "good"), [(JobState.ASSIGNED, EARLY), (JobState.PICKED_UP, BEFORE)]
)
@pytest.mark.parametrize("state", [*OPEN])
async def test_field_is_fixed_from_its_state_on(
    world: World, until: JobState, good: tuple[JobState, ...], state: JobState
) -> None:
    await world.driver("ann")
    ref, _ = await world.in_state(state)
    before = await world.dump()
    done = await change(world, ref, until=until)
    assert (done is not None) == (state in good)
    if done is None:
        assert await world.dump() == before


async def test_repeated_change_has_no_effect(world: World) -> None:
    ref = await world.submit()
    was = await world.job(ref)
    for _ in range(2):
        change_ = changed(was.body, was.need, was.release_ms)
        assert await world.store.changes.change(ref, was, change_, actor="toys") is not None
    assert len(await world.events("updated")) == 1


async def test_order_that_changed_meanwhile_is_not_overwritten(world: World) -> None:
    ref = await world.submit()
    was = await world.job(ref)
    assert await change(world, ref, order={"note": "first"}) is not None
    late = changed(was.body, was.need, was.release_ms, order={"note": "second"})
    assert await world.store.changes.change(ref, was, late, actor="toys") is None
    assert b"first" in (await world.job(ref)).body


async def test_any_change_meanwhile_stops_a_conditional_one(world: World) -> None:
    await world.driver("ann")
    ref, _ = await world.offered()
    was = await world.job(ref)
    offer = was.offer or ""
    await world.store.offers.withdraw(ref, offer, "operator")
    new = changed(was.body, was.need, was.release_ms)
    changes = world.store.changes
    assert await changes.change(ref, was, new, actor="toys", unless_touched=True) is None
    assert await changes.change(ref, was, new, actor="toys") is not None


async def test_live_offer_is_withdrawn_and_the_round_follows(world: World) -> None:
    await world.driver("ann")
    ref, offer = await world.offered()
    effects = await change(world, ref)
    assert effects is not None
    assert effects.queued == ((ref.mall, ref.job),)
    assert await world.state(ref) == "queued"
    (_, closed) = await world.pushes()
    assert (closed.kind, closed.offer_id, closed.why) == (PushKind.OFFER_CLOSED, offer, "withdrawn")
    assert (await world.job(ref)).asked[-1].outcome == "withdrawn"
    await world.offer(ref, "ann")
    assert (await world.pushes())[-1].offer is not None


async def test_other_jobs_of_a_withdrawn_run_are_queued(world: World) -> None:
    await world.driver("ann", vehicle=VAN)
    refs, _ = await world.offered_run("ann", 2)
    assert await change(world, refs[0]) is not None
    assert [await world.state(ref) for ref in refs] == ["queued", "queued"]


async def test_job_waits_in_the_place_of_its_new_priority(world: World) -> None:
    first, second = await world.submit(), await world.submit()
    assert await world.waiting() == [first.job, second.job]
    needs = {"priority": 9, "requires": ("crate",)}
    assert await change(world, second, needs=needs, until=JobState.PICKED_UP) is not None
    assert await world.waiting() == [second.job, first.job]


async def test_plan_made_with_the_old_order_is_not_offered(world: World) -> None:
    await world.driver("ann")
    ref = await world.submit()
    plan = world.plan(ref, 0, "ann")
    assert await change(world, ref, needs={"requires": ("crane",)}) is not None
    assert (await world.store.offers.make(plan)).verdict == "gone"
    await world.offer(ref, "ann")


async def test_change_that_no_round_reads_keeps_the_attempt(world: World) -> None:
    ref = await world.submit()
    assert await change(world, ref) is not None
    assert (await world.job(ref)).attempt == 0


@pytest.mark.parametrize("state", [JobState.ASSIGNED, JobState.PICKED_UP])
async def test_holder_gets_a_push_and_its_record_follows(world: World, state: JobState) -> None:
    await world.driver("ann")
    ref, attempt = await world.in_state(state)
    needs = {"lat": LAT + 0.02, "lon": LON + 0.02, "deadline_ms": world.now + 3 * HOUR_MS}
    assert await change(world, ref, needs=needs) is not None
    push = (await world.pushes())[-1]
    assert (push.kind, push.job, push.attempt) == (PushKind.JOB, ref.job, attempt)
    assert (push.reason, push.state) == ("updated", state)
    (held,) = (await world.record()).jobs
    assert (held.lat, held.deadline_ms) == (LAT + 0.02, world.now + 3 * HOUR_MS)


async def test_times_of_the_whole_run_follow(world: World) -> None:
    await world.driver("ann", vehicle=VAN)
    one, two = await world.assigned_run("ann", 2)
    etas = [
        Stop(two.job, 1, world.now + 5, world.now + 10),
        Stop(one.job, 1, world.now + 5, world.now + 20),
    ]
    assert await change(world, one, etas=etas) is not None
    assert (await world.job(one)).eta_dropoff_ms == world.now + 20
    assert (await world.job(two)).eta_dropoff_ms == world.now + 10
    informed = [push.job for push in await world.pushes() if push.reason == "updated"]
    assert informed == [one.job, two.job]


async def test_times_of_an_old_attempt_are_not_written(world: World) -> None:
    await world.driver("ann")
    ref, attempt = await world.assigned()
    eta = (await world.job(ref)).eta_dropoff_ms
    etas = [Stop(ref.job, attempt - 1, world.now + 5, world.now + 6)]
    assert await change(world, ref, etas=etas) is not None
    assert (await world.job(ref)).eta_dropoff_ms == eta


async def test_pay_below_the_present_one_is_not_written(world: World) -> None:
    await world.driver("ann")
    ref = await world.submit(pay_minor=900, pay_max_minor=2_000)
    offer = await world.offer(ref, "ann")
    await world.store.offers.decline(MARKET, "ann", offer, "")
    risen = (await world.job(ref)).raised_pay_minor or 0
    assert risen > 900
    needs = {"pay_minor": risen - 1}
    assert await change(world, ref, needs=needs, pay_minor=risen - 1) is None
    needs = {"pay_minor": risen + 1}
    assert await change(world, ref, needs=needs, pay_minor=risen + 1) is not None
    job = await world.job(ref)
    assert (job.need.pay_minor, job.raised_pay_minor) == (risen + 1, None)


async def test_fields_of_a_collected_store_are_fixed(world: World) -> None:
    await world.driver("ann")
    ref, attempt = await world.assigned(stores=("lego", "gap"))
    await world.collect(ref, attempt)
    assert await change(world, ref, stores=("lego",)) is None
    assert await change(world, ref, stores=("gap",)) is not None


async def test_new_pickup_code_replaces_the_old_one(world: World) -> None:
    await world.driver("ann")
    ref, _ = await world.assigned(pickup_codes=("11",))
    assert await change(world, ref, stores=("lego",), shop_codes=("22",)) is not None
    packed = await world.redis.hget(world.keys.job(ref.job), "codes")
    assert msgspec.msgpack.decode(packed) == {"door": "", "shops": ["22"]}


# -- held jobs


async def held(world: World, **order: Any) -> JobRef:
    """A job whose only shop has nothing, held for 4 h."""
    ref = await world.submit(expires_ms=world.now + 20 * HOUR_MS, order=order)
    await world.store.jobs.shop_says(ref, "lego", ShopState.MISSING, "lego")
    assert await world.state(ref) == "scheduled"
    return ref


async def test_new_hold_s_counts_from_the_begin_of_the_hold(world: World) -> None:
    ref = await held(world)
    began = world.now
    world.clock.now_ms += HOUR_MS
    assert await change(world, ref, order={"hold_s": 8 * 3600}, changes_hold=True) is not None
    hold = (await world.job(ref)).hold
    assert hold is not None
    assert hold.until_ms == began + 8 * HOUR_MS == await world.due_of(ref)


async def test_other_change_leaves_the_hold_as_it_is(world: World) -> None:
    ref = await held(world)
    hold = (await world.job(ref)).hold
    world.clock.now_ms += HOUR_MS
    assert await change(world, ref) is not None
    assert (await world.job(ref)).hold == hold


async def test_hold_ends_with_the_new_window(world: World) -> None:
    ref = await held(world)
    needs = {"expires_ms": world.now + HOUR_MS}
    assert await change(world, ref, needs=needs) is not None
    assert await world.due_of(ref) == world.now + HOUR_MS
    assert await world.breaches() == ()


async def test_new_rule_ends_a_held_job(world: World) -> None:
    ref = await held(world)
    order = {"on_missing": "fail"}
    assert await change(world, ref, order=order, changes_rules=True) is not None
    assert await world.state(ref) == "failed"


async def test_new_rule_releases_a_held_job(world: World) -> None:
    ref = await world.submit(
        expires_ms=world.now + 20 * HOUR_MS, stores=("lego", "gap"), order={"on_short": "hold"}
    )
    await world.store.jobs.shop_says(ref, "lego", ShopState.MISSING, "lego")
    assert await world.state(ref) == "scheduled"
    order = {"on_short": "deliver"}
    assert await change(world, ref, order=order, changes_rules=True) is not None
    assert await world.state(ref) == "queued"
    assert (await world.job(ref)).hold is None
    assert await world.breaches() == ()


async def test_new_rule_holds_a_job_that_lacks_parcels(world: World) -> None:
    await world.driver("ann")
    ref, _ = await world.offered(stores=("lego", "gap"))
    await world.store.jobs.shop_says(ref, "lego", ShopState.MISSING, "lego")
    assert await world.state(ref) == "offered"
    order = {"on_short": "hold"}
    assert await change(world, ref, order=order, changes_rules=True) is not None
    assert await world.state(ref) == "scheduled"
    assert await world.breaches() == ()


async def test_new_times_reschedule_a_job(world: World) -> None:
    ref, _ = await world.in_state(JobState.SCHEDULED)
    assert await change(world, ref, release_ms=world.now + 5) is not None
    assert await world.due_of(ref) == world.now + 5
    assert await change(world, ref, order={"note": "now"}, release_ms=world.now) is not None
    assert await world.state(ref) == "queued"


# -- at the door


async def at_the_door(world: World, kind: str = "wrong_address", **order: Any) -> JobRef:
    await world.driver("ann")
    ref, attempt = await world.picked_up(order=order)
    await world.store.returns.undelivered(
        ref, "ann", kind=kind, store="", until_ms=None, text="",
        attempt=attempt, at_ms=world.now, plan=world.way_back(),
    )  # fmt: skip
    return ref


@pytest.mark.parametrize("kind", ["wrong_address", "refused"])
async def test_corrected_address_answers_retry(world: World, kind: str) -> None:
    ref = await at_the_door(world, kind)
    assert await change(world, ref, is_moved=True) is not None
    job = await world.job(ref)
    assert job.state is JobState.PICKED_UP
    assert job.door_ms is None
    (problem,) = job.problems
    assert problem.answer is not None
    assert (problem.state, problem.answer.action) == ("answered", "retry")
    assert [push.reason for push in (await world.pushes())[-2:]] == ["updated", "answer"]
    assert await world.breaches() == ()


async def test_cancelled_return_is_not_turned_round(world: World) -> None:
    await world.driver("ann")
    ref = await at_the_door(world, "refused")
    await world.store.jobs.cancel(ref, "toys", "")
    assert await change(world, ref, is_moved=True) is not None
    assert await world.state(ref) == "returning"


async def test_new_rule_at_the_door_is_the_one_that_acts(world: World) -> None:
    ref = await at_the_door(world)
    order = {"on_undeliverable": "hold"}
    assert await change(world, ref, order=order, on_undeliverable="hold") is not None
    packed = await world.redis.hget(world.keys.job(ref.job), "door")
    assert msgspec.msgpack.decode(packed)["action"] == "hold"


async def test_earlier_deadline_ends_the_wait_at_the_door(world: World) -> None:
    ref = await at_the_door(world, "refused", on_undeliverable="hold")
    deadline_ms = world.now + HOUR_MS
    assert await change(world, ref, needs={"deadline_ms": deadline_ms}) is not None
    assert (await world.job(ref)).door_ms == deadline_ms


async def test_changed_job_is_delivered_as_any(world: World) -> None:
    await world.driver("ann")
    ref, attempt = await world.picked_up()
    assert await change(world, ref, needs={"requires": ("id_check",)}) is not None
    await world.step(ref, Step.DELIVERED, attempt)
    assert await world.breaches() == ()
