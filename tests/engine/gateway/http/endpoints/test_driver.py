"""A driver's requests over HTTP are executed by the code of the socket."""

from typing import Any

import pytest

from mallard_protocol.codes import Role
from tests.engine.gateway.conftest import HOME, NEAR, NodeFactory, RunningNode
from tests.engine.gateway.driver_app import open_app
from tests.engine.gateway.http_support import Caller, order, pointers, problem
from tests.support import eventually

pytestmark = pytest.mark.finding("C6")


def driver_of(node: RunningNode, driver: str = "d1") -> Caller:
    return Caller(node, driver, Role.DRIVER)


async def hung_up(node: RunningNode, driver: str = "d1", **status: Any) -> Caller:
    """A driver who was available and has just lost its socket."""
    async with open_app(node.ws, node.token(driver)) as app:
        await app.go_online(position=NEAR)
    caller = driver_of(node, driver)

    async def is_away() -> bool:
        return bool((await state(caller))["state"] == "offline")

    assert await eventually(is_away)
    return caller


async def state(caller: Caller) -> dict[str, Any]:
    answer = await caller.get("/v1/driver/state")
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


async def good(caller: Caller, path: str, body: Any = None) -> dict[str, Any]:
    answer = await caller.post(f"/v1/driver/{path}", body)
    assert answer.status_code == 200, answer.text
    reply: dict[str, Any] = answer.json()
    assert not {"type", "id"} & reply.keys()
    return reply


async def test_state_over_http_equals_welcome(node: RunningNode) -> None:
    caller = driver_of(node)
    problem(await caller.get("/v1/driver/state"), 404, "not_found")
    async with open_app(node.ws, node.token("d1")) as app:
        await app.go_online(position=NEAR)
        await node.submit()
        await app.receive("offer")
        shown = await state(caller)
    async with open_app(node.ws, node.token("d1")) as app:
        welcome = await app.hello(position=NEAR)
    varying = {"type", "session", "seq", "server_time_ms", "token_expires_ms", "offer"}
    assert {k: v for k, v in shown.items() if k not in varying} == {
        k: v for k, v in welcome.items() if k not in varying
    }
    assert shown["offer"]["offer"] == welcome["offer"]["offer"]
    problem(await Caller(node).get("/v1/driver/state"), 403, "forbidden")


async def test_offer_is_accepted_and_delivered_without_a_socket(node: RunningNode) -> None:
    caller = driver_of(node)
    async with open_app(node.ws, node.token("d1")) as app:
        await app.go_online(position=NEAR)
        job = await node.submit()
        offer = await app.receive("offer")
        await app.send("offer_ack", offer=offer["offer"])
        assert await app.ask("status", state="available")  # the acknowledgement is in
    accepted = await good(caller, f"offers/{offer['offer']}/accept")
    (full,) = accepted["jobs"]
    assert (accepted["state"], full["job"]) == ("on_run", job["id"])
    assert full["dropoff"]["name"] == "Ada"
    assert await good(caller, f"offers/{offer['offer']}/accept", {}) == accepted
    path = f"jobs/{job['id']}/progress"
    for step in ("at_mall", "picked_up", "picked_up", "delivered", "delivered"):
        reply = await good(caller, path, {"attempt": full["attempt"], "step": step})
        assert (reply["job"], reply["job_state"]) == (job["id"], step)
    assert (await node.job(job["id"]))["state"] == "delivered"
    assert (await state(caller))["jobs"] == []


async def test_offer_is_declined_without_a_socket(node: RunningNode) -> None:
    async with open_app(node.ws, node.token("d1")) as app:
        await app.go_online(position=NEAR)
        await node.submit()
        offer = (await app.receive("offer"))["offer"]
        caller = driver_of(node)
        declined = await good(caller, f"offers/{offer}/decline", {"reason": "too far"})
        assert declined["barred"]["why"] == "cooling_down"
        assert await good(caller, f"offers/{offer}/decline") == declined
        closed = await caller.post(f"/v1/driver/offers/{offer}/accept")
        problem(closed, 409, "offer_closed")


async def test_available_needs_a_fresh_position_over_http_too(engine_node: NodeFactory) -> None:
    node = await engine_node(stale_after_s=1)
    caller = await hung_up(node)
    await good(caller, "status", {"state": "paused"})

    async def is_refused() -> bool:
        answer = await caller.post("/v1/driver/status", {"state": "available"})
        return answer.status_code == 409 and answer.json()["code"] == "no_position"

    assert await eventually(is_refused)
    now_ms = node.node.store.now_ms()
    fix = [now_ms, NEAR["lat"], NEAR["lon"], 5.0, None, None]
    answer = await caller.post("/v1/driver/locations", {"fixes": [fix]})
    assert answer.json()["accepted"] == 1
    assert (await good(caller, "status", {"state": "available"}))["barred"] is None


async def test_refusal_over_http_has_the_code_of_the_socket(node: RunningNode) -> None:
    unknown = driver_of(node, "unknown")
    for path in ("status", "problems"):
        body = {"state": "paused"} if path == "status" else {"kind": "unsafe"}
        problem(await unknown.post(f"/v1/driver/{path}", body), 404, "not_found")
    caller = await hung_up(node)
    job = await node.submit()
    step = {"attempt": 1, "step": "picked_up"}
    cases: list[tuple[str, Any, int, str]] = [
        ("offers/nothing/accept", None, 404, "not_yours"),
        ("offers/no%20id/decline", None, 404, "not_yours"),
        (f"jobs/{job['id']}/progress", step, 404, "not_yours"),
        ("jobs/job_elsewhere.1/progress", step, 404, "not_yours"),
        ("problems", {"kind": "missing", "job": job["id"]}, 404, "not_yours"),
        ("status", {"state": "available", "until_ms": 1}, 422, "bad_field"),
    ]
    for path, body, status, code in cases:
        problem(await caller.post(f"/v1/driver/{path}", body), status, code)


async def test_holder_cannot_go_offline_over_http(node: RunningNode) -> None:
    caller = await hung_up(node)
    job = await node.submit()
    await node.order(f"/v1/jobs/{job['id']}/assign", driver="d1")
    answer = await caller.post("/v1/driver/status", {"state": "offline"})
    problem(answer, 409, "holds_jobs")
    attempt = (await state(caller))["jobs"][0]["attempt"]
    path = f"/v1/driver/jobs/{job['id']}/progress"
    old = {"attempt": attempt + 7, "step": "at_mall"}
    problem(await caller.post(path, old), 409, "stale_attempt")
    early = {"attempt": attempt, "step": "delivered"}
    problem(await caller.post(path, early), 409, "wrong_state")


async def test_unknown_fields_of_driver_bodies_are_refused(node: RunningNode) -> None:
    caller = await hung_up(node)
    for path, body, pointer in (
        ("status", {}, "/state"),
        ("status", {"state": "asleep"}, "/state"),
        ("status", {"state": "paused", "id": 1}, "/id"),
        ("status", {"state": "paused", "type": "status"}, "/type"),
        ("offers/x/accept", {"offer": "x"}, "/offer"),
        ("offers/x/decline", {"reason": 1}, "/reason"),
        ("jobs/x/progress", {"attempt": 1, "step": "fly"}, "/step"),
        (
            "jobs/x/progress",
            {"attempt": 1, "step": "at_mall", "proof": {"kind": "x"}},
            "/proof/kind",
        ),
        ("problems", {"kind": "bored"}, "/kind"),
    ):
        assert pointers(await caller.post(f"/v1/driver/{path}", body), "bad_field") == [pointer]
    answer = await node.http.post(
        "/v1/driver/status",
        content=b"x" * 70_000,
        headers=node.bearer("d1", Role.DRIVER) | {"Content-Type": "application/json"},
    )
    problem(answer, 413, "body_too_large")
    null = await good(caller, "status", {"state": "paused", "until_ms": None})
    assert null["state"] == "offline"


async def test_report_over_http_refreshes_the_lease(engine_node: NodeFactory) -> None:
    # Longer than a busy machine stops the test's process between two reports.
    node = await engine_node(
        resume_ttl_s=3, silence_stretch=1, at_mall_silence_s=3, break_after_s=0
    )
    caller = await hung_up(node)
    job = await node.submit()
    await node.order(f"/v1/jobs/{job['id']}/assign", driver="d1")
    started = node.node.store.now_ms()

    async def report() -> int:
        now_ms = node.node.store.now_ms()
        fix = [now_ms, NEAR["lat"], NEAR["lon"], 5.0, None, None]
        await caller.post("/v1/driver/locations", {"fixes": [fix]})
        return now_ms - started

    async def long_enough() -> bool:
        return await report() > 4_000

    assert await eventually(long_enough)
    seen = await node.job(job["id"])
    assert (seen["state"], seen["attempt"]) == ("assigned", 1)
    # No further report arrives: the limit counts from the last one.
    await node.job_in(job["id"], "queued")


ORIGIN = "https://driver.example"


async def test_allowed_origin_gets_cors_headers(engine_node: NodeFactory) -> None:
    node = await engine_node(allowed_origins=(ORIGIN,))
    caller = await hung_up(node)
    preflight = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    answer = await node.http.options("/v1/driver/locations", headers=preflight)
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert "POST" in answer.headers["access-control-allow-methods"]
    allowed = answer.headers["access-control-allow-headers"].lower().split(", ")
    wanted = {"authorization", "idempotency-key", "if-match", "last-event-id", "content-type"}
    assert wanted <= set(allowed)
    assert "Origin" in answer.headers["vary"]

    caller.headers["Origin"] = ORIGIN
    for answer in (
        await caller.get("/v1/driver/state"),
        await caller.get("/v1/nothing"),
        await caller.post("/v1/driver/status", {"state": "asleep"}),
        await caller.post("/v1/jobs", order(dropoff=HOME)),
    ):
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert "access-control-allow-credentials" not in answer.headers
        exposed = answer.headers["access-control-expose-headers"].lower().split(", ")
        assert {"location", "etag", "retry-after", "x-request-id"} <= set(exposed)
        assert "Origin" in answer.headers["vary"]


async def test_other_origin_gets_no_cors_headers(engine_node: NodeFactory) -> None:
    node = await engine_node(allowed_origins=(ORIGIN,))
    caller = await hung_up(node)
    foreign = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    answer = await node.http.options("/v1/driver/locations", headers=foreign)
    assert "access-control-allow-origin" not in answer.headers
    assert "Origin" in answer.headers["vary"]
    caller.headers["Origin"] = "https://evil.example"
    answer = await caller.get("/v1/driver/state")
    assert "access-control-allow-origin" not in answer.headers
    caller.headers["Origin"] = ORIGIN
    outside = await node.http.get("/livez", headers={"Origin": ORIGIN})
    assert "access-control-allow-origin" not in outside.headers
