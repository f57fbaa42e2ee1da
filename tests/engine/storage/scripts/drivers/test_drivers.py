"""A driver's socket, wish and limits: hello, disconnect, seen, status, suspend, driver_due."""

import pytest

from mallard_engine.core.model import HeldJob, Vehicle
from mallard_engine.ports import DriverFix, NoSuchDriver, OfferLive, Refused
from mallard_protocol.codes import ErrorCode
from mallard_protocol.lifecycle import Step, Wish
from tests.engine.storage.worlds import LAT, LON, MARKET, NODE, RESUME_MS, STALE_MS, World

WEEK_MS = 7 * 86_400_000


async def held_by(world: World, node: str) -> set[str]:
    return {driver.decode() for driver in await world.redis.smembers(world.keys.held(node))}


# -- hello


async def test_new_driver_is_offline(world: World) -> None:
    vehicle = Vehicle("bike", 1, 9_000, 40.5, ("cooler",))
    epoch = await world.connect("ann", vehicle=vehicle)
    ann = await world.record()
    assert epoch == ann.epoch == 1
    assert (ann.wish, ann.connected, ann.node, ann.vehicle) == ("offline", True, NODE, vehicle)
    assert ann.position is not None
    assert ann.position.received_ms == ann.position.at_ms == world.now
    assert await world.idle() == set()
    assert await held_by(world, NODE) == {"ann"}


async def test_newest_socket_replaces_the_older(world: World) -> None:
    await world.driver("ann")
    await world.store.leases.beat(MARKET, "n2")
    hello = await world.store.drivers.hello(MARKET, "ann", node="n2", vehicle=None, fix=None)
    (push,) = hello.effects.pushes
    assert (push.kind, push.seq, push.epoch) == ("replaced", 0, 2)
    assert await world.pushes() == [push]
    assert (await world.record()).node == "n2"
    assert await held_by(world, "n2") == {"ann"}


async def test_vehicle_is_kept_if_a_later_hello_omits_it(world: World) -> None:
    await world.connect("ann", vehicle=Vehicle("van"))
    await world.connect("ann")
    assert (await world.record()).vehicle.kind == "van"


@pytest.mark.parametrize("away_ms", [RESUME_MS, RESUME_MS + 1])
async def test_wish_is_restored_within_the_resume_time(world: World, away_ms: int) -> None:
    await world.driver("ann")
    await world.store.drivers.disconnect(MARKET, NODE, [("ann", 1)])
    await world.pass_ms(away_ms)
    await world.connect("ann")
    in_time = away_ms <= RESUME_MS
    assert (await world.record()).wish == ("available" if in_time else "offline")
    assert await world.idle() == ({"ann"} if in_time else set())


async def test_ended_block_is_not_restored(world: World) -> None:
    await world.connect("ann")
    await world.store.drivers.status(MARKET, "ann", Wish.AVAILABLE, world.now + 1_000)
    await world.store.drivers.disconnect(MARKET, NODE, [("ann", 1)])
    await world.pass_ms(1_000)
    await world.connect("ann")
    ann = await world.record()
    assert (ann.wish, ann.until_ms) == ("offline", None)


async def test_rejected_fix_sets_no_position(world: World) -> None:
    outside = DriverFix("ann", 0, 0.0, 0.0, fault="outside")
    await world.store.drivers.hello(MARKET, "ann", node=NODE, vehicle=None, fix=outside)
    assert (await world.record()).position is None
    with pytest.raises(Refused) as refused:
        await world.store.drivers.status(MARKET, "ann", Wish.AVAILABLE, None)
    assert refused.value.code is ErrorCode.NO_POSITION


# -- disconnect


async def test_closed_socket_ends_matching_at_once(world: World) -> None:
    await world.driver("ann")
    assert await world.idle() == {"ann"}
    await world.store.drivers.disconnect(MARKET, NODE, [("ann", 1)])
    ann = await world.record()
    assert (ann.connected, ann.lost_ms, ann.shown) == (False, world.now, "offline")
    assert await world.idle() == set()
    assert await held_by(world, NODE) == set()


async def test_late_close_does_not_evict_the_new_session(world: World) -> None:
    await world.driver("ann")
    await world.connect("ann", node=NODE)
    before = await world.dump()
    await world.store.drivers.disconnect(MARKET, NODE, [("ann", 1)])
    assert await world.dump() == before


async def test_late_close_on_the_old_node_cleans_up_only_there(world: World) -> None:
    world.nodes.add("n2")
    await world.beat()
    await world.driver("ann")
    await world.connect("ann", node="n2")
    await world.store.drivers.disconnect(MARKET, NODE, [("ann", 1), ("nobody", 4)])
    assert await world.idle() == {"ann"}
    assert (await held_by(world, NODE), await held_by(world, "n2")) == (set(), {"ann"})


async def test_disconnected_holders_get_a_due_entry(world: World) -> None:
    await world.driver("ann")
    ref, _ = await world.picked_up()
    await world.pass_ms(5_000)
    await world.store.drivers.disconnect(MARKET, NODE, [("ann", 1)])
    assert await world.due_of(ref) == world.now + RESUME_MS


# -- seen


async def test_frame_of_an_unreachable_driver_restores_it(world: World) -> None:
    await world.driver("ann")
    ref, _ = await world.offered()
    entry = await world.entry(ref)
    await world.pass_ms(3_000)
    await world.store.deadlines.lapse(entry)
    assert (await world.record()).unreachable
    assert await world.idle() == set()
    effects = await world.store.drivers.seen(MARKET, "ann")
    assert [freed.driver for freed in effects.freed] == ["ann"]
    assert await world.idle() == {"ann"}
    assert (await world.store.drivers.seen(MARKET, "ann")).freed == ()
    assert (await world.store.drivers.seen(MARKET, "nobody")).freed == ()


# -- status


async def test_available_needs_a_fresh_position(world: World) -> None:
    await world.connect("ann")
    await world.pass_ms(STALE_MS)
    answered = await world.store.drivers.status(MARKET, "ann", Wish.AVAILABLE, None)
    assert answered.driver.wish == "available"
    await world.store.drivers.status(MARKET, "ann", Wish.PAUSED, None)
    await world.pass_ms(1)
    with pytest.raises(Refused) as refused:
        await world.store.drivers.status(MARKET, "ann", Wish.AVAILABLE, None)
    assert refused.value.code is ErrorCode.NO_POSITION
    assert (await world.record()).wish == "paused"


async def test_available_driver_is_freed_at_its_position(world: World) -> None:
    await world.connect("ann")
    await world.pass_ms(1_000)
    answered = await world.store.drivers.status(MARKET, "ann", Wish.AVAILABLE, None)
    (freed,) = answered.effects.freed
    assert (freed.driver, freed.lat, freed.lon) == ("ann", LAT, LON)
    assert answered.driver.free_since_ms == world.now
    assert (
        await world.store.drivers.status(MARKET, "ann", Wish.AVAILABLE, None)
    ).effects.freed == ()
    assert [e["what"] for e in await world.events("driver")] == ["connected", "available"]


async def test_paused_and_offline_leave_matching(world: World) -> None:
    for wish in (Wish.PAUSED, Wish.OFFLINE):
        await world.driver("ann")
        answered = await world.store.drivers.status(MARKET, "ann", wish, None)
        assert answered.driver.shown == wish.value
        assert await world.idle() == set()


async def test_offline_is_refused_with_a_job_or_a_live_offer(world: World) -> None:
    await world.driver("ann")
    await world.driver("bob")
    await world.assigned("ann")
    _, offer = await world.offered("bob")
    before = await world.dump()
    with pytest.raises(Refused) as refused:
        await world.store.drivers.status(MARKET, "ann", Wish.OFFLINE, None)
    assert refused.value.code is ErrorCode.HOLDS_JOBS
    with pytest.raises(OfferLive) as live:
        await world.store.drivers.status(MARKET, "bob", Wish.OFFLINE, None)
    assert live.value.offer == offer
    assert await world.dump() == before


async def test_block_end_in_the_past_is_refused(world: World) -> None:
    await world.connect("ann")
    with pytest.raises(Refused) as refused:
        await world.store.drivers.status(MARKET, "ann", Wish.AVAILABLE, world.now)
    assert refused.value.code is ErrorCode.BAD_FIELD
    answered = await world.store.drivers.status(MARKET, "ann", Wish.AVAILABLE, world.now + 1)
    assert answered.driver.until_ms == world.now + 1


async def test_status_of_an_unknown_driver_is_refused(world: World) -> None:
    with pytest.raises(NoSuchDriver):
        await world.store.drivers.status(MARKET, "nobody", Wish.AVAILABLE, None)
    with pytest.raises(NoSuchDriver):
        await world.store.drivers.snapshot(MARKET, "nobody")


# -- suspend, resume


async def test_suspended_driver_leaves_matching_until_resumed(world: World) -> None:
    await world.driver("ann")
    suspended = await world.store.drivers.suspend(MARKET, "ann", "complaint")
    assert suspended.driver.suspended
    assert await world.idle() == set()
    await world.store.drivers.suspend(MARKET, "ann", "complaint")
    resumed = await world.store.drivers.resume(MARKET, "ann")
    assert [freed.driver for freed in resumed.effects.freed] == ["ann"]
    assert [(p.seq, p.state, p.why) for p in await world.pushes()] == [
        (1, "available", "suspended"),
        (2, "available", "resumed"),
    ]
    with pytest.raises(NoSuchDriver):
        await world.store.drivers.suspend(MARKET, "nobody", "")


async def test_suspension_returns_the_live_offer(world: World) -> None:
    await world.driver("ann")
    _, offer = await world.offered()
    assert (await world.store.drivers.suspend(MARKET, "ann", "")).driver.offer == offer


# -- limits in time


async def test_stale_driver_leaves_matching_with_a_push(world: World) -> None:
    await world.driver("ann")
    due_ms = (await world.due())["driver/ann"]
    assert due_ms == world.now + STALE_MS + 1
    await world.pass_ms(STALE_MS)
    await world.store.deadlines.driver_due(MARKET, "ann")
    assert await world.idle() == {"ann"}
    await world.pass_ms(1)
    effects = await world.store.deadlines.driver_due(MARKET, "ann")
    assert [(p.kind, p.why) for p in effects.pushes] == [("state", "stale")]
    assert await world.idle() == set()
    assert "driver/ann" not in await world.due()


async def test_new_position_postpones_the_stale_limit(world: World) -> None:
    await world.driver("ann")
    await world.pass_ms(STALE_MS)
    assert await world.fix("ann") == "ok"
    await world.pass_ms(1)
    await world.store.deadlines.driver_due(MARKET, "ann")
    assert await world.idle() == {"ann"}
    assert (await world.due())["driver/ann"] == world.now + STALE_MS


async def test_cool_down_ends_at_its_exact_millisecond(world: World) -> None:
    await world.driver("ann")
    _, offer = await world.offered()
    answered = await world.store.offers.decline(MARKET, "ann", offer, "")
    end_ms = answered.driver.cool_until_ms
    assert (await world.due())["driver/ann"] == end_ms == world.now + 30_000
    await world.pass_ms(29_999)
    await world.store.deadlines.driver_due(MARKET, "ann")
    assert await world.idle() == set()
    await world.pass_ms(1)
    effects = await world.store.deadlines.driver_due(MARKET, "ann")
    assert [freed.driver for freed in effects.freed] == ["ann"]


async def test_driver_goes_offline_at_the_block_end(world: World) -> None:
    await world.connect("ann")
    until_ms = world.now + 10_000
    await world.store.drivers.status(MARKET, "ann", Wish.AVAILABLE, until_ms)
    assert (await world.due())["driver/ann"] == until_ms
    await world.pass_ms(9_999)
    await world.store.deadlines.driver_due(MARKET, "ann")
    assert await world.idle() == {"ann"}
    await world.pass_ms(1)
    effects = await world.store.deadlines.driver_due(MARKET, "ann")
    assert [(p.state, p.why) for p in effects.pushes] == [("offline", "block_over")]
    assert await world.idle() == set()


async def test_block_end_during_a_run_keeps_the_job(world: World) -> None:
    await world.connect("ann")
    await world.store.drivers.status(MARKET, "ann", Wish.AVAILABLE, world.now + 10_000)
    ref, attempt = await world.assigned()
    await world.pass_ms(10_000)
    await world.store.deadlines.driver_due(MARKET, "ann")
    ann = await world.record()
    assert (ann.wish, ann.shown) == ("offline", "on_run")
    assert ann.jobs == (HeldJob(ref.job, attempt, ref.mall),)


async def test_wish_expires_after_the_resume_time(world: World) -> None:
    await world.driver("ann")
    await world.store.drivers.disconnect(MARKET, NODE, [("ann", 1)])
    assert (await world.due())["driver/ann"] == world.now + RESUME_MS + 1
    await world.pass_ms(RESUME_MS)
    await world.store.deadlines.driver_due(MARKET, "ann")
    assert (await world.record()).wish == "available"
    await world.pass_ms(1)
    await world.store.deadlines.driver_due(MARKET, "ann")
    assert (await world.record()).wish == "offline"


async def test_driver_is_forgotten_after_a_week_away(world: World) -> None:
    await world.driver("ann")
    await world.store.drivers.disconnect(MARKET, NODE, [("ann", 1)])
    await world.pass_ms(RESUME_MS + 1)
    await world.store.deadlines.driver_due(MARKET, "ann")
    await world.pass_ms((await world.due())["driver/ann"] - world.now)
    await world.store.deadlines.driver_due(MARKET, "ann")
    assert await world.redis.hlen(world.keys.key("drivers")) == 0
    assert await world.redis.hlen(world.keys.key("positions")) == 0
    assert await world.due() == {}


async def test_driver_with_a_parcel_is_kept_until_the_job_ends(world: World) -> None:
    await world.driver("ann")
    ref, attempt = await world.picked_up()
    await world.store.drivers.disconnect(MARKET, NODE, [("ann", 1)])
    await world.pass_ms(WEEK_MS)
    await world.store.deadlines.driver_due(MARKET, "ann")
    assert (await world.record()).jobs
    await world.step(ref, Step.DELIVERED, attempt)
    await world.pass_ms(1)
    assert (await world.due())["driver/ann"] == world.now
    await world.store.deadlines.driver_due(MARKET, "ann")
    with pytest.raises(NoSuchDriver):
        await world.record()


async def test_due_entry_of_an_unknown_driver_is_removed(world: World) -> None:
    await world.redis.zadd(world.keys.key("due"), {"driver/nobody": world.now})
    await world.store.deadlines.driver_due(MARKET, "nobody")
    assert await world.due() == {}
