"""The Python clients' calls on endpoints, against a node."""

import asyncio
import inspect
from datetime import UTC, datetime

import pytest

from mallard_client import ApiProblem, OrderClient, OrderClientSync
from mallard_protocol.codes import Role
from tests.engine.gateway.conftest import RunningNode
from tests.engine.gateway.webhooks.receiver import Receiver
from tests.support import eventually

PAST = datetime(2026, 1, 1, tzinfo=UTC)
CALLS = (
    "create_webhook",
    "webhooks_page",
    "webhook",
    "change_webhook",
    "delete_webhook",
    "rotate_webhook",
    "test_webhook",
    "replay_webhook",
    "webhook_deliveries",
)


async def test_life_of_an_endpoint(node: RunningNode, receiver: Receiver) -> None:
    async with OrderClient(node.url, node.token("shop", Role.ORDERS)) as orders:
        made = await orders.create_webhook(
            receiver.url, types=["job.created"], markets=["phoenix"], description="till"
        )
        assert made.secret.startswith("whsec_")
        assert (made.types, made.markets, made.description) == (
            ("job.created",), ("phoenix",), "till",
        )  # fmt: skip
        other = await orders.create_webhook(receiver.url)
        page = await orders.webhooks_page(limit=1)
        rest = await orders.webhooks_page(cursor=page.next_cursor)
        # In order by the storage's clock, of which two times may be equal.
        (first,), (second,) = page.items, rest.items
        assert {first.id, second.id} == {made.id, other.id}

        changed = await orders.change_webhook(made.id, description="", state="disabled")
        assert (changed.description, changed.state) == ("", "disabled")
        assert changed.disabled_reason == "owner"
        assert changed.types == ("job.created",)
        enabled = await orders.change_webhook(made.id, state="enabled", types=[])
        assert (enabled.state, enabled.types) == ("enabled", ())
        assert (await orders.webhook(made.id)) == enabled

        rotated = await orders.rotate_webhook(made.id)
        assert rotated.secret not in {made.secret, ""}
        tested = await orders.test_webhook(made.id)
        assert (tested.outcome, tested.status) == ("delivered", 204)
        replay = await orders.replay_webhook(made.id, PAST)
        assert replay.id == made.id

        await node.submit()

        async def logged() -> bool:
            return len((await orders.webhook_deliveries(made.id, limit=5)).items) > 0

        await eventually(logged)
        await orders.delete_webhook(made.id)
        with pytest.raises(ApiProblem) as gone:
            await orders.webhook(made.id)
        assert gone.value.status == 404


async def test_client_without_asyncio_has_the_same_calls(
    node: RunningNode, receiver: Receiver
) -> None:
    def life() -> tuple[str, str, str]:
        with OrderClientSync(node.url, node.token("shop", Role.ORDERS)) as orders:
            made = orders.create_webhook(receiver.url)
            (listed,) = orders.webhooks_page().items
            changed = orders.change_webhook(made.id, url=receiver.url + "more")
            orders.rotate_webhook(made.id)
            outcome = orders.test_webhook(made.id).outcome
            orders.replay_webhook(made.id, PAST)
            orders.webhook_deliveries(made.id)
            orders.delete_webhook(made.id)
            assert orders.webhooks_page().items == ()
            return listed.id, changed.id, outcome

    listed, changed, outcome = await asyncio.to_thread(life)
    assert listed == changed
    assert outcome == "delivered"


@pytest.mark.parametrize("name", CALLS)
def test_both_clients_have_the_call_with_its_words(name: str) -> None:
    asynchronous, blocking = getattr(OrderClient, name), getattr(OrderClientSync, name)
    assert inspect.iscoroutinefunction(asynchronous)
    assert not inspect.iscoroutinefunction(blocking)
    assert asynchronous.__doc__
    assert asynchronous.__doc__ == blocking.__doc__
    assert inspect.signature(asynchronous) == inspect.signature(blocking)


async def test_wrong_field_is_a_problem_with_its_pointer(
    node: RunningNode, receiver: Receiver
) -> None:
    async with OrderClient(node.url, node.token("shop", Role.ORDERS)) as orders:
        for call, pointer in (
            (orders.create_webhook("http://10.0.0.1/"), "/url"),
            (orders.create_webhook(receiver.url, types=["job.sung"]), "/types/0"),
            (orders.create_webhook(receiver.url, markets=["atlantis"]), "/markets/0"),
        ):
            with pytest.raises(ApiProblem) as refused:
                await call
            assert refused.value.status == 422
            assert [it.pointer for it in refused.value.errors] == [pointer]
