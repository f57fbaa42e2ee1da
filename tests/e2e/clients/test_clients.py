"""The Python clients against a real node."""

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mallard_client import (
    DriverClient,
    FileStorage,
    JobRequest,
    OrderClient,
    OrderClientSync,
    Pay,
    Risk,
    ServiceLevel,
)
from mallard_client.driver.state import HeldJob
from mallard_client.errors import ApiProblem, RequestRefused, Stopped
from mallard_client.operator_client import OperatorClient, OperatorClientSync
from mallard_protocol.codes import SUBPROTOCOL_JSON, SUBPROTOCOL_MSGPACK
from mallard_protocol.lifecycle import DriverState, Step, Wish
from mallard_protocol.messages import Offer, Proof
from mallard_protocol.resources import Job, PayView
from tests.e2e.app import PNG
from tests.e2e.conftest import Node, make_token
from tests.e2e.places import Place
from tests.e2e.shop import soon
from tests.support import GUARD_S, eventually

Hire = Callable[..., DriverClient]


@pytest.fixture
async def hire(node: Node) -> AsyncIterator[Hire]:
    """Make clients of new drivers; they leave with the test."""
    async with AsyncExitStack() as stack:

        def hire(token: Any = None, **options: Any) -> DriverClient:
            name = f"client-{uuid.uuid4().hex[:12]}"
            token = token or make_token(name, "driver", market="phoenix")
            app = DriverClient(node.socket_url, token, location_every_ms=50, **options)
            app.start()
            stack.push_async_callback(_leave, app)
            return app

        yield hire


@pytest.fixture
async def orders(node: Node) -> AsyncIterator[OrderClient]:
    token = make_token(f"shop-{uuid.uuid4().hex[:12]}", "orders")
    async with OrderClient(node.url, token) as client:
        yield client


@pytest.mark.parametrize("subprotocol", [SUBPROTOCOL_MSGPACK, SUBPROTOCOL_JSON])
async def test_job_is_delivered_end_to_end(
    hire: Hire, orders: OrderClient, place: Place, subprotocol: str
) -> None:
    app = hire(subprotocol=subprotocol)
    await _go_online(app, place)
    job = await orders.submit(place.order())
    (held,) = await app.accept(await _offer_of(app, job))
    assert held.job == job.id
    assert held.detail.dropoff.name == "Ada Private"
    assert app.state == DriverState.ON_RUN
    assert (await orders.wait(job.id)).state == "assigned"

    for step in (Step.AT_MALL, Step.PICKED_UP, Step.DELIVERED):
        await app.progress(job.id, step)
    done = await orders.wait(job.id, for_end=True, timeout_s=GUARD_S)
    assert done.state == "delivered"
    assert [entry.state for entry in done.timeline][-3:] == ["at_mall", "picked_up", "delivered"]
    assert app.jobs == {}
    assert app.state == DriverState.AVAILABLE


async def test_declined_job_is_offered_to_the_next_driver(
    hire: Hire, orders: OrderClient, place: Place
) -> None:
    near, far = hire(), hire()
    await _go_online(near, place)
    await _go_online(far, place, metres=3_000)
    job = await orders.submit(place.order())
    await near.decline(await _offer_of(near, job), "not today")
    await far.accept(await _offer_of(far, job))
    asked = (await orders.explain(job.id)).asked
    assert [turn.outcome for turn in asked] == ["declined", "accepted"]


async def test_reports_survive_a_lost_socket(hire: Hire, orders: OrderClient, place: Place) -> None:
    app = hire()
    held = await _taken(app, orders, place)
    app.drop()
    reports = [
        app.progress(held.job, step) for step in (Step.AT_MALL, Step.PICKED_UP, Step.DELIVERED)
    ]
    replies = await asyncio.gather(*reports)
    assert [reply.job_state for reply in replies] == ["at_mall", "picked_up", "delivered"]
    assert (await orders.get(held.job)).state == "delivered"


@pytest.mark.finding("C15")
async def test_reports_survive_a_kill_of_the_app(
    node: Node, hire: Hire, orders: OrderClient, place: Place, tmp_path: Path
) -> None:
    token = make_token(f"client-{uuid.uuid4().hex[:12]}", "driver", market="phoenix")
    app = hire(token, storage=FileStorage(tmp_path / "driver.json"))
    held = await _taken(app, orders, place)
    app.drop(away_s=60)
    await eventually(lambda: not app.connected)
    for step in ("at_mall", "picked_up", "delivered"):
        app.progress(held.job, step)
    kept = (tmp_path / "driver.json").read_bytes()
    await app.stop()
    (tmp_path / "driver.json").write_bytes(kept)  # as a kill would have left it

    async with DriverClient(
        node.socket_url, token, storage=FileStorage(tmp_path / "driver.json")
    ) as again:
        assert again.unreported == 3
        await eventually(lambda: again.unreported == 0)
        assert again.jobs == {}
    done = await orders.wait(held.job, for_end=True, timeout_s=GUARD_S)
    assert [entry.state for entry in done.timeline][-3:] == ["at_mall", "picked_up", "delivered"]


async def test_custody_claim_after_the_job_was_lost(
    hire: Hire, orders: OrderClient, place: Place, short_silence: None
) -> None:
    app = hire()
    held = await _taken(app, orders, place)
    first_attempt = held.attempt
    # Offline for longer than `resume_ttl_s`: the engine considers the driver silent.
    app.drop(away_s=3.5)
    collected = app.progress(held.job, Step.PICKED_UP)
    delivered = app.progress(held.job, Step.DELIVERED)
    await eventually(lambda: _state_is(orders, held.job, "queued"))
    reply = await collected
    assert reply.job_state == "picked_up"
    assert isinstance(reply.attempt, int)
    assert reply.attempt > first_attempt
    assert (await delivered).job_state == "delivered"


async def test_token_is_renewed_before_it_expires(hire: Hire, place: Place) -> None:
    name = f"client-{uuid.uuid4().hex[:12]}"
    given: list[str] = []

    def provider() -> str:
        soon = time.time() + (2 if not given else 3600)
        given.append(make_token(name, "driver", market="phoenix", exp=soon))
        return given[-1]

    app = hire(provider)
    await _go_online(app, place)
    await eventually(lambda: len(given) == 2)
    await eventually(lambda: app.connected)


async def test_token_of_another_role_stops(hire: Hire) -> None:
    app = hire(make_token("shop", "orders"))
    with pytest.raises(Stopped) as stopped:
        await app.online()
    assert stopped.value.close_code == 4503


async def test_refused_request_raises_a_typed_error(
    hire: Hire, orders: OrderClient, place: Place
) -> None:
    app = hire()
    await _go_online(app, place)
    job = await orders.submit(place.order())
    offer = await _offer_of(app, job)
    await orders.cancel(job.id, "changed my mind")
    with pytest.raises(RequestRefused) as refused:
        await app.accept(offer)
    assert refused.value.code == "offer_closed"


async def test_async_order_client_works_end_to_end(orders: OrderClient, place: Place) -> None:
    order = place.order()
    first = await orders.submit(order, key="once")
    again = await orders.submit(order, key="once")
    assert first.id == again.id
    with pytest.raises(ApiProblem) as mismatch:
        await orders.submit(place.order(), key="once")
    assert (mismatch.value.status, mismatch.value.code) == (422, "idempotency_mismatch")
    with pytest.raises(ApiProblem) as duplicate:
        await orders.submit(order)
    assert duplicate.value.job == first.id
    with pytest.raises(ApiProblem) as wrong:
        await orders.submit({**place.order(), "driver": "me"})
    assert wrong.value.errors[0].pointer == "/driver"

    others = [(await orders.submit(place.order())).id for _ in range(4)]
    listed = [job.id async for job in orders.jobs(market="phoenix", limit=2)]
    assert listed == [*reversed(others), first.id]
    assert (await orders.cancel(first.id)).state == "cancelled"
    since = [job.id async for job in orders.jobs(created_from=first.created_at, state=["queued"])]
    assert since == [*reversed(others)]
    assert (await orders.quote(place.order())).why_not
    assert {market.id for market in await orders.markets()} >= {"phoenix", "las-vegas"}
    assert (await orders.market("phoenix")).malls


@pytest.mark.parametrize(
    ("due_h", "risks"), [(3.0, {Risk.NONE}), (0.15, {Risk.AT_RISK, Risk.LATE})]
)
async def test_order_client_types_pay_level_and_risk(
    orders: OrderClient, place: Place, due_h: float, risks: set[Risk]
) -> None:
    body = place.order()
    body["pickup"]["window_end"] = body["dropoff"]["deadline"] = soon(hours=due_h)
    order = msgspec.structs.replace(
        msgspec.convert(body, JobRequest),
        service_level=ServiceLevel.EXPRESS,
        pay=Pay(900, "USD", max_minor=1_500),
    )
    job = await orders.submit(order)

    async def risk_is_seen() -> bool:
        return (await orders.get(job.id)).risk in risks

    await eventually(risk_is_seen)  # of the next sweep
    for seen in (await orders.get(job.id), (await orders.page()).items[0]):
        assert seen.service_level == ServiceLevel.EXPRESS
        assert isinstance(seen.pay, PayView)
        assert (seen.pay.amount_minor, seen.pay.max_minor) == (900, 1_500)
        assert seen.risk in risks
    explained = await orders.explain(job.id)
    assert explained.risk in risks
    assert explained.pay == job.pay
    assert (await orders.cancel(job.id)).risk is msgspec.UNSET


async def test_clients_handle_proof_and_tracking(hire: Hire, node: Node, place: Place) -> None:
    app, token = hire(), make_token(f"shop-{uuid.uuid4().hex[:12]}", "orders")
    await _go_online(app, place)
    async with OrderClient(node.url, token) as orders:
        job = await orders.submit(place.order(proof_required=["photo", "signature"]))
        (held,) = await app.accept(await _offer_of(app, job))
        assert held.detail.proof_required == ("photo", "signature")
        assert job.tracking_url
        seen = await orders.tracking(job.id)
        assert (await orders.track(job.tracking_url), seen.stops_before) == (seen, 0)
        await app.progress(job.id, "picked_up")
        missing = []
        for kind in ("photo", "signature"):
            with pytest.raises(RequestRefused) as refused:
                await app.progress(job.id, "delivered")
            missing.append(refused.value.missing)
            proof = Proof(kind, await app.upload_proof(PNG))
            with contextlib.suppress(RequestRefused):
                await app.progress(job.id, "delivered", proof=proof)
        assert missing == [("photo", "signature"), ("signature",)]
        assert (await orders.get(job.id)).state == "delivered"
        given = await orders.proofs(job.id)
        assert [it.kind for it in given if it.url] == ["photo", "signature"]
    with pytest.raises(ApiProblem) as problem:
        await app.upload_proof(b"no image")
    assert problem.value.code == "unsupported_media_type"
    await asyncio.to_thread(_reads_and_ends_tracking, node.url, token, job)


def _reads_and_ends_tracking(url: str, token: str, job: Job) -> None:
    with OrderClientSync(url, token) as orders:
        assert len(orders.proofs(job.id)) == 2
        assert orders.tracking(job.id) == orders.track(job.tracking_url or "")
        for _ in range(2):
            orders.end_tracking(job.id)
        with pytest.raises(ApiProblem) as gone:
            orders.track(job.tracking_url or "")
        assert gone.value.status == 404


def test_sync_order_client_works_end_to_end(node: Node, place: Place) -> None:
    token = make_token(f"shop-{uuid.uuid4().hex[:12]}", "orders")
    with OrderClientSync(node.url, token) as orders:
        job = orders.submit(place.order())
        assert orders.wait(job.id, timeout_s=0).id == job.id
        assert [listed.id for listed in orders.jobs()] == [job.id]
        assert orders.cancel(job.id).terminal


async def test_order_client_changes_and_ends_many_orders(orders: OrderClient, place: Place) -> None:
    made = await orders.submit_many({f"{n}": place.order() for n in range(3)})
    assert [it.status for it in made] == [201] * 3
    jobs = [it.job.id for it in made if it.job is not msgspec.UNSET]
    tagged = await orders.get_tagged(jobs[0])
    changed = await orders.change(jobs[0], {"priority": 7}, if_match=tagged.etag)
    assert changed.priority == 7
    with pytest.raises(ApiProblem) as refused:
        await orders.change(jobs[0], {"priority": 8}, if_match=tagged.etag)
    assert refused.value.code == "precondition_failed"
    ended = await orders.cancel_many(jobs, "duplicate")
    assert [it.status for it in ended] == [200] * 3


async def test_operator_client_works_end_to_end(
    hire: Hire, node: Node, orders: OrderClient, place: Place
) -> None:
    app = hire()
    changed: list[object] = []
    app.listen(changed.append)
    await _go_online(app, place, metres=30_000)  # out of the engine's reach, not of an operator's
    job = await orders.submit(place.order())
    async with OperatorClient(node.url, make_token("op", "operator")) as operator:
        (driver,) = (
            driver
            for driver in await operator.drivers("phoenix", near=place.north(30_000), radius_m=500)
            if driver.state == "available"
        )
        await operator.assign(job.id, driver.driver)
        await eventually(lambda: job.id in app.jobs)
        await operator.unassign(job.id, "a mistake")
        await eventually(lambda: job.id not in app.jobs)
        await operator.suspend("phoenix", driver.driver, "a complaint")
        await operator.resume("phoenix", driver.driver)


async def _go_online(app: DriverClient, place: Place, metres: float = 0) -> None:
    lat, lon = place.north(metres)
    app.location(lat, lon, acc_m=5)
    await app.status(Wish.AVAILABLE)


async def _offer_of(app: DriverClient, job: Job) -> Offer:
    async with asyncio.timeout(GUARD_S):
        offer = await anext(app.offers())
    assert [offered.job for offered in offer.jobs] == [job.id]
    return offer


async def _taken(app: DriverClient, orders: OrderClient, place: Place) -> HeldJob:
    await _go_online(app, place)
    job = await orders.submit(place.order())
    (held,) = await app.accept(await _offer_of(app, job))
    return held


async def _state_is(orders: OrderClient, job: str, state: str) -> bool:
    return (await orders.get(job)).state == state


async def _leave(app: DriverClient) -> None:
    if app.connected:
        for held in app.jobs.values():
            app.progress(held.job, Step.GIVE_UP)
        await eventually(lambda: app.unreported == 0)
        await app.status(Wish.OFFLINE)
    await app.stop()


async def test_operator_clients_control_a_deployment(node: Node, place: Place) -> None:
    market, token = "phoenix", make_token("op", "operator")
    async with OperatorClient(node.url, token) as operator:
        paused = await operator.pause(market, mall=place.mall, store="lego", reason="flood")
        assert (paused.paused, paused.by, paused.reason) == (True, "op", "flood")
        assert not (await operator.unpause(market, mall=place.mall, store="lego")).paused
        current = await operator.policy(market)
        changed = await operator.put_policy(
            market, {**current.set, "cooldown_s": 7}, version=current.version
        )
        assert changed.effective["cooldown_s"] == 7
        with pytest.raises(ApiProblem) as stale:
            await operator.put_policy(market, {}, version=current.version)
        assert stale.value.code == "precondition_failed"
        assert (await operator.put_policy(market, {})).set == {}
        assert (await operator.revoke_tokens("nobody", "driver", market)).market == market
        assert (await operator.alerts(state="open")).items is not None
        with pytest.raises(ApiProblem):
            await operator.acknowledge("alert_phoenix.0-0")
        with pytest.raises(ApiProblem):
            await operator.retry("dead_phoenix.x")
        done = [entry.operation for entry in (await operator.audit(actor="op")).items]
        assert {"pauseStore", "resumeStore", "setPolicy", "revokeTokens"} <= set(done)
    await asyncio.to_thread(_control_without_asyncio, node.url, token, place.mall)


def _control_without_asyncio(url: str, token: str, mall: str) -> None:
    with OperatorClientSync(url, token) as operator:
        assert operator.pause("phoenix", mall=mall).paused
        assert not operator.unpause("phoenix", mall=mall).paused
        assert operator.policy("phoenix").set == {}
        assert operator.dead_letters().next_cursor is None
        assert operator.alerts(market="phoenix").next_cursor is None
        assert operator.drivers("phoenix") is not None
        assert operator.audit().items
