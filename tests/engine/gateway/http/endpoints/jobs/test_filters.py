"""The filters of the job list: by states and times, alone, together and page by page."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from mallard_engine.gateway.timestamps import Moment
from mallard_protocol.codes import Role
from tests.engine.contract.reading.test_instants import BAD, GOOD
from tests.engine.gateway.conftest import RunningNode
from tests.engine.gateway.http_support import Caller, order, problem

pytestmark = pytest.mark.finding("D10")

TIMES = ("created_from", "created_to", "updated_since")
# Forms that are possible in a query and not in a body.
NO_TIMES = (
    "nan",
    "-1",
    "inf",
    "1e308",
    "1795000000",
    "1795000000000",
    "now",
    "\0",
    "٢٠٢٦",
    "x" * 99,
)


@pytest.fixture
async def shop(engine_node: Callable[..., Awaitable[RunningNode]]) -> Caller:
    return Caller(await engine_node())


async def listed(caller: Caller, **query: Any) -> list[str]:
    answer = await caller.get("/v1/jobs", **query)
    assert answer.status_code == 200, answer.text
    return [item["id"] for item in answer.json()["items"]]


async def paged(caller: Caller, **query: Any) -> list[str]:
    """The same list with one job per page."""
    seen: list[str] = []
    cursor = ""
    for _ in range(20):
        answer = await caller.get("/v1/jobs", limit=1, cursor=cursor, **query)
        page = answer.json()
        seen += [item["id"] for item in page["items"]]
        if page["next_cursor"] is None:
            return seen
        cursor = page["next_cursor"]
    raise AssertionError(f"no end after {seen}")


async def made(shop: Caller, count: int) -> list[dict[str, Any]]:
    """Create jobs at different milliseconds, oldest first."""
    jobs: list[dict[str, Any]] = []
    for _ in range(count):
        jobs.append((await shop.submit()).json())
        await asyncio.sleep(0.002)
    return jobs


async def test_several_states_are_listed_together(shop: Caller) -> None:
    queued, cancelled, later = [job["id"] for job in await made(shop, 3)]
    await shop.post(f"/v1/jobs/{cancelled}/cancel")
    assert await listed(shop, state="cancelled") == [cancelled]
    assert await listed(shop, state="queued,cancelled") == [later, cancelled, queued]
    assert await listed(shop, state="queued,queued,delivered") == [later, queued]
    assert await paged(shop, state="queued,cancelled") == [later, cancelled, queued]
    assert await listed(shop, state="delivered,lost") == []


@pytest.mark.parametrize("state", ["", "sleepy", "queued,", ",queued", "queued,sleepy", "queued "])
async def test_unknown_state_is_refused(shop: Caller, state: str) -> None:
    found = problem(await shop.get("/v1/jobs", state=state), 400, "bad_request")
    assert "queued,offered" in found["detail"]


async def test_list_is_bounded_by_creation_times(shop: Caller) -> None:
    jobs = await made(shop, 4)
    first, second, third, last = [job["id"] for job in jobs]
    second_at, third_at = jobs[1]["created_at"], jobs[2]["created_at"]
    assert await listed(shop, created_from=second_at) == [last, third, second]
    assert await listed(shop, created_to=third_at) == [second, first]
    assert await listed(shop, created_from=second_at, created_to=third_at) == [second]
    assert await listed(shop, created_from=second_at, created_to=second_at) == []
    # A moment after its millisecond is after the job.
    after = datetime.fromisoformat(second_at) + timedelta(microseconds=1)
    assert await listed(shop, created_from=after.isoformat(), created_to=third_at) == []
    assert await listed(shop, created_to=after.isoformat()) == [second, first]
    # The same moment by another clock.
    there = datetime.fromisoformat(second_at).astimezone(timezone(timedelta(hours=-7)))
    assert await listed(shop, created_from=there.isoformat(), created_to=third_at) == [second]
    assert await listed(shop, created_from="2099-12-31T00:00:00Z") == []
    assert await listed(shop, created_to="1970-01-01T00:00:00Z") == []


async def test_reversed_time_range_is_refused(shop: Caller) -> None:
    query = {"created_from": "2026-11-22T00:00:00Z", "created_to": "2026-11-21T23:59:59Z"}
    found = problem(await shop.get("/v1/jobs", **query), 400, "bad_request")
    assert found["detail"] == "created_from is after created_to"


async def test_updated_since_lists_changed_jobs(shop: Caller) -> None:
    old, changed, new = await made(shop, 3)
    since = new["created_at"]
    assert await listed(shop, updated_since=since) == [new["id"]]
    cancelled = (await shop.post(f"/v1/jobs/{changed['id']}/cancel")).json()
    assert await listed(shop, updated_since=since) == [new["id"], changed["id"]]
    assert await listed(shop, updated_since=cancelled["updated_at"]) == [changed["id"]]
    soon = Moment.at_ms(shop.node.node.store.now_ms() + 600_000).isoformat()
    ready = {"store": "lego", "ready_at": soon}
    found = (await shop.post(f"/v1/jobs/{old['id']}/ready", ready)).json()
    assert found["updated_at"] > old["updated_at"]
    assert old["id"] in await listed(shop, updated_since=found["updated_at"])


async def test_filters_combine_with_cursors_and_markets(shop: Caller) -> None:
    jobs = await made(shop, 6)
    ids = [job["id"] for job in jobs]
    for ended in ids[1::2]:
        await shop.post(f"/v1/jobs/{ended}/cancel")
    asked = {
        "state": "cancelled,delivered",
        "created_from": jobs[1]["created_at"],
        "created_to": jobs[5]["created_at"],
    }
    operator = Caller(shop.node, "ops", Role.OPERATOR)
    for caller in (shop, operator):
        assert await listed(caller, **asked) == [ids[3], ids[1]]
        assert await paged(caller, **asked) == [ids[3], ids[1]]
        assert await listed(caller, **asked, market="phoenix") == [ids[3], ids[1]]
        assert await listed(caller, **asked, market="las-vegas") == []
        name = jobs[3].get("external_id", "none")
        assert await listed(caller, **asked, external_id=name) == []
    # A cursor of another query is a position in the same order.
    cursor = (await shop.get("/v1/jobs", limit=2)).json()["next_cursor"]
    assert await listed(shop, cursor=cursor, state="cancelled") == [ids[3], ids[1]]
    assert await listed(shop, cursor=cursor, created_from=jobs[3]["created_at"]) == [ids[3]]
    assert await listed(shop, cursor=cursor, created_to=jobs[1]["created_at"]) == [ids[0]]


async def test_external_id_combines_with_times(shop: Caller) -> None:
    first = (await shop.submit(order(external_id="A"))).json()
    await shop.post(f"/v1/jobs/{first['id']}/cancel")
    again = (await shop.submit(order(external_id="A"))).json()
    since = again["created_at"]
    assert await listed(shop, external_id="A", created_to=since) == [first["id"]]
    assert await listed(shop, external_id="A", created_from=since) == [again["id"]]
    assert await listed(shop, external_id="A", state="cancelled,lost") == [first["id"]]


async def test_jobs_of_other_services_match_no_filter(shop: Caller) -> None:
    await made(shop, 2)
    other = Caller(shop.node, "other")
    assert await listed(other, state="queued", created_from="2000-01-01T00:00:00Z") == []


@pytest.mark.finding("D1")
@pytest.mark.parametrize("name", TIMES)
async def test_time_out_of_bounds_is_refused_in_a_query(shop: Caller, name: str) -> None:
    for wrong in (*(text for text in BAD if isinstance(text, str)), *NO_TIMES):
        found = problem(await shop.get("/v1/jobs", **{name: wrong}), 400, "bad_request")
        assert found["detail"].startswith(f"{name} is not "), (wrong, found)
    for good in GOOD:
        await listed(shop, **{name: good})


@pytest.mark.finding("D1")
async def test_unescaped_plus_sign_is_explained(shop: Caller) -> None:
    headers = shop.node.bearer(shop.sub, shop.role)
    raw = "/v1/jobs?updated_since=2026-11-22T16:10:00+01:00"
    found = problem(await shop.node.http.get(raw, headers=headers), 400, "bad_request")
    assert "%2B" in found["detail"]
    repeated = "/v1/jobs?created_to=2026-11-22T16:10:00Z&created_to=2026-11-22T16:10:00Z"
    problem(await shop.node.http.get(repeated, headers=headers), 400, "bad_request")
