"""`proof_required` of an order over HTTP and on the socket."""

from typing import Any

import pytest

from tests.engine.gateway.conftest import HOME, NEAR, PHOENIX, RunningNode
from tests.engine.gateway.driver_app import DriverApp, open_app
from tests.engine.gateway.http_support import Caller, order, pointers

PIN = "471147"
WITH_PIN = {**HOME, "name": "Ada", "pin": PIN}


@pytest.fixture
def shop(node: RunningNode) -> Caller:
    return Caller(node)


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({}, []),
        ({"proof_required": None}, []),
        ({"proof_required": ["signature", "photo"]}, ["photo", "signature"]),
        ({"proof_required": ["age_check"]}, ["age_check"]),
        ({"requires": ["id_check"]}, ["age_check"]),
        ({"requires": ["id_check"], "proof_required": ["age_check"]}, ["age_check"]),
        ({"dropoff": WITH_PIN}, ["pin"]),
        ({"dropoff": WITH_PIN, "proof_required": ["photo", "pin"]}, ["pin", "photo"]),
    ],
)
async def test_what_a_delivery_needs_is_shown(
    shop: Caller, fields: dict[str, Any], shown: list[str]
) -> None:
    job = (await shop.submit(order(**fields))).json()
    assert job["proof_required"] == shown
    read = await shop.get(f"/v1/jobs/{job['id']}")
    assert read.json()["proof_required"] == shown
    assert PIN not in read.text


@pytest.mark.parametrize(
    ("value", "pointer"),
    [
        ("photo", "/proof_required"),
        ({}, "/proof_required"),
        (1, "/proof_required"),
        (["fingerprint"], "/proof_required/0"),
        (["photo", "Photo"], "/proof_required/1"),
        (["photo", None], "/proof_required/1"),
        (["photo", 1], "/proof_required/1"),
        (["photo", "photo"], "/proof_required/1"),
        (["photo"] * 5, "/proof_required"),
        (["pin"], "/dropoff/pin"),
    ],
)
async def test_wrong_proof_is_refused_at_its_field(
    shop: Caller, value: object, pointer: str
) -> None:
    body = order(proof_required=value)
    assert pointers(await shop.submit(body)) == [pointer]
    assert pointers(await shop.post("/v1/quotes", body)) == [pointer]


@pytest.mark.parametrize("pin", ["", "x" * 65, 4711, [], True])
async def test_wrong_pin_of_an_order_is_refused(shop: Caller, pin: object) -> None:
    body = order(dropoff={**HOME, "name": "Ada", "pin": pin}, proof_required=["pin"])
    assert pointers(await shop.submit(body)) == ["/dropoff/pin"]


@pytest.mark.parametrize("kind", ["signature", "age_check"])
async def test_proof_in_person_forbids_to_leave_it(shop: Caller, kind: str) -> None:
    body = order(proof_required=[kind], on_undeliverable="leave")
    assert pointers(await shop.submit(body)) == ["/on_undeliverable"]
    assert (await shop.submit(order(proof_required=["photo"], on_undeliverable="leave"))).is_success


async def taken(node: RunningNode, driver: DriverApp, **fields: Any) -> dict[str, Any]:
    await node.submit(**fields)
    offer = await driver.receive("offer")
    assert PIN not in str(offer)
    assert offer["jobs"][0]["proof_required"] == fields["proof_required"]
    job: dict[str, Any] = (await driver.ask("accept", offer=offer["offer"]))["jobs"][0]
    await driver.progress(job, "picked_up")
    return job


async def test_driver_sees_what_to_give_and_gives_it_in_parts(node: RunningNode) -> None:
    needs = ["pin", "age_check"]
    async with open_app(node.ws, node.token("d1")) as driver:
        await driver.go_online(position=NEAR)
        job = await taken(node, driver, dropoff=WITH_PIN, proof_required=needs)
        assert job["proof_required"] == needs
        assert PIN not in str(job)
        nothing = await driver.progress(job, "delivered")
        assert (nothing["code"], nothing["missing"]) == ("proof_needed", needs)
        checked = await driver.progress(job, "delivered", proof={"kind": "age_checked"})
        assert (checked["code"], checked["missing"]) == ("proof_needed", ["pin"])
        wrong = await driver.progress(job, "delivered", proof={"kind": "code", "value": PIN[:-1]})
        assert (wrong["code"], wrong["tries_left"]) == ("wrong_code", 2)
        done = await driver.progress(job, "delivered", proof={"kind": "code", "value": PIN})
        assert done["job_state"] == "delivered"
    caller = Caller(node)
    for path in ("", "/explain"):
        assert PIN not in (await caller.get(f"/v1/jobs/{job['job']}{path}")).text
    runner = node.node.store.runner
    events = await runner.link.call("XRANGE", runner.keys[PHOENIX].key("events"), "-", "+")
    assert events
    assert PIN not in str(events)
