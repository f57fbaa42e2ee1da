"""What an endpoint receives, and what becomes of what it does not take."""

import asyncio
import itertools
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
from standardwebhooks import WebhookVerificationError

from mallard_engine.dispatch.etas import live_etas
from mallard_engine.gateway.webhooks.deliveries import NEW_SLOTS
from mallard_engine.ports import StoreUnavailable, WaitingDelivery
from mallard_protocol.codes import Role
from tests.engine.gateway.conftest import HOME, NEAR, NodeFactory, RunningNode
from tests.engine.gateway.driver_app import open_app
from tests.engine.gateway.webhooks.receiver import Heard, Receiver, always, answer, receiving
from tests.engine.gateway.webhooks.support import create, deliveries, disabled, make_due, read
from tests.support import eventually


async def test_event_is_posted_signed_with_the_secret(
    node: RunningNode, receiver: Receiver
) -> None:
    made = await create(node, receiver.url)
    job = await node.submit()
    (heard,) = await receiver.hears(1)
    event = heard.verified(made["secret"])
    assert heard.path == "/hook"
    assert heard.headers["content-type"] == "application/json"
    assert event["id"] == heard.id
    assert event["type"] == "job.created"
    assert event["job"] == job["id"]
    assert event["data"]["external_id"] == job["external_id"]
    assert "timeline" not in event["data"]
    with pytest.raises(WebhookVerificationError):
        heard.verified("whsec_" + "A" * 44)


async def test_each_event_comes_once_in_its_streams_words(
    node: RunningNode, receiver: Receiver
) -> None:
    await create(node, receiver.url)
    job = await node.submit()
    await node.http.post(
        f"/v1/jobs/{job['id']}/cancel",
        json={"reason": "customer"},
        headers=node.bearer("shop", Role.ORDERS),
    )
    await receiver.hears(2)
    assert sorted(receiver.types) == ["job.cancelled", "job.created"]
    assert len({it.id for it in receiver.heard}) == 2


async def test_service_gets_its_own_events_only(node: RunningNode, receiver: Receiver) -> None:
    await create(node, receiver.url, sub="other")
    async with receiving() as own:
        await create(node, own.url)
        await node.submit()
        await own.hears(1)
    assert not receiver.heard


async def test_types_filter_events(node: RunningNode, receiver: Receiver) -> None:
    await create(node, receiver.url, types=("job.cancelled",))
    job = await node.submit()
    await node.http.post(
        f"/v1/jobs/{job['id']}/cancel",
        json={"reason": "customer"},
        headers=node.bearer("shop", Role.ORDERS),
    )
    await receiver.hears(1)
    assert receiver.types == ["job.cancelled"]


async def test_movement_is_posted_only_where_it_is_named(
    node: RunningNode, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_etas, "MOVED_EVERY_S", 0)
    made = await create(node, receiver.url, types=("job.driver_moved",))
    async with receiving() as other, open_app(node.ws, node.token("ann")) as driver:
        await create(node, other.url)
        await driver.go_online(position=NEAR)
        job = await node.submit()
        offer = await driver.receive("offer")
        await driver.ask("accept", offer=offer["offer"])

        async def is_posted() -> bool:
            # Events from before a node reads the market for its endpoints are not delivered.
            place = [node.node.store.now_ms(), 33.31001, -111.9, 5, 90, 1]
            await driver.send("location", fixes=[place])
            await asyncio.sleep(0.1)  # a socket takes 20 frames a second
            return bool(receiver.heard)

        await eventually(is_posted)
        moved = receiver.heard[0].verified(made["secret"])
        assert (moved["type"], moved["job"]) == ("job.driver_moved", job["id"])
        assert moved["data"].keys() == {"lat", "lon", "heading_deg", "at", "eta"}
        last = await node.submit()
        await eventually(lambda: any(it.event["job"] == last["id"] for it in other.heard))
        assert "job.driver_moved" not in other.types
        assert set(receiver.types) == {"job.driver_moved"}


async def test_operator_gets_events_of_every_service(node: RunningNode, receiver: Receiver) -> None:
    await create(node, receiver.url, sub="ops", role=Role.OPERATOR)
    job = await node.submit()
    (heard,) = await receiver.hears(1)
    assert heard.event["job"] == job["id"]


async def test_service_hears_an_alias_and_an_operator_the_id(
    node: RunningNode, receiver: Receiver
) -> None:
    kinds = ("job.assigned",)
    async with receiving() as ops, open_app(node.ws, node.token("driver-ann")) as driver:
        await create(node, receiver.url, types=kinds)
        await create(node, ops.url, types=kinds, sub="ops", role=Role.OPERATOR)
        await driver.go_online(position=NEAR)
        await node.submit(dropoff={**HOME, "pin": "471147"})
        offer = await driver.receive("offer")
        await driver.ask("accept", offer=offer["offer"])
        (own,), (every,) = await receiver.hears(1), await ops.hears(1)
    assert own.id == every.id
    alias = own.event["driver"]
    assert (own.event["data"]["driver"], own.event["data"]["actor"]) == (alias, alias)
    assert (every.event["driver"], every.event["data"]["driver"]) == ("driver-ann", "driver-ann")
    assert b"driver-ann" not in own.body
    assert b"471147" not in own.body + every.body


async def test_failed_delivery_is_repeated_with_its_id(
    node: RunningNode, receiver: Receiver, redis_url: str
) -> None:
    receiver.reply = always(answer(500))
    made = await create(node, receiver.url)
    await node.submit()
    await receiver.hears(1)

    async def logged() -> bool:
        return len(await deliveries(node, made["id"])) == 1

    await eventually(logged)
    seen = await read(node, made["id"])
    assert seen["waiting"] == 1
    assert seen["failing_since"]
    receiver.reply = always(answer(200))
    await make_due(redis_url, made["id"])
    first, second = await receiver.hears(2)
    assert first.id == second.id
    assert second.verified(made["secret"]) == first.event | second.event

    async def settled() -> bool:
        return not (await read(node, made["id"]))["waiting"]

    await eventually(settled)
    ok, failed = await deliveries(node, made["id"])
    assert (ok["outcome"], ok["status"], ok["attempt"]) == ("delivered", 200, 2)
    assert (failed["outcome"], failed["status"], failed["error"]) == ("failed", 500, "status")
    assert failed["next_at"] > failed["at"]
    assert "next_at" not in ok
    assert "failing_since" not in await read(node, made["id"])


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_redirect_is_a_failure_and_not_followed(
    node: RunningNode, receiver: Receiver, status: int
) -> None:
    async with receiving() as other:
        receiver.reply = always(answer(status, f"location: {other.url}"))
        made = await create(node, receiver.url)
        await node.submit()
        await receiver.hears(1)

        (failed,) = await eventually(partial(deliveries, node, made["id"]))
        assert failed["error"] == "redirect"
        assert not other.heard


async def test_gone_disables_and_notifies_the_owner(node: RunningNode, receiver: Receiver) -> None:
    async with receiving() as other:
        await create(node, other.url, types=("webhook.disabled",))
        receiver.reply = always(answer(410))
        made = await create(node, receiver.url)
        await node.submit()
        seen = await disabled(node, made["id"])
        assert seen["disabled_reason"] == "gone"
        assert seen["waiting"] == 0
        heard = (await other.hears(1))[0].event
    assert heard["type"] == "webhook.disabled"
    assert heard["data"]["webhook"] == made["id"]
    assert heard["data"]["reason"] == "gone"
    await node.submit()
    assert len(receiver.heard) == 1


async def test_enabled_again_it_gets_events_again(node: RunningNode, receiver: Receiver) -> None:
    receiver.reply = always(answer(410))
    made = await create(node, receiver.url)
    await node.submit()
    await disabled(node, made["id"])
    receiver.reply = always(answer(200))
    response = await node.http.patch(
        f"/v1/webhooks/{made['id']}",
        json={"state": "enabled"},
        headers=node.bearer("shop", Role.ORDERS),
    )
    assert response.json()["state"] == "enabled"
    assert "disabled_reason" not in response.json()
    job = await node.submit()
    await receiver.hears(2)
    assert receiver.heard[-1].event["job"] == job["id"]


async def test_endpoint_that_hangs_delays_no_other(node: RunningNode, receiver: Receiver) -> None:
    async def hang(_heard: Heard) -> bytes:
        await asyncio.sleep(3_600)
        return b""

    async with receiving() as slow:
        slow.reply = hang
        for _ in range(5):
            await create(node, slow.url)
        await create(node, receiver.url)
        for _ in range(20):
            await node.submit()
        await receiver.hears(20)
        # Of each endpoint that hangs no more than its slots are under way.
        assert len(slow.heard) <= 5 * NEW_SLOTS


async def test_free_slot_is_used_at_once(
    node: RunningNode, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that does not queue the events itself would else take eight each 0.1 s."""
    monkeypatch.setattr("mallard_engine.gateway.webhooks.worker._POLL_S", 300)
    gate = asyncio.Event()

    async def reply(_heard: Heard) -> bytes:
        await gate.wait()
        return answer(204)

    receiver.reply = reply
    made = await create(node, receiver.url)
    for _ in range(30):
        await node.submit()

    async def all_wait() -> bool:
        seen = await read(node, made["id"])
        return bool(seen["waiting"] == 30)

    await eventually(all_wait)
    await receiver.hears(NEW_SLOTS)
    gate.set()
    await receiver.hears(30, 20)


async def test_endpoint_beyond_the_total_is_served_when_a_slot_is_free(
    node: RunningNode, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of its own slots are free, so only the total shows that more may be due."""
    monkeypatch.setattr("mallard_engine.gateway.webhooks.worker._POLL_S", 300)
    monkeypatch.setattr("mallard_engine.gateway.webhooks.deliveries.MOST_QUICK", 1)
    gate = asyncio.Event()

    async def reply(_heard: Heard) -> bytes:
        await gate.wait()
        return answer(204)

    receiver.reply = reply
    made = [await create(node, receiver.url) for _ in range(3)]
    await node.submit()
    await receiver.hears(1)

    async def all_wait() -> bool:
        return all([(await read(node, it["id"]))["waiting"] for it in made])

    await eventually(all_wait)
    gate.set()
    await receiver.hears(3)


async def test_event_that_was_queued_before_the_lease_is_sent_with_it(
    node: RunningNode, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node queues events for each endpoint that it knows, leased or not."""
    monkeypatch.setattr("mallard_engine.gateway.webhooks.worker._POLL_S", 300)
    # The first endpoint is leased at once, the others with the next beat.
    monkeypatch.setattr("mallard_engine.gateway.webhooks.worker._CHANGES_S", 0.9)
    for _ in range(3):
        await create(node, receiver.url)
    await node.submit()
    await receiver.hears(3)


async def test_failed_call_to_the_store_is_repeated_later_each_time(
    node: RunningNode, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mallard_engine.gateway.webhooks.worker._POLL_S", 300)
    clock = asyncio.get_running_loop().time
    webhooks = node.node.store.webhooks
    take, failed_s = webhooks.take, list[float]()

    async def fails_thrice(*args: Any) -> Sequence[WaitingDelivery]:
        if len(failed_s) < 3:
            failed_s.append(clock())
            raise StoreUnavailable("cut")
        if len(failed_s) == 3:
            failed_s.append(clock())
        return await take(*args)

    monkeypatch.setattr(webhooks, "take", fails_thrice)
    await create(node, receiver.url)
    await node.submit()
    await receiver.hears(1)
    waits_s = [after - before for before, after in itertools.pairwise(failed_s)]
    assert all(
        wait_s > least_s - 0.01 for wait_s, least_s in zip(waits_s, (0.1, 0.2, 0.4), strict=True)
    )


async def test_other_node_takes_over_what_a_dead_one_held(
    engine_node: NodeFactory, receiver: Receiver, redis_url: str
) -> None:
    first = await engine_node(webhook_allow=("127.0.0.0/8",))
    held = asyncio.Event()

    async def hang(_heard: Heard) -> bytes:
        await held.wait()
        return answer(200)

    receiver.reply = hang
    made = await create(first, receiver.url)
    await first.submit()
    await receiver.hears(1)
    # The node dies with the delivery under way: nothing of it is settled, no lease given up.
    for task in first.node.webhooks._tasks:
        task.cancel()
    await first.node.webhooks.deliveries.stop()
    second = await engine_node(webhook_allow=("127.0.0.0/8",))
    held.set()
    await make_due(redis_url, made["id"])
    once, again = (await receiver.hears(2))[:2]
    assert once.id == again.id
    job = await second.submit()
    await eventually(lambda: any(it.event["job"] == job["id"] for it in receiver.heard))


@pytest.mark.parametrize("step", ["beat", "queue", "take"])
async def test_error_of_one_step_does_not_end_the_others(
    node: RunningNode, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    port = node.node.store.webhooks
    works = getattr(port, step)
    failed: list[bool] = []

    async def fails_once(*args: Any) -> Any:
        if not failed:
            failed.append(True)
            raise RuntimeError(step)
        return await works(*args)

    monkeypatch.setattr(port, step, fails_once)
    await create(node, receiver.url)
    await node.submit()
    await receiver.hears(1)
    assert failed
