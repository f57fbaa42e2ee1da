"""What the scripts write for the readers of a market's events."""

import pytest

from mallard_engine.core.event_ids import Place
from mallard_engine.core.market_events import MarketEvent
from mallard_engine.core.model import Device
from mallard_engine.ports import DriverFix, MovedJob, Stop
from mallard_protocol.events import EventType
from mallard_protocol.lifecycle import JobState, Step
from tests.engine.storage.scripts.delivery.test_door import reports
from tests.engine.storage.transfers import accepted_by, begin_transfer, on_board, take_over
from tests.engine.storage.worlds import MARKET, World

T = EventType
START = Place(0, 0)


async def heard(world: World, after: Place = START) -> list[MarketEvent]:
    """The entries that readers see."""
    return [it for it in await world.store.event_log.read(MARKET, after, 10_000) if it.type]


async def types(world: World, job: str = "") -> list[EventType | None]:
    return [it.type for it in await heard(world) if job in {"", it.job}]


async def test_life_of_a_job_is_one_event_a_transition(world: World) -> None:
    await world.driver()
    ref, attempt = await world.picked_up()
    await world.step(ref, Step.DELIVERED, attempt)
    seen = [it for it in await heard(world) if it.job == ref.job]
    assert [it.type for it in seen] == [
        T.CREATED, T.OFFERED, T.ASSIGNED, T.ARRIVED, T.COLLECTED, T.PICKED_UP, T.DELIVERED,
    ] or [it.type for it in seen] == [
        T.CREATED, T.OFFERED, T.ASSIGNED, T.ARRIVED, T.PICKED_UP, T.COLLECTED, T.DELIVERED,
    ]  # fmt: skip
    assert all(it.service == "toys" for it in seen)
    assert all(it.state is not None for it in seen)
    assert [it.driver for it in seen[:2]] == ["", ""]
    assert {it.driver for it in seen[2:]} == {"ann"}
    places = [it.place for it in seen]
    assert places == sorted(set(places))


async def test_assigned_event_has_the_expected_times(world: World) -> None:
    await world.driver()
    ref, _ = await world.assigned()
    job = await world.job(ref)
    (event,) = [it for it in await heard(world) if it.type is T.ASSIGNED]
    assert event.etas_ms == (job.eta_pickup_ms, job.eta_dropoff_ms)
    assert job.eta_dropoff_ms


async def test_full_server_drops_moves_and_policy_notes(world: World) -> None:
    """Only maps need them: they must not fail the work that they are part of."""
    fix = DriverFix("ann", 1_000, 33.3, -111.9, heading_deg=90.0)
    await world.redis.config_set("maxmemory", 1)
    try:
        await world.store.event_log.publish_move(MARKET, fix, [MovedJob("job", "toys", (1, 2))])
        await world.store.policies.note_applied(MARKET, "node", 1)
    finally:
        await world.redis.config_set("maxmemory", 0)
    assert await world.store.event_log.heading(MARKET, "ann") is None


async def test_event_of_an_earlier_report_occurred_earlier(world: World) -> None:
    await world.driver()
    ref, attempt = await world.picked_up()
    began = (await world.job(ref)).timeline[-1].at_ms
    await world.pass_ms(60_000)
    await world.store.jobs.progress(
        ref, "ann", attempt, Step.DELIVERED, at_ms=began + 1_000, reason=""
    )
    event = (await heard(world))[-1]
    assert event.type is T.DELIVERED
    assert (event.occurred_ms, event.at_ms) == (began + 1_000, world.now)


async def test_expected_times_are_recorded_by_the_minute(world: World) -> None:
    await world.driver()
    ref, attempt = await world.assigned()
    pickup = (await world.job(ref)).eta_pickup_ms or 0
    dropoff = (await world.job(ref)).eta_dropoff_ms or 0
    reported: list[tuple[int | None, int | None] | None] = []
    for later_ms in (20_000, 40_000, 59_999, 60_000, 61_000, 119_000, 120_000):
        stop = Stop(ref.job, attempt, pickup, dropoff + later_ms)
        await world.store.jobs.update_etas(MARKET, "ann", [stop])
        reported = [it.etas_ms for it in await heard(world) if it.type is T.ETA_CHANGED]
    assert reported == [(pickup, dropoff + 60_000), (pickup, dropoff + 120_000)]


async def test_accident_is_a_problem_and_an_alert(world: World) -> None:
    await world.driver()
    ref, _ = await world.assigned()
    await world.problem(ref, "accident")
    assert (await types(world))[-2:] == [T.PROBLEM, T.ALERT_RAISED]


async def test_way_back_and_round_again_have_types_of_their_own(world: World) -> None:
    await world.driver()
    ref, attempt = await world.picked_up()
    reported = len(await types(world, ref.job))
    for step in (Step.AT_DOOR, Step.RETURNING, Step.RESUME, Step.AT_DOOR):
        await world.pass_ms(1_000)
        await world.store.jobs.progress(ref, "ann", attempt, step, at_ms=world.now, reason="")
    await reports(world, ref, attempt)
    await world.store.jobs.cancel(ref, "toys", "customer")
    await world.store.jobs.cancel(ref, "toys", "customer")  # a repeat is no event
    assert (await types(world, ref.job))[reported:] == [
        T.RETURNING, T.TURNED_ROUND, T.PROBLEM, T.ATTEMPTED, T.RETURNING,
    ]  # fmt: skip


async def test_held_job_has_a_held_event_and_no_scheduled_one(world: World) -> None:
    await world.driver()
    ref, _ = await world.assigned()
    await world.problem(ref, "missing", store="lego")
    assert await world.state(ref) == JobState.SCHEDULED
    seen = await types(world, ref.job)
    assert T.HELD in seen
    assert T.SCHEDULED not in seen


async def test_carried_job_has_the_events_of_its_transfer(world: World) -> None:
    (ref,) = await on_board(world, count=1)
    transfer = await begin_transfer(world, "ann")
    await take_over(world, transfer, await accepted_by(world, transfer))
    started, transferred = [it for it in await heard(world) if it.job == ref.job][-2:]
    assert (started.type, transferred.type) == (T.TRANSFER_STARTED, T.TRANSFERRED)
    assert (started.driver, transferred.driver) == ("ann", "bob")


async def test_driver_goes_online_and_offline_with_its_wish(world: World) -> None:
    await world.driver("ann")
    assert (await types(world)) == [T.DRIVER_ONLINE]
    record = await world.record("ann")
    await world.store.drivers.disconnect(MARKET, record.node, [("ann", record.epoch)])
    assert (await types(world)) == [T.DRIVER_ONLINE, T.DRIVER_OFFLINE]


async def test_push_without_socket_wakes_once_a_minute(world: World) -> None:
    await world.driver("ann")
    record = await world.record("ann")
    await world.store.drivers.set_device(
        MARKET, "ann", record.epoch, Device(kind="fcm", token="abc")
    )
    ref, _ = await world.assigned("ann")
    await world.store.drivers.push_state(MARKET, "ann", "cooling_down")
    assert T.DRIVER_WAKE not in await types(world)
    await world.store.drivers.disconnect(MARKET, record.node, [("ann", record.epoch)])
    for _ in range(3):
        await world.store.drivers.push_state(MARKET, "ann", "cooling_down")
    wakes = [it for it in await heard(world) if it.type is T.DRIVER_WAKE]
    assert [it.driver for it in wakes] == ["ann"]
    assert wakes[0].fields["device"] == {"kind": "fcm", "token": "abc"}
    await world.pass_ms(60_000)
    await world.store.drivers.push_state(MARKET, "ann", "cooling_down")
    assert (await types(world)).count(T.DRIVER_WAKE) == 2
    assert await world.state(ref) == JobState.ASSIGNED


async def test_lost_writes_are_recorded_since_the_last_survivor(world: World) -> None:
    await world.beat()
    await world.submit()
    kept = (await heard(world))[-1]
    await world.pass_ms(400)
    await world.submit()
    lost = (await heard(world))[-1]
    assert lost.place > kept.place
    await world.redis.xdel(world.keys.key("events"), str(lost.place))
    await world.beat()
    rewound = (await heard(world))[-1]
    assert rewound.type is T.MARKET_REWOUND
    assert rewound.fields["since_ms"] <= kept.place.ms
    await world.beat()
    assert (await types(world)).count(T.MARKET_REWOUND) == 1


async def test_number_of_a_lost_event_is_not_used_again(world: World) -> None:
    """As after a failover: the stream is as it was, also in what it says of its last entry."""
    await world.beat()
    await world.submit()
    key = world.keys.key("events")
    survived = await world.redis.dump(key)
    await world.pass_ms(400)
    for _ in range(3):
        await world.submit()
    lost = (await heard(world))[-1]
    await world.redis.restore(key, 0, survived, replace=True)
    assert lost.sequence not in [it.sequence for it in await heard(world)]
    await world.pass_ms(1)
    await world.beat()
    await world.submit()
    rewound, created = (await heard(world))[-2:]
    assert (rewound.type, created.type) == (T.MARKET_REWOUND, T.CREATED)
    assert lost.sequence < rewound.sequence < created.sequence


async def test_stream_is_read_in_pages_between_its_ends(world: World) -> None:
    log = world.store.event_log
    assert await log.ends(MARKET) is None
    for _ in range(3):
        await world.submit()
    events = await log.read(MARKET, START, 10)
    assert await log.ends(MARKET) == (events[0].place, events[-1].place)
    assert await log.read(MARKET, events[0].place, 1) == events[1:2]
    assert await log.read(MARKET, events[-1].place, 10) == []
    assert await log.tail({MARKET: events[1].place}, 1) == events[2:]


@pytest.mark.parametrize("packed", [b"\xc1", b"\x80", b"\x81\xa2at\xa1x"])
async def test_unreadable_entry_is_passed_over(world: World, packed: bytes) -> None:
    await world.submit()
    place = await world.redis.xadd(world.keys.key("events"), {"e": packed})
    events = await world.store.event_log.read(MARKET, START, 10)
    assert [it.type for it in events] == [T.CREATED, None]
    await world.redis.xdel(world.keys.key("events"), place)
