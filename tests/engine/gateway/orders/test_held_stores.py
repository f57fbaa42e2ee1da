"""A store reported as not ready holds its other jobs until the shop reports ready."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mallard_protocol.codes import Role
from tests.engine.gateway.conftest import NEAR, RunningNode
from tests.engine.gateway.driver_app import open_app
from tests.engine.gateway.http_support import Caller, order
from tests.support import eventually

pytestmark = pytest.mark.finding("D4")


async def explained(node: RunningNode, job: str) -> dict[str, Any]:
    answer: dict[str, Any] = (
        await Caller(node, "ops", Role.OPERATOR).get(f"/v1/jobs/{job}/explain")
    ).json()
    return answer


@pytest.mark.parametrize("kind", ["not_ready", "store_closed"])
async def test_held_store_is_shown_until_ready_is_reported(node: RunningNode, kind: str) -> None:
    shop = Caller(node)
    async with (
        open_app(node.ws, node.token("ann")) as ann,
        open_app(node.ws, node.token("bob")) as bob,
    ):
        await ann.go_online(position=NEAR)
        first = await node.submit()
        offer = await ann.receive("offer")
        reply = await ann.ask("accept", offer=offer["offer"])
        (job,) = reply["jobs"]
        until_ms = int(datetime.now(UTC).timestamp() * 1000) + 3_600_000
        await ann.ask(
            "problem", kind=kind, job=job["job"], attempt=job["attempt"], store="lego",
            until_ms=until_ms,
        )  # fmt: skip

        await bob.go_online(position=NEAR)
        second = await node.submit()
        seen = (await node.job(second["id"]))["held"]
        assert (seen["why"], seen["place"], seen["store"]) == (kind, "store", "lego")
        until = datetime.fromisoformat(seen["until"]).timestamp() * 1000
        assert abs(until - until_ms) < 1
        assert (await explained(node, second["id"]))["held"] == seen
        quote = (await shop.post("/v1/quotes", order())).json()
        assert (quote["would_match"], quote["why_not"]) == (False, "store_not_ready")
        assert quote["held"] == seen
        other = order(pickup={"mall": second["pickup"]["mall"], "stores": [{"store": "apple"}]})
        assert (await shop.post("/v1/quotes", other)).json()["held"] is None
        assert not await bob.received("offer")
        # The reporting driver waits at a shop that is not ready; a closed one holds its job too.
        own = await node.job(first["id"])
        assert own["held"] == (seen if kind == "store_closed" else None)
        assert own["state"] == ("scheduled" if kind == "store_closed" else "assigned")

        later = datetime.now(UTC) + timedelta(minutes=30)
        ready = {"store": "lego", "ready_at": later.isoformat()}
        await shop.post(f"/v1/jobs/{second['id']}/ready", ready)
        sooner = (await node.job(second["id"]))["held"]
        assert datetime.fromisoformat(sooner["until"]) - later < timedelta(seconds=1)

        ready["ready_at"] = datetime.now(UTC).isoformat()
        answer = await shop.post(f"/v1/jobs/{second['id']}/ready", ready)
        assert answer.status_code == 200
        offer = await bob.receive("offer")
        assert [it["job"] for it in offer["jobs"]] == [second["id"]]

        async def lifted() -> bool:
            return (await node.job(second["id"]))["held"] is None

        await eventually(lifted)
