import asyncio

import pytest

from mallard_protocol.codes import Role
from tests.engine.gateway.commands.conftest import Mallard
from tests.engine.gateway.conftest import NEAR, NodeFactory, RunningNode
from tests.engine.gateway.driver_app import open_app
from tests.engine.gateway.http_support import Caller, problem
from tests.support import GUARD_S, eventually


async def nodes(node: RunningNode) -> dict[str, dict[str, object]]:
    answer = await Caller(node, "ann", Role.OPERATOR).get("/v1/nodes")
    assert answer.status_code == 200, answer.text
    return {it["id"]: it for it in answer.json()["items"]}


async def both_known(one: RunningNode, other: RunningNode) -> bool:
    known = await nodes(one)
    return {one.node.id, other.node.id} <= set(known) and all(
        it["address"] for it in known.values()
    )


@pytest.fixture
async def pair(engine_node: NodeFactory) -> tuple[RunningNode, RunningNode]:
    """The node that is drained, and another."""
    leaving, staying = await engine_node(), await engine_node()
    await eventually(lambda: both_known(staying, leaving))
    return leaving, staying


@pytest.mark.parametrize("by", ["id", "address", "url"])
@pytest.mark.parametrize("through_itself", [False, True])
async def test_drain_stops_the_named_node_and_waits(
    pair: tuple[RunningNode, RunningNode], mallard: Mallard, by: str, *, through_itself: bool
) -> None:
    leaving, staying = pair
    name = {"id": leaving.node.id, "url": leaving.url, "address": leaving.url[7:]}[by]
    asked = leaving if through_itself else staying
    async with open_app(leaving.ws, leaving.token("d-1")) as app:
        await app.go_online(position=NEAR)
        status, lines, errors = await mallard("drain", name, "--url", asked.url)
        assert (status, errors) == (0, [])
        assert "drains" in lines[0]
        assert "is drained" in lines[1]
        assert await app.closed() == 4001
    await asyncio.wait_for(leaving.task, GUARD_S)
    assert not staying.task.done()
    known = await nodes(staying)
    assert known[leaving.node.id]["state"] == "stopped"
    assert known[leaving.node.id]["drain_by"] == "cli"
    assert known[staying.node.id]["state"] == "serving"


async def test_drain_is_in_the_audit_log(pair: tuple[RunningNode, RunningNode]) -> None:
    leaving, staying = pair
    ann = Caller(staying, "ann", Role.OPERATOR)
    answer = await ann.post(f"/v1/nodes/{leaving.node.id}/drain")
    assert answer.status_code == 202
    assert answer.json()["state"] == "draining"
    await asyncio.wait_for(leaving.task, GUARD_S)
    entry = (await ann.get("/v1/audit")).json()["items"][0]
    assert (entry["operation"], entry["actor"], entry["status"]) == ("drainNode", "ann", 202)
    problem(await ann.post(f"/v1/nodes/{leaving.node.id}/drain"), 404, "not_found")


async def test_second_wish_keeps_the_first(pair: tuple[RunningNode, RunningNode]) -> None:
    leaving, staying = pair
    first = await Caller(staying, "ann", Role.OPERATOR).post(f"/v1/nodes/{leaving.node.id}/drain")
    second = await Caller(staying, "bob", Role.OPERATOR).post(f"/v1/nodes/{leaving.node.id}/drain")
    assert second.json()["drain_by"] == first.json()["drain_by"] == "ann"
    await asyncio.wait_for(leaving.task, GUARD_S)


async def test_only_node_is_drained_by_force_alone(node: RunningNode, mallard: Mallard) -> None:
    await eventually(lambda: both_known(node, node))
    status, lines, errors = await mallard("drain", node.node.id, "--url", node.url)
    assert (status, lines, len(errors)) == (2, [], 1)
    assert "only node" in errors[0]
    assert not node.task.done()
    status, lines, errors = await mallard("drain", node.node.id, "--url", node.url, "--force")
    assert (status, errors) == (0, [])
    assert "has stopped" in lines[-1] or "is drained" in lines[-1]
    await asyncio.wait_for(node.task, GUARD_S)


async def test_frozen_node_is_not_drained_in_time(
    pair: tuple[RunningNode, RunningNode], mallard: Mallard
) -> None:
    leaving, staying = pair
    leaving.node.presence.on_drain = lambda: None
    status, _, errors = await mallard(
        "drain", leaving.node.id, "--url", staying.url, "--within-s", "1"
    )
    assert (status, len(errors)) == (1, 1)
    assert "is still draining" in errors[0]


async def test_node_that_falls_silent_is_lost(engine_node: NodeFactory) -> None:
    silent, staying = await engine_node(), await engine_node()
    await eventually(lambda: both_known(staying, silent))
    store = silent.node.store
    word = silent.node.presence._report()  # as it said itself, but six seconds ago
    silent.node.presence.announce = asyncio.Event().wait  # type: ignore[assignment]
    await asyncio.sleep(0)
    await staying.node.store.runner.link.call(
        "HSET", "mallard:nodes", f"{word.id}/seen", store.now_ms() - 6_000
    )
    assert (await nodes(staying))[silent.node.id]["state"] == "lost"
    answer = await Caller(staying, "ann", Role.OPERATOR).post(f"/v1/nodes/{word.id}/drain")
    problem(answer, 404, "not_found")


async def test_bounded_operator_sees_nodes_and_drains_none(node: RunningNode) -> None:
    token = node.token("ops", Role.OPERATOR, markets=["las-vegas"])
    bounded = Caller(node, "ops", Role.OPERATOR, {"Authorization": f"Bearer {token}"})
    async with open_app(node.ws, node.token("d-1")) as app:
        await app.go_online(position=NEAR)

        async def drivers() -> bool:
            known = (await Caller(node, "ann", Role.OPERATOR).get("/v1/nodes")).json()["items"]
            return [it["drivers"] for it in known] == [1]

        await eventually(drivers)
        (seen,) = (await bounded.get("/v1/nodes")).json()["items"]
        assert (seen["drivers"], seen["here"]) == (0, True)
        problem(await bounded.post(f"/v1/nodes/{node.node.id}/drain"), 403, "forbidden")


@pytest.mark.parametrize("name", ["node-none", "", "10.0.0.1:80", "http://[", "a b", "a/b"])
async def test_unknown_node_is_one_line_and_status_two(
    node: RunningNode, mallard: Mallard, name: str
) -> None:
    await eventually(lambda: both_known(node, node))
    status, lines, errors = await mallard("drain", name, "--url", node.url)
    assert (status, lines, len(errors)) == (2, [], 1)
    assert "there is no node" in errors[0]
    assert node.node.id in errors[0]


async def test_engine_away_is_one_line_and_status_one(mallard: Mallard) -> None:
    status, lines, errors = await mallard("drain", "node-1", "--url", "http://127.0.0.1:1")
    assert (status, lines, len(errors)) == (1, [], 1)
