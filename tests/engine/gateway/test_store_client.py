"""The shipped client of a shop's counter, against a node."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from mallard_client import ApiProblem, StoreClient, StoreClientSync
from mallard_protocol.codes import Role
from tests.engine.gateway.conftest import MALL, NEAR, RunningNode
from tests.engine.gateway.driver_app import open_app
from tests.engine.gateway.http_support import Caller, order

LEGO = order(pickup={"mall": MALL, "stores": [{"store": "lego", "parcels": 3}]})


def token_of(node: RunningNode) -> str:
    token: str = node.node.tokens.mint("till", Role.STORE, ttl_s=60, mall=MALL, store="lego")
    return token


async def test_shop_hands_over_with_the_client(node: RunningNode) -> None:
    async with (
        StoreClient(node.url, token_of(node), MALL, "lego", tries=1) as counter,
        open_app(node.ws, node.token("ann")) as ann,
    ):
        await ann.go_online(position=NEAR)
        job = (await Caller(node).submit(LEGO)).json()["id"]
        offer = await ann.receive("offer")
        (full,) = (await ann.ask("accept", offer=offer["offer"]))["jobs"]
        assert [it.id async for it in counter.pickups()] == [job]
        assert (await counter.ready(job)).stores[0].state == "ready"
        assert (await counter.short(job, 2)).stores[0].state == "short"
        with pytest.raises(ApiProblem) as refused:
            await counter.hand_over(job, "no code")
        assert refused.value.code == "wrong_code"
        done = await counter.hand_over(job, full["handover_code"])
        assert (done.state, done.stores[0].collected_parcels) == ("picked_up", 2)
        with pytest.raises(ApiProblem) as late:
            await counter.missing(job)
        assert late.value.code == "wrong_state"


async def test_shop_closes_and_opens_with_the_client(node: RunningNode) -> None:
    until = datetime.now(UTC) + timedelta(hours=1)
    async with StoreClient(node.url, token_of(node), MALL, "lego") as counter:
        closed = (await counter.close_until(until)).closed_until
        assert closed is not None
        assert abs(closed - until) < timedelta(milliseconds=1)
        assert (await counter.open()).closed_until is None


async def test_client_without_asyncio_has_the_same_calls(node: RunningNode) -> None:
    jobs = [(await Caller(node).submit(LEGO)).json()["id"] for _ in range(3)]
    token = token_of(node)

    def work() -> None:
        with StoreClientSync(node.url, token, MALL, "lego") as counter:
            assert [it.id for it in counter.pickups()] == jobs[::-1]
            page = counter.pickups_page(limit=2)
            assert [it.id for it in page.items] == jobs[:0:-1]
            rest = counter.pickups_page(limit=2, cursor=page.next_cursor)
            assert [it.id for it in rest.items] == jobs[:1]
            later = datetime.now(UTC) + timedelta(minutes=5)
            assert counter.ready(jobs[0], later).stores[0].state == "waiting"
            assert counter.short(jobs[0], parcels=1).stores[0].state == "short"
            assert counter.missing(jobs[1]).state == "scheduled"
            with pytest.raises(ApiProblem):
                counter.hand_over(jobs[2], "123456", parcels=1)
            assert counter.close_until(later).closed_until is not None
            assert counter.open().closed_until is None
            assert list(counter.returns()) == []
            assert counter.returns_page().next_cursor is None
            with pytest.raises(ApiProblem):
                counter.receive(jobs[0])

    await asyncio.to_thread(work)
    names = {name for name in vars(StoreClient) if not name.startswith("_")}
    assert names == {name for name in vars(StoreClientSync) if not name.startswith("_")}
