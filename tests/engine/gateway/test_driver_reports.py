"""Drivers' reports are stored, readable, logged on one line and counted."""

from datetime import datetime
from typing import Any

import pytest
from structlog.testing import capture_logs

from mallard_engine.gateway.timestamps import epoch_ms
from mallard_protocol.codes import AnswerAction, Role
from tests.engine.gateway.conftest import HOME, NEAR, RunningNode
from tests.engine.gateway.driver_app import JSON, MSGPACK, DriverApp, open_app
from tests.engine.gateway.http_support import Caller, problem, uploaded


async def held_by(node: RunningNode, driver: DriverApp, **order: Any) -> dict[str, Any]:
    await node.submit(**order)
    offer = await driver.receive("offer")
    job: dict[str, Any] = (await driver.ask("accept", offer=offer["offer"]))["jobs"][0]
    return job


@pytest.mark.finding("D6")
@pytest.mark.parametrize("subprotocol", [MSGPACK, JSON])
async def test_proof_can_be_read_by_the_order_service(node: RunningNode, subprotocol: str) -> None:
    async with open_app(node.ws, node.token("d1"), subprotocol=subprotocol) as driver:
        await driver.go_online(position=NEAR)
        job = await held_by(node, driver, requires=["id_check"])
        await driver.progress(job, "picked_up")
        photo = await uploaded(node)
        early = await driver.progress(job, "delivered", proof={"kind": "photo", "value": photo})
        assert (early["code"], early["missing"]) == ("proof_needed", ["age_check"])
        done = await driver.progress(job, "delivered", proof={"kind": "age_checked"}, at_ms=1)
        assert done["job_state"] == "delivered"
    proofs = (await node.job(job["job"]))["proofs"]
    assert [(it["kind"], it.get("value"), it["step"]) for it in proofs] == [
        ("photo", photo, "delivered"),
        ("age_checked", None, "delivered"),
    ]
    assert all(it["at"] for it in proofs)
    assert proofs[1]["reported_at"] == "1970-01-01T00:00:00.001Z"


@pytest.mark.finding("D6")
async def test_pin_is_compared_and_never_shown(node: RunningNode) -> None:
    async with open_app(node.ws, node.token("d1")) as driver:
        await driver.go_online(position=NEAR)
        dropoff = {**HOME, "name": "Ada", "pin": "471147"}
        job = await held_by(node, driver, dropoff=dropoff)
        assert "471147" not in str(job)
        await driver.progress(job, "picked_up")
        wrong = await driver.progress(job, "delivered", proof={"kind": "code", "value": "0"})
        assert (wrong["code"], wrong["tries_left"], wrong["retry"]) == ("wrong_code", 2, False)
        caller = Caller(node, "d1", Role.DRIVER)
        path = f"/v1/driver/jobs/{job['job']}/progress"
        body = {"attempt": job["attempt"], "step": "delivered"}
        answer = await caller.post(path, body | {"proof": {"kind": "code", "value": "1"}})
        assert problem(answer, 409, "wrong_code")["tries_left"] == 1
        answer = await caller.post(path, body)
        assert problem(answer, 409, "proof_needed")["missing"] == ["pin"]
        answer = await caller.post(path, body | {"proof": {"kind": "code", "value": "471147"}})
        assert answer.json()["job_state"] == "delivered"
    seen = await node.job(job["job"])
    assert "pin" not in seen["dropoff"]


@pytest.mark.finding("D6")
async def test_last_wrong_pin_counts_as_an_alert(node: RunningNode) -> None:
    async with open_app(node.ws, node.token("d1")) as driver:
        await driver.go_online(position=NEAR)
        job = await held_by(node, driver, dropoff={**HOME, "name": "Ada", "pin": "471147"})
        await driver.progress(job, "picked_up")
        for value in ("0", "1", "2", "3"):
            await driver.progress(job, "delivered", proof={"kind": "code", "value": value})
    assert await node.metric('mallard_alerts_total{kind="wrong_code"}') == 1


@pytest.mark.finding("D7")
async def test_problem_is_read_logged_and_counted(node: RunningNode) -> None:
    async with open_app(node.ws, node.token("d1")) as driver:
        await driver.go_online(position=NEAR)
        job = await held_by(node, driver)
        text = "dog\n{}\x1b[31m" + "x" * 400
        report = {"kind": "unsafe", "job": job["job"], "attempt": job["attempt"], "text": text}
        with capture_logs() as logs:
            for _ in range(2):
                assert (await driver.ask("problem", **report))["type"] == "reply"
    (line,) = [line for line in logs if line["event"] == "problem reported"]
    assert (line["log_level"], line["kind"], line["driver"]) == ("warning", "unsafe", "d1")
    assert line["job"] == job["job"]
    assert "dog" not in str(logs)  # a driver's text may name a customer
    assert await node.metric('mallard_problems_total{kind="unsafe"}') == 1
    (kept,) = (await node.job(job["job"]))["problems"]
    assert (kept["id"], kept["kind"], kept["text"]) == ("p1", "unsafe", text)
    assert (kept["state"], kept["until"]) == ("open", None)


async def test_problem_is_shown_with_its_fields(node: RunningNode) -> None:
    async with open_app(node.ws, node.token("d1")) as driver:
        await driver.go_online(position=NEAR)
        job = await held_by(node, driver)
        until_ms = node.node.store.now_ms() // 1000 * 1000 + 600_000
        report = {"kind": "not_ready", "store": "lego", "until_ms": until_ms, "text": "ten minutes"}
        await driver.ask("problem", job=job["job"], attempt=job["attempt"], **report)
    (shown,) = (await node.job(job["job"]))["problems"]
    assert shown.keys() == {"id", "kind", "store", "text", "at", "until", "state"}
    assert {name: shown[name] for name in ("kind", "store", "text", "state")} == {
        "kind": "not_ready",
        "store": "lego",
        "text": "ten minutes",
        "state": "open",
    }
    assert epoch_ms(datetime.fromisoformat(shown["until"])) == until_ms


@pytest.mark.parametrize("action", AnswerAction)
async def test_each_answer_to_a_problem_reaches_the_driver(
    node: RunningNode, action: AnswerAction
) -> None:
    async with open_app(node.ws, node.token("d1")) as driver:
        await driver.go_online(position=NEAR)
        job = await held_by(node, driver)
        await driver.progress(job, "picked_up")
        report = {"kind": "customer_unreachable", "job": job["job"], "attempt": job["attempt"]}
        await driver.ask("problem", **report)
        (asked,) = (await node.job(job["job"]))["problems"]
        answer = {"action": action.value, "text": "side door"}
        path = f"/v1/jobs/{job['job']}/problems/{asked['id']}/answer"
        answered = await Caller(node).post(path, answer)
        assert answered.status_code == 200, answered.text
        (shown,) = answered.json()["problems"]
        assert shown["state"] == "answered"
        assert {name: shown["answer"][name] for name in ("action", "text", "actor")} == answer | {
            "actor": "shop"
        }
        while (update := await driver.receive("job"))["reason"] != "answer":
            pass
        assert update["answer"] == answer | {"problem": asked["id"]}
        state = "returning" if action is AnswerAction.RETURN else "picked_up"
        assert update["state"] == answered.json()["state"] == state


@pytest.mark.finding("D7")
@pytest.mark.parametrize("kind", ["refused", "wrong_address", "breakdown", "accident", "missing"])
async def test_every_problem_kind_is_accepted_without_a_job(node: RunningNode, kind: str) -> None:
    async with open_app(node.ws, node.token("d1")) as driver:
        await driver.hello(position=NEAR)
        with capture_logs() as logs:
            assert (await driver.ask("problem", kind=kind))["type"] == "reply"
    assert [line["kind"] for line in logs if line["event"] == "problem reported"] == [kind]
    assert await node.metric(f'mallard_problems_total{{kind="{kind}"}}') == 1


@pytest.mark.finding("D7")
async def test_reasons_are_read_logged_and_counted(node: RunningNode) -> None:
    async with (
        open_app(node.ws, node.token("d1")) as driver,
        open_app(node.ws, node.token("d2")) as other,
    ):
        await driver.go_online(position=NEAR)
        submitted = await node.submit()
        offer = await driver.receive("offer")
        with capture_logs() as logs:
            await driver.ask("decline", offer=offer["offer"], reason="too far")
            await driver.ask("decline", offer=offer["offer"], reason="too far")
            await other.go_online(position=NEAR)
            offer = await other.receive("offer")
            job = (await other.ask("accept", offer=offer["offer"]))["jobs"][0]
            await other.progress(job, "give_up", reason="flat tyre")
            await other.progress(job, "give_up", reason="flat tyre")
    given = [it["step"] for it in logs if it["event"] == "reason given"]
    assert given == ["decline", "give_up"]
    for step in ("decline", "give_up"):
        sample = f'mallard_driver_reasons_total{{given="yes",step="{step}"}}'
        assert await node.metric(sample) == 1
    explained = (await Caller(node).get(f"/v1/jobs/{submitted['id']}/explain")).json()
    reasons = {turn["outcome"]: turn.get("reason") for turn in explained["asked"]}
    assert (reasons["declined"], reasons["gave_up"]) == ("too far", "flat tyre")


JUST_NOW_MS = 1_800_000_000_000


@pytest.mark.finding("D7")
async def test_reason_to_return_is_stored_with_the_job(node: RunningNode) -> None:
    async with open_app(node.ws, node.token("d1")) as driver:
        await driver.go_online(position=NEAR)
        job = await held_by(node, driver)
        await driver.progress(job, "picked_up")
        with capture_logs() as logs:
            await driver.progress(job, "returning", at_ms=JUST_NOW_MS, reason="nobody home")
    assert [it["step"] for it in logs if it["event"] == "reason given"] == ["returning"]
    assert (await node.job(job["job"]))["reason"] == "nobody home"
