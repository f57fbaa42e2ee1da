"""Pauses of a market, a mall and a shop over HTTP."""

from typing import Any

import pytest

from mallard_protocol.codes import Role
from tests.engine.gateway.conftest import HOME, MALL, NEAR, PHOENIX, NodeFactory, RunningNode
from tests.engine.gateway.driver_app import open_app
from tests.engine.gateway.http.endpoints.jobs.test_actions import online
from tests.engine.gateway.http_support import Caller, at, order, pointers, problem
from tests.support import eventually

MARKET_PATH = f"/v1/markets/{PHOENIX}"
MALL_PATH = f"{MARKET_PATH}/malls/{MALL}"
SHOP_PATH = f"{MALL_PATH}/stores/lego"
PLACES = [MARKET_PATH, MALL_PATH, SHOP_PATH]
every_place = pytest.mark.parametrize("path", PLACES, ids=["market", "mall", "shop"])


@pytest.fixture
def shop(node: RunningNode) -> Caller:
    return Caller(node)


@pytest.fixture
def operator(node: RunningNode) -> Caller:
    return Caller(node, "ops", Role.OPERATOR)


async def still_queued(shop: Caller, job: str) -> dict[str, Any]:
    """Give rounds time to offer the job; return it."""
    for _ in range(20):
        seen: dict[str, Any] = (await shop.get(f"/v1/jobs/{job}?wait_s=0")).json()
        assert seen["state"] == "queued"
    return seen


@every_place
async def test_paused_place_takes_orders_and_offers_nothing(
    shop: Caller, operator: Caller, path: str
) -> None:
    async with open_app(shop.node.ws, shop.node.token("d-1")) as driver:
        await online(driver)
        paused = await operator.post(f"{path}/pause", {"reason": "flood"})
        assert paused.status_code == 200
        body = paused.json()
        assert (body["market"], body["paused"], body["by"]) == (PHOENIX, True, "ops")
        assert (body["reason"], "since" in body) == ("flood", True)
        submitted = await shop.submit()
        assert submitted.status_code == 201
        await still_queued(shop, submitted.json()["id"])

        resumed = await operator.post(f"{path}/resume")
        assert (resumed.status_code, resumed.json()["paused"]) == (200, False)
        assert not {"since", "by", "reason"} & resumed.json().keys()
        offer = await driver.receive("offer")
        assert offer["jobs"][0]["job"] == submitted.json()["id"]


@every_place
async def test_pause_on_one_node_holds_on_the_other_at_once(
    engine_node: NodeFactory, path: str
) -> None:
    one, other = await engine_node(), await engine_node()
    async with open_app(other.ws, other.token("d-1")) as driver:
        await online(driver)
        await one.order(f"{path}/pause")
        job = (await Caller(other).submit()).json()["id"]
        await still_queued(Caller(other), job)

        async def is_shown() -> bool:
            market = (await Caller(other).get(MARKET_PATH)).json()
            mall = next(it for it in market["malls"] if it["id"] == MALL)
            store = next(it for it in mall["stores"] if it["id"] == "lego")
            return bool({MARKET_PATH: market, MALL_PATH: mall, SHOP_PATH: store}[path]["paused"])

        await eventually(is_shown)
        await one.order(f"{path}/resume")
        assert (await driver.receive("offer"))["jobs"][0]["job"] == job


async def test_live_offer_and_run_go_on_in_a_paused_market(shop: Caller, operator: Caller) -> None:
    async with open_app(shop.node.ws, shop.node.token("d-1")) as driver:
        await online(driver)
        job = (await shop.submit()).json()["id"]
        offer = await driver.receive("offer")
        await operator.post(f"{MARKET_PATH}/pause")
        reply = await driver.ask("accept", offer=offer["offer"])
        assert reply["type"] == "reply"
        assert reply["barred"]["why"] == "market_paused"
        attempt = (await shop.get(f"/v1/jobs/{job}")).json()["attempt"]
        step = await driver.ask("progress", job=job, attempt=attempt, step="at_mall")
        assert step["job_state"] == "at_mall"


async def test_operator_assigns_in_a_paused_market(shop: Caller, operator: Caller) -> None:
    async with open_app(shop.node.ws, shop.node.token("d-1")) as driver:
        await driver.hello(position=NEAR, vehicle={"kind": "car", "max_jobs": 1})
        await operator.post(f"{MARKET_PATH}/pause")
        job = (await shop.submit()).json()["id"]
        assigned = await operator.post(f"/v1/jobs/{job}/assign", {"driver": "d-1"})
        assert (assigned.status_code, assigned.json()["state"]) == (200, "assigned")


async def test_job_expires_in_a_paused_market(shop: Caller, operator: Caller) -> None:
    async with open_app(shop.node.ws, shop.node.token("d-1")) as driver:
        await online(driver)
        await operator.post(f"{MARKET_PATH}/pause")
        deadline = at(shop.node.node.store.now_ms() + 1_500)
        submitted = await shop.submit(order(dropoff=HOME | {"deadline": deadline}))
        assert submitted.status_code == 201
        seen = await shop.node.job_in(submitted.json()["id"], "expired")
        assert seen["attempt"] == 0


async def test_quote_in_a_paused_market_says_so(shop: Caller, operator: Caller) -> None:
    async with open_app(shop.node.ws, shop.node.token("d-1")) as driver:
        await online(driver)
        open_ = (await shop.post("/v1/quotes", order())).json()
        assert (open_["would_match"], open_["paused"]) == (True, False)
        await operator.post(f"{SHOP_PATH}/pause")
        paused = (await shop.post("/v1/quotes", order())).json()
        assert (paused["would_match"], paused["paused"]) == (False, True)
        assert paused["why_not"] == "paused"


async def test_second_pause_keeps_the_first_author(operator: Caller) -> None:
    first = (await operator.post(f"{MALL_PATH}/pause", {"reason": "flood"})).json()
    again = await Caller(operator.node, "eve", Role.OPERATOR).post(
        f"{MALL_PATH}/pause", {"reason": "fire"}
    )
    assert again.json() == first
    assert (first["mall"], first["by"]) == (MALL, "ops")
    assert (await operator.post(f"{MALL_PATH}/resume")).json() == {
        "market": PHOENIX,
        "mall": MALL,
        "paused": False,
    }
    assert (await operator.post(f"{MALL_PATH}/resume")).status_code == 200


async def test_pause_of_an_unknown_place_is_refused(operator: Caller) -> None:
    for path in (
        "/v1/markets/atlantis",
        f"{MARKET_PATH}/malls/nowhere",
        f"{MARKET_PATH}/malls/%7Bx%7D",
        f"{MALL_PATH}/stores/nothing",
        f"/v1/markets/las-vegas/malls/{MALL}",
    ):
        for verb in ("pause", "resume"):
            problem(await operator.post(f"{path}/{verb}"), 404, "not_found")


@every_place
@pytest.mark.parametrize("verb", ["pause", "resume"])
async def test_pause_with_a_wrong_body_is_refused(operator: Caller, path: str, verb: str) -> None:
    url = f"{path}/{verb}"
    assert pointers(await operator.post(url, {"reason": ""})) == ["/reason"]
    assert pointers(await operator.post(url, {"reason": 5})) == ["/reason"]
    assert pointers(await operator.post(url, {"reason": "x" * 201})) == ["/reason"]
    assert pointers(await operator.post(url, {"why": "flood"})) == ["/why"]
    assert pointers(await operator.post(url, [])) == [""]
    problem(await operator.post(f"{url}?now=1"), 400, "bad_request")
    assert (await operator.post(url, {})).status_code == 200


@every_place
async def test_pause_needs_an_operators_token(shop: Caller, path: str) -> None:
    problem(await shop.post(f"{path}/pause"), 403, "forbidden")
    unsigned = await shop.node.http.post(f"{path}/pause")
    problem(unsigned, 401, "unauthorized")


async def test_pause_survives_a_restart(engine_node: NodeFactory) -> None:
    one = await engine_node()
    await one.order(f"{MARKET_PATH}/pause")
    other = await engine_node()
    assert (await Caller(other).get(MARKET_PATH)).json()["paused"] is True


async def test_node_that_does_not_know_of_a_pause_offers_nothing(
    shop: Caller, operator: Caller
) -> None:
    """The script decides, whatever the node believes."""
    dispatcher = shop.node.node.dispatcher
    async with open_app(shop.node.ws, shop.node.token("d-1")) as driver:
        await online(driver)
        await operator.post(f"{MARKET_PATH}/pause")
        dispatcher._context.pauses.clear()
        job = (await shop.submit()).json()["id"]
        await still_queued(shop, job)
