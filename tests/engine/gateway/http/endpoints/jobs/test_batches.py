"""Many orders, or cancellations, in one request: each as if it came alone."""

import json
from typing import Any

import httpx2
import pytest

from mallard_engine.core.model import Submission
from mallard_engine.ports import JobRef, StoreUnavailable, Submitted
from mallard_protocol.changes import MAX_ITEMS
from mallard_protocol.codes import Role
from tests.engine.gateway.conftest import NodeFactory, RunningNode
from tests.engine.gateway.driver_app import open_app
from tests.engine.gateway.http.endpoints.jobs.test_actions import collected, online
from tests.engine.gateway.http_support import Caller, order, pointers, problem

BATCH, CANCEL = "/v1/jobs:batch", "/v1/jobs:cancel"


@pytest.fixture
def shop(node: RunningNode) -> Caller:
    return Caller(node)


def items(count: int, **fields: Any) -> list[dict[str, Any]]:
    return [{"key": f"k{number}", "job": order(**fields)} for number in range(count)]


async def batch(shop: Caller, *each: dict[str, Any]) -> list[dict[str, Any]]:
    answer = await shop.post(BATCH, {"items": list(each)})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


def codes(results: list[dict[str, Any]]) -> list[tuple[int, str | None]]:
    return [(it["status"], it.get("problem", {}).get("code")) for it in results]


async def stored(shop: Caller) -> list[str]:
    """The ids of the service's jobs, newest first."""
    return [job["id"] for job in (await shop.get("/v1/jobs", limit=200)).json()["items"]]


async def test_batch_answers_each_item_in_order(shop: Caller) -> None:
    results = await batch(shop, *items(5))
    assert [it["key"] for it in results] == ["k0", "k1", "k2", "k3", "k4"]
    assert codes(results) == [(201, None)] * 5
    assert [it["replayed"] for it in results] == [False] * 5
    assert sorted(it["job"]["id"] for it in results) == sorted(await stored(shop))
    for it in results:
        assert (await shop.get(f"/v1/jobs/{it['job']['id']}")).json()["dropoff"]


async def test_repeated_batch_makes_no_second_job(shop: Caller) -> None:
    first, again = [await batch(shop, *items(3)) for _ in range(2)]
    assert [it["replayed"] for it in again] == [True] * 3
    assert [it["job"]["id"] for it in again] == [it["job"]["id"] for it in first]
    assert len(await stored(shop)) == 3


async def test_key_of_a_batch_is_that_of_a_single_submission(shop: Caller) -> None:
    single = (await shop.submit(order(), key="k0")).json()["id"]
    (result,) = await batch(shop, *items(1))
    assert (result["replayed"], result["job"]["id"]) == (True, single)


async def test_bad_items_leave_the_others_alone(shop: Caller) -> None:
    good = order(external_id="A")
    results = await batch(
        shop,
        {"key": "a", "job": good},
        {"key": "a", "job": good},
        {"key": "a", "job": order()},
        {"key": "b", "job": good},
        {"key": "c", "job": order(priority=101)},
        {"key": "d", "job": order(pickup={"mall": "no", "stores": [{"store": "lego"}]})},
        {"job": order()},
        {"key": None, "job": order()},
        {"key": "", "job": order()},
        {"key": "x y", "job": order()},
        {"key": 7, "job": order()},
        {"key": "e" * 256, "job": order()},
        {"key": "f"},
        {"key": "g", "job": []},
        {"key": "h", "job": order(state="delivered")},
        {"key": "i", "job": order(dropoff={"lat": 0, "lon": 0})},
        {"key": "j", "job": order()},
    )
    assert codes(results) == [
        (201, None),
        (201, None),
        (422, "idempotency_mismatch"),
        (409, "duplicate_external_id"),
        (422, "invalid_fields"),
        (422, "invalid_fields"),
        (400, "idempotency_key_missing"),
        (400, "idempotency_key_missing"),
        (400, "idempotency_key_invalid"),
        (400, "idempotency_key_invalid"),
        (400, "idempotency_key_invalid"),
        (400, "idempotency_key_invalid"),
        (422, "invalid_fields"),
        (422, "invalid_fields"),
        (422, "invalid_fields"),
        (422, "invalid_fields"),
        (201, None),
    ]
    assert [it["replayed"] for it in results[:2]] == [False, True]
    assert results[3]["problem"]["job"] == results[0]["job"]["id"]
    assert [error["pointer"] for error in results[4]["problem"]["errors"]] == ["/priority"]
    assert results[10]["key"] is None
    assert len(await stored(shop)) == 2


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/items"),
        ({"items": None}, "/items"),
        ({"items": []}, "/items"),
        ({"items": {}}, "/items"),
        ({"items": ["x"]}, "/items/0"),
        ({"items": [{"key": "a", "job": {}, "wait_s": 1}]}, "/items/0/wait_s"),
        ({"items": items(MAX_ITEMS + 1)}, "/items"),
        ({"items": items(1), "key": "x"}, "/key"),
        ([], ""),
    ],
)
async def test_bad_batch_is_refused_whole(shop: Caller, body: Any, pointer: str) -> None:
    assert pointers(await shop.post(BATCH, body)) == [pointer]
    assert await stored(shop) == []


async def test_batch_of_a_hundred_is_taken(shop: Caller) -> None:
    results = await batch(shop, *items(MAX_ITEMS))
    assert {it["status"] for it in results} == {201}
    assert len(await stored(shop)) == MAX_ITEMS


async def test_batch_has_a_limit_of_its_own_and_each_job_too(shop: Caller) -> None:
    big = order(metadata={f"m{n}": "x" * 500 for n in range(32)})
    assert (
        codes(await batch(shop, *[{"key": f"{n}", "job": big} for n in range(40)]))
        == [(201, None)] * 40
    )
    padded = order(dropoff={**order()["dropoff"], "note": "x" * 70_000})
    assert codes(await batch(shop, {"key": "p", "job": padded})) == [(413, "body_too_large")]
    over = json.dumps({"items": items(1)}) + " " * (1 << 20)
    answer = await shop.node.http.post(BATCH, content=over, headers=shop._headers())
    problem(answer, 413, "body_too_large")


async def test_batch_of_many_small_values_is_refused(shop: Caller) -> None:
    many = {"key": "a", "job": [{} for _ in range(6_000)]}
    problem(await shop.post(BATCH, {"items": [many]}), 400, "malformed_json")
    quoted = order(dropoff={**order()["dropoff"], "note": "[" * 900}, metadata={"a": "{" * 500})
    results = await batch(shop, *[{"key": f"{n}", "job": quoted} for n in range(20)])
    assert codes(results) == [(201, None)] * 20


async def test_other_roles_and_foreign_parameters_are_refused(shop: Caller) -> None:
    problem(await shop.post(f"{BATCH}?wait_s=1", {"items": items(1)}), 400, "bad_request")
    driver = Caller(shop.node, "d-1", Role.DRIVER)
    assert (await driver.post(BATCH, {"items": items(1)})).status_code in {401, 403}
    headers = shop._headers() | {"content-type": "text/csv"}
    answer = await shop.node.http.post(BATCH, content=b"x", headers=headers)
    problem(answer, 415, "unsupported_media_type")


async def test_each_item_counts_for_the_rate_limit(engine_node: NodeFactory) -> None:
    node = await engine_node(service_rate_per_s=0.05, service_burst=3)
    shop = Caller(node)
    answer = await shop.post(BATCH, {"items": items(5)})
    results = answer.json()["items"]
    assert codes(results) == [(201, None)] * 3 + [(429, "rate_limited")] * 2
    assert int(answer.headers["retry-after"]) >= 1
    assert ";r=0;" in answer.headers["ratelimit"]
    problem(await shop.submit(), 429, "rate_limited")


async def test_each_item_counts_for_the_quota(engine_node: NodeFactory) -> None:
    shop = Caller(await engine_node(service_open_jobs=2))
    results = await batch(shop, *items(4))
    assert codes(results) == [(201, None)] * 2 + [(429, "quota_exceeded")] * 2


async def test_outage_in_the_middle_loses_and_doubles_nothing(
    shop: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One reply is lost after the job was stored, one before, and the rest never arrives."""
    jobs = shop.node.node.store.jobs
    submit, calls = jobs.submit, 0

    async def failing(order: Submission) -> Submitted:
        nonlocal calls
        calls += 1
        if calls in {2, 3}:
            if calls == 2:
                await submit(order)
            raise StoreUnavailable("lost")
        if calls > 4:
            raise StoreUnavailable("away")
        return await submit(order)

    monkeypatch.setattr(jobs, "submit", failing)
    answer = await shop.post(BATCH, {"items": items(6)})
    first = answer.json()["items"]
    unavailable = (503, "store_unavailable")
    assert codes(first) == [(201, None), *[unavailable] * 2, (201, None), *[unavailable] * 2]
    assert answer.headers["retry-after"]
    monkeypatch.undo()
    again = await batch(shop, *items(6))
    assert codes(again) == [(201, None)] * 6
    assert [it["replayed"] for it in again] == [True, True, False, True, False, False]
    assert [again[n]["job"]["id"] for n in (0, 3)] == [first[n]["job"]["id"] for n in (0, 3)]
    assert len(await stored(shop)) == 6


async def test_failure_of_one_item_is_its_own(
    shop: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = shop.node.node.store.jobs
    submit = jobs.submit

    async def failing(order: Submission) -> Submitted:
        if order.need.priority == 7:
            raise RuntimeError("a bug")
        return await submit(order)

    monkeypatch.setattr(jobs, "submit", failing)
    bad = {"key": "bad", "job": order(priority=7)}
    results = await batch(shop, *items(1), bad, {"key": "z", "job": order()})
    assert codes(results) == [(201, None), (500, "internal"), (201, None)]
    assert "a bug" not in json.dumps(results)


# -- cancellations


async def cancel(shop: Caller, *ids: str, **fields: Any) -> httpx2.Response:
    return await shop.post(CANCEL, {"ids": list(ids)} | fields)


async def test_cancellations_are_answered_in_order(shop: Caller) -> None:
    made = [it["job"]["id"] for it in await batch(shop, *items(3))]
    foreign = (await Caller(shop.node, "other").submit()).json()["id"]
    ids = [made[2], "job_phoenix.nothing", made[0], foreign, made[2]]
    answer = await cancel(shop, *ids, reason="out_of_stock", note="sold")
    results = answer.json()["items"]
    assert [it["id"] for it in results] == ids
    found = (404, "not_found")
    assert codes(results) == [(200, None), found, (200, None), found, (200, None)]
    for it in (results[0], results[2]):
        job = it["job"]
        assert (job["state"], job["cancelled_by"]) == ("cancelled", "shop")
        assert (job["cancel_reason"], job["cancel_note"]) == ("out_of_stock", "sold")
        assert job["cancel_stage"] in {"queued", "scheduled"}
    assert (await shop.get(f"/v1/jobs/{made[1]}")).json()["state"] == "queued"


async def test_cancelled_job_on_board_comes_back(shop: Caller) -> None:
    async with open_app(shop.node.ws, shop.node.token("d-1")) as driver:
        await online(driver)
        made = await collected(shop, driver)
        for _ in range(2):
            (result,) = (await cancel(shop, made, reason="customer")).json()["items"]
            assert codes([result]) == [(202, None)]
            job = result["job"]
            assert (job["state"], job["cancel_requested"]) == ("returning", True)
            assert (job["cancel_reason"], job["cancel_stage"]) == ("customer", "picked_up")


async def test_text_of_a_cancellation_is_a_note(shop: Caller) -> None:
    (made,) = [it["job"]["id"] for it in await batch(shop, *items(1))]
    (result,) = (await cancel(shop, made, reason="fed up")).json()["items"]
    assert (result["job"]["cancel_reason"], result["job"]["cancel_note"]) == ("other", "fed up")


async def test_ended_job_is_not_cancellable(shop: Caller) -> None:
    (made,) = [it["job"]["id"] for it in await batch(shop, *items(1))]
    store = shop.node.node.store
    job = await store.jobs.get(made)
    await store.deadlines.expire(JobRef(made, job.mall), "nobody_in_reach", 0)
    (result,) = (await cancel(shop, made)).json()["items"]
    assert codes([result]) == [(409, "not_cancellable")]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/ids"),
        ({"ids": []}, "/ids"),
        ({"ids": "x"}, "/ids"),
        ({"ids": [1]}, "/ids/0"),
        ({"ids": [""]}, "/ids/0"),
        ({"ids": ["x" * 65]}, "/ids/0"),
        ({"ids": ["x"] * 101}, "/ids"),
        ({"ids": ["x"], "reason": ""}, "/reason"),
        ({"ids": ["x"], "reason": 1}, "/reason"),
        ({"ids": ["x"], "note": ""}, "/note"),
        ({"ids": ["x"], "why": "x"}, "/why"),
    ],
)
async def test_bad_list_of_cancellations_is_refused(shop: Caller, body: Any, pointer: str) -> None:
    assert pointers(await shop.post(CANCEL, body)) == [pointer]
