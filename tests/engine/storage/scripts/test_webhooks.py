"""The queues of webhooks: each event once, nothing lost, nothing kept for ever."""

import asyncio
from typing import Any

import pytest

from mallard_engine.contract.webhooks import BACKLOG_PATIENCE_S
from mallard_engine.core.event_ids import Place
from mallard_engine.core.market_events import MarketEvent
from mallard_engine.core.webhooks.retries import GIVE_UP_MS
from mallard_engine.ports import Attempt, NoSuchWebhook, TooManyWebhooks, WaitingDelivery
from mallard_engine.storage.calls.events import webhooks as calls
from mallard_engine.storage.calls.events.webhooks import LEASE_MS
from mallard_engine.storage.calls.script_runner import ScriptRunner
from tests.engine.storage.webhook_endpoints import endpoint
from tests.engine.storage.worlds import MARKET, NODE, World

HOLD_MS = 20_000
OTHER = "n2"
NEVER = 2**45


def event(number: int, world: World) -> MarketEvent:
    place = Place(world.now, number)
    fields = {"kind": "proof", "what": "photo", "at": world.now, "job": "j", "service": "toys"}
    return MarketEvent(
        MARKET, place, world.now, "proof", "photo", "j", service="toys", fields=fields
    )


async def queued(world: World, count: int = 1, name: str = "wh_1") -> list[MarketEvent]:
    """An endpoint for which so many events wait."""
    port = world.store.webhooks
    await port.create(endpoint(name))
    events = [event(number, world) for number in range(count)]
    known = await port.all()
    was = await port.position(MARKET)
    verdict = await port.queue(
        MARKET, (was, events[-1].place), events, {name: list(range(count))}, known.version
    )
    assert verdict == "ok"
    return events


def attempt(world: World, outcome: str, next_ms: int | None = None) -> Attempt:
    return Attempt("evt", "job.proof", 1, world.now, 5, outcome, status=500, next_ms=next_ms)


async def taken(world: World, name: str = "wh_1", most: int = 100) -> list[WaitingDelivery]:
    return list(await world.store.webhooks.take({name: most}, most, HOLD_MS))


async def test_event_is_queued_once_by_several_nodes(world: World) -> None:
    (it,) = await queued(world)
    port, known = world.store.webhooks, await world.store.webhooks.all()
    again = await port.queue(MARKET, (None, it.place), [it], {"wh_1": [0]}, known.version)
    assert again == "moved"
    assert await port.position(MARKET) == it.place
    (due,) = await taken(world)
    assert (due.event, due.failed) == (it, 0)


async def test_new_endpoint_makes_a_queuing_node_read_again(world: World) -> None:
    port = world.store.webhooks
    known = await port.all()
    await port.create(endpoint("wh_1"))
    it = event(1, world)
    assert await port.queue(MARKET, (None, it.place), [], {}, known.version) == "stale"
    assert await port.position(MARKET) is None


async def test_taken_delivery_falls_due_again_unless_settled(world: World) -> None:
    await queued(world)
    assert len(await taken(world)) == 1
    await world.pass_ms(HOLD_MS - 1)
    assert await taken(world) == []
    await world.pass_ms(1)
    (due,) = await taken(world)
    await world.store.webhooks.settle(due, attempt(world, "delivered"), is_gone=False)
    await world.pass_ms(HOLD_MS)
    assert await taken(world) == []
    assert (await world.store.webhooks.get("wh_1")).waiting == 0


async def test_total_bounds_what_is_taken_of_several_endpoints(world: World) -> None:
    port = world.store.webhooks
    for name in ("wh_1", "wh_2", "wh_3"):
        await port.create(endpoint(name))
    events = [event(number, world) for number in range(2)]
    known = await port.all()
    wanted = {"wh_2": [0, 1], "wh_3": [0, 1]}
    await port.queue(MARKET, (None, events[-1].place), events, wanted, known.version)
    slots = {"wh_1": 8, "wh_2": 8, "wh_3": 8}
    first = await port.take(slots, 3, HOLD_MS)
    assert [it.endpoint for it in first] == ["wh_2", "wh_2", "wh_3"]
    assert [it.endpoint for it in await port.take(slots, 3, HOLD_MS)] == ["wh_3"]


async def test_attempts_that_end_together_are_settled_in_one_step(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await queued(world, 3)
    port, ran = world.store.webhooks, list[str]()
    run = ScriptRunner.run

    async def counted(runner: ScriptRunner, name: str, *args: Any) -> Any:
        ran.append(name)
        return await run(runner, name, *args)

    first, second, third = await taken(world)
    monkeypatch.setattr(ScriptRunner, "run", counted)
    said = [attempt(world, "delivered"), attempt(world, "failed", NEVER), None]
    ended = zip((first, second, third), said, strict=True)
    await asyncio.gather(*(port.settle(it, how, is_gone=False) for it, how in ended))
    assert ran == ["webhook_settle"]
    assert (await port.get("wh_1")).waiting == 1
    assert len((await port.log("wh_1", None, 10))[0]) == 2


async def test_failed_delivery_comes_back_at_its_time(world: World) -> None:
    await queued(world)
    (due,) = await taken(world)
    failed = attempt(world, "failed", world.now + 5_000)
    await world.store.webhooks.settle(due, failed, is_gone=False)
    assert (await world.store.webhooks.get("wh_1")).failing_ms == world.now
    await world.pass_ms(5_000)
    (again,) = await taken(world)
    assert (again.failed, again.event) == (1, due.event)


async def test_success_ends_the_series_of_failures(world: World) -> None:
    await queued(world, 2)
    first, second = await taken(world)
    port = world.store.webhooks
    await port.settle(first, attempt(world, "failed", world.now + 1), is_gone=False)
    await port.settle(second, attempt(world, "delivered"), is_gone=False)
    assert (await port.get("wh_1")).failing_ms == 0


@pytest.mark.parametrize(("days_ms", "state"), [(GIVE_UP_MS - 1, ""), (GIVE_UP_MS, "failing")])
async def test_three_days_without_success_disable(world: World, days_ms: int, state: str) -> None:
    await queued(world)
    (due,) = await taken(world)
    port = world.store.webhooks
    await port.settle(due, attempt(world, "failed", world.now + days_ms), is_gone=False)
    began = world.now
    world.clock.now_ms += days_ms
    await world.beat()
    (again,) = await taken(world)
    assert await port.settle(again, attempt(world, "gave_up"), is_gone=False) == state
    seen = await port.get("wh_1")
    assert seen.waiting == 0
    assert (seen.disabled.reason if seen.disabled else "") == state
    assert began


async def test_gone_disables_and_drops_what_waits(world: World) -> None:
    events = await queued(world, 3)
    due, *rest = await taken(world)
    port = world.store.webhooks
    for each in rest:
        await port.settle(each, attempt(world, "delivered"), is_gone=False)
    # What was answered with 410 has not been delivered either.
    assert await port.settle(due, attempt(world, "gave_up"), is_gone=True) == "gone"
    seen = await port.get("wh_1")
    assert seen.disabled is not None
    assert (seen.disabled.reason, seen.disabled.oldest_ms) == ("gone", events[0].place.ms)
    assert await taken(world) == []
    assert (await port.beat(NODE, [MARKET])).unannounced == ["wh_1"]
    assert (await port.beat(NODE, [MARKET])).unannounced == []
    await world.pass_ms(10_000)
    assert (await port.beat(NODE, [MARKET])).unannounced == ["wh_1"]
    await port.announced("wh_1")
    await world.pass_ms(10_000)
    assert (await port.beat(NODE, [MARKET])).unannounced == []


async def one_too_many(world: World) -> list[MarketEvent]:
    """An endpoint for which no more may be queued, and what it has not had."""
    await queued(world, 3)
    events = [event(number, world) for number in (8, 9)]
    await further(world, events)
    return events


async def further(world: World, events: list[MarketEvent]) -> None:
    """Queue events for the endpoint."""
    port, known = world.store.webhooks, await world.store.webhooks.all()
    was = await port.position(MARKET)
    assert was is not None
    wanted = {"wh_1": [*range(len(events))]}
    assert await port.queue(MARKET, (was, events[-1].place), events, wanted, known.version) == "ok"


def bounded(monkeypatch: pytest.MonkeyPatch, *, pace: int, most: int) -> None:
    """Let few deliveries wait."""
    monkeypatch.setattr(calls, "PACED_AT", pace)
    monkeypatch.setattr(calls, "MAX_WAITING", most)


@pytest.mark.parametrize(("waited_ms", "reason"), [(-1, ""), (0, "backlog")])
async def test_most_waiting_disable_what_does_not_succeed(
    world: World, monkeypatch: pytest.MonkeyPatch, waited_ms: int, reason: str
) -> None:
    """At the very number that the contract names, and not while there was a success."""
    bounded(monkeypatch, pace=2, most=4)
    await queued(world)
    port = world.store.webhooks
    await port.settle((await taken(world))[0], attempt(world, "failed", NEVER), is_gone=False)
    await world.pass_ms(BACKLOG_PATIENCE_S * 1000 + waited_ms)
    events = [event(number, world) for number in range(3)]
    await further(world, events[:2])
    # It is read on, beyond what may wait for one that succeeds.
    assert (await port.get("wh_1")).waiting == (3 if reason else 1)
    await further(world, events[2:])
    seen = await port.get("wh_1")
    assert (seen.disabled.reason if seen.disabled else "") == reason
    assert seen.waiting == (0 if reason else 1)
    assert bool(await port.behind()) is not bool(reason)


async def test_too_many_waiting_are_read_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    bounded(monkeypatch, pace=4, most=100)
    first, last = await one_too_many(world)
    port = world.store.webhooks
    ((_, _, after),) = await port.behind()
    seen = await port.get("wh_1")
    assert (seen.disabled, seen.waiting, after) == (None, 3, Place(world.now, 2))
    # What happens meanwhile comes later too, or it would wait without a bound.
    known, more = await port.all(), event(10, world)
    await port.queue(MARKET, (last.place, more.place), [more], {"wh_1": [0]}, known.version)
    assert (await port.get("wh_1")).waiting == 3
    for due in await taken(world):
        await port.settle(due, attempt(world, "delivered"), is_gone=False)
    assert await port.catch_up("wh_1", MARKET, (after, first.place), [first])
    assert not await port.catch_up("wh_1", MARKET, (after, first.place), [first])
    assert not await port.catch_up("wh_1", MARKET, (first.place, more.place), [last, more])
    assert await port.behind() == []
    # Number 10 is before 8 and 9 where numbers are texts; ordering is not promised.
    assert {due.event.place for due in await taken(world)} == {first.place, last.place, more.place}
    again = event(11, world)
    await port.queue(MARKET, (more.place, again.place), [again], {"wh_1": [0]}, known.version)
    assert [due.event for due in await taken(world)] == [again]


async def test_catching_up_ends_where_an_endpoint_fails(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    bounded(monkeypatch, pace=4, most=5)
    events = await one_too_many(world)
    port = world.store.webhooks
    ((_, _, after),) = await port.behind()
    await port.settle((await taken(world))[0], attempt(world, "failed", NEVER), is_gone=False)
    moved = (after, events[-1].place)
    assert not await port.catch_up("wh_1", MARKET, moved, events)
    assert (await port.get("wh_1")).disabled is None
    await world.pass_ms(BACKLOG_PATIENCE_S * 1000)
    assert not await port.catch_up("wh_1", MARKET, moved, events)
    seen = await port.get("wh_1")
    assert seen.disabled is not None
    assert seen.disabled.reason == "backlog"
    assert await port.behind() == []


async def test_endpoint_says_what_it_has_missed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    bounded(monkeypatch, pace=4, most=5)
    first, last = await one_too_many(world)
    port = world.store.webhooks
    ((_, _, after),) = await port.behind()
    for due in await taken(world):
        await port.settle(due, attempt(world, "delivered"), is_gone=False)
    await port.catch_up("wh_1", MARKET, (after, last.place), [last], last.place.ms)
    seen = await port.get("wh_1")
    assert (seen.missed_ms, seen.disabled) == (last.place.ms, None)
    assert [due.event for due in await taken(world)] == [last]
    assert (await port.update(seen, seen, enable=True)).missed_ms == 0  # type: ignore[union-attr]
    assert first.place < last.place


async def test_enabled_endpoint_starts_with_new_events(world: World) -> None:
    await queued(world)
    port = world.store.webhooks
    await port.disable("wh_1", "owner")
    await world.pass_ms(1_000)
    was = await port.get("wh_1")
    enabled = await port.update(was, was, enable=True)
    assert enabled is not None
    assert (enabled.disabled, enabled.since_ms) == (None, world.now)
    assert (await port.beat(NODE, [MARKET])).unannounced == []


async def test_change_of_a_changed_endpoint_is_refused(world: World) -> None:
    port = world.store.webhooks
    was = await port.create(endpoint("wh_1"))
    assert await port.update(was, endpoint("wh_1", description="a"))
    assert await port.update(was, endpoint("wh_1", description="b")) is None
    assert (await port.get("wh_1")).description == "a"


async def test_deleted_endpoint_leaves_nothing(world: World) -> None:
    await queued(world, 3)
    port = world.store.webhooks
    due = (await taken(world))[0]
    await port.settle(due, attempt(world, "failed", world.now + 1), is_gone=False)
    await port.begin_replay("wh_1", MARKET, Place(0, 0), Place(world.now, 9))
    await port.delete(await port.get("wh_1"))
    await port.settle(due, attempt(world, "delivered"), is_gone=False)
    left = {key.decode() for key in await world.redis.keys("mallard:{/webhooks}:*")}
    assert left <= {f"mallard:{{/webhooks}}:{name}" for name in ("version", "positions")}
    with pytest.raises(NoSuchWebhook):
        await port.get("wh_1")
    with pytest.raises(NoSuchWebhook):
        await port.update(endpoint("wh_1"), endpoint("wh_1"))


async def test_owner_has_a_bounded_number(world: World) -> None:
    port = world.store.webhooks
    for number in range(50):
        await port.create(endpoint(f"wh_{number}"))
    with pytest.raises(TooManyWebhooks):
        await port.create(endpoint("wh_x"))
    await port.create(endpoint("wh_y", owner="other", service="other"))
    await port.create(endpoint("wh_z", service=None))


async def test_leases_are_shared_and_taken_over(world: World) -> None:
    port = world.store.webhooks
    for number in range(5):
        await port.create(endpoint(f"wh_{number}"))
    first = await port.beat(NODE, [MARKET])
    assert len(first.endpoints) + len(first.markets) == 6
    await port.beat(OTHER, [MARKET])
    first, second = await port.beat(NODE, [MARKET]), await port.beat(OTHER, [MARKET])
    for held in (first, second):
        assert len(held.endpoints) + len(held.markets) == 3
    assert not first.endpoints & second.endpoints
    world.clock.now_ms += LEASE_MS
    alone = await port.beat(OTHER, [MARKET])
    assert len(alone.endpoints) + len(alone.markets) == 6
    await port.leave(OTHER)
    assert len((await port.beat(NODE, [MARKET])).endpoints) == 5


async def test_replay_queues_again_and_ends(world: World) -> None:
    events = await queued(world, 3)
    port = world.store.webhooks
    for due in await taken(world):
        await port.settle(due, attempt(world, "delivered"), is_gone=False)
    start, to = Place(0, 0), events[-1].place
    await port.begin_replay("wh_1", MARKET, start, to)
    assert await port.replays() == [("wh_1", MARKET, start, to)]
    assert await port.replay("wh_1", MARKET, (start, events[0].place), to, events[:1])
    # Another node repeats the step.
    assert not await port.replay("wh_1", MARKET, (start, events[0].place), to, events[:1])
    assert await port.replay("wh_1", MARKET, (events[0].place, to), to, events[1:])
    assert await port.replays() == []
    assert [it.event for it in await taken(world)] == events


async def test_log_is_kept_for_a_week_and_read_in_pages(world: World) -> None:
    await queued(world, 3)
    port = world.store.webhooks
    for due in await taken(world):
        await port.settle(due, attempt(world, "delivered"), is_gone=False)
    page, cursor = await port.log("wh_1", None, 2)
    assert len(page) == 2
    rest, end = await port.log("wh_1", cursor, 2)
    assert (len(rest), end) == (1, None)
    assert await world.redis.pttl("mallard:{/webhooks}:log:wh_1") > 6 * 86_400_000
