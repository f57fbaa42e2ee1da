"""The operations on endpoints of webhooks: the contract line by line, and bad input."""

import asyncio
from datetime import datetime
from typing import Any

import httpx2
import pytest

from mallard_engine.gateway.timestamps import epoch_ms
from mallard_protocol.codes import Role
from tests.engine.gateway.conftest import NodeFactory, RunningNode
from tests.engine.gateway.http_support import at
from tests.engine.gateway.webhooks.receiver import Heard, Receiver, always, answer
from tests.engine.gateway.webhooks.support import call, create, deliveries, read
from tests.support import eventually

URL = "https://8.8.8.8/hook"
DAY_MS = 86_400_000
# Redis's clock, as a node knows it, is late by the time that its process stood still.
MINUTE_MS = 60_000


async def test_new_endpoint_shows_its_secret_once(node: RunningNode) -> None:
    body = {"url": URL, "types": ["job.created"], "markets": ["phoenix"], "description": "a"}
    response = await call(node, "POST", json=body)
    assert response.status_code == 201
    made = response.json()
    assert response.headers["location"] == f"/v1/webhooks/{made['id']}"
    assert made["secret"].startswith("whsec_")
    assert made["state"] == "enabled"
    assert {name: made[name] for name in body} == body
    assert made["owner"] == "shop"
    listed = (await call(node, "GET")).json()
    assert listed["next_cursor"] is None
    (one,) = listed["items"]
    assert one == (await call(node, "GET", f"/{made['id']}")).json()
    assert made == one | {"secret": made["secret"]}


async def test_lists_are_read_page_by_page(node: RunningNode) -> None:
    made = [(await create(node, URL))["id"] for _ in range(5)]
    seen: list[str] = []
    cursor = ""
    while cursor is not None:
        page = (await call(node, "GET", params={"limit": 2, "cursor": cursor})).json()
        seen += [it["id"] for it in page["items"]]
        cursor = page["next_cursor"]
    assert sorted(seen) == sorted(made)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/url"),
        ({"types": []}, "/url"),
        ({"url": URL}, "/types"),
        ({"url": None, "types": []}, "/url"),
        ({"url": URL, "types": None}, "/types"),
        ({"url": 1, "types": []}, "/url"),
        ({"url": "", "types": []}, "/url"),
        ({"url": "https://a.example/" + "a" * 2_048, "types": []}, "/url"),
        ({"url": "http://8.8.8.8/", "types": []}, "/url"),
        ({"url": "https://127.0.0.1:80/", "types": []}, "/url"),
        ({"url": "https://10.0.0.1/", "types": []}, "/url"),
        ({"url": "https://localhost.:8443/", "types": []}, "/url"),
        ({"url": "https://u:p@8.8.8.8/", "types": []}, "/url"),
        ({"url": URL, "types": "job.created"}, "/types"),
        ({"url": URL, "types": ["job.creatd"]}, "/types/0"),
        ({"url": URL, "types": ["job.created", 1]}, "/types/1"),
        ({"url": URL, "types": ["job.created"] * 100}, "/types"),
        ({"url": URL, "types": ["job.created", "driver.online"]}, "/types/1"),
        ({"url": URL, "types": [], "markets": ["phoenix", "atlantis"]}, "/markets/1"),
        ({"url": URL, "types": [], "markets": ["a b"]}, "/markets/0"),
        ({"url": URL, "types": [], "markets": "phoenix"}, "/markets"),
        ({"url": URL, "types": [], "markets": ["phoenix"] * 65}, "/markets"),
        ({"url": URL, "types": [], "description": 1}, "/description"),
        ({"url": URL, "types": [], "description": "a" * 501}, "/description"),
        ({"url": URL, "types": [], "secret": "whsec_x"}, ""),
        ({"url": URL, "types": [], "state": "enabled"}, ""),
    ],
)
async def test_bad_field_of_a_new_endpoint_is_refused(
    node: RunningNode, body: dict[str, Any], pointer: str
) -> None:
    response = await call(node, "POST", json=body)
    assert response.status_code == 422, response.text
    assert response.json()["code"] == "invalid_fields"
    assert pointer in [it["pointer"] for it in response.json()["errors"]] or not pointer
    assert not (await call(node, "GET")).json()["items"]


@pytest.mark.parametrize(
    "body",
    [
        {"url": "https://10.0.0.1/"},
        {"url": "http://8.8.8.8:8080/"},
        {"url": 5},
        {"types": ["nonsense"]},
        {"types": ["alert.raised"]},
        {"markets": ["atlantis"]},
        {"description": []},
        {"state": "on"},
        {"state": 1},
        {"owner": "x"},
        {"id": "wh_1"},
    ],
)
async def test_bad_field_of_a_change_changes_nothing(
    node: RunningNode, body: dict[str, Any]
) -> None:
    made = await create(node, URL)
    response = await call(node, "PATCH", f"/{made['id']}", json={"description": "new"} | body)
    assert response.status_code == 422
    assert await read(node, made["id"]) | {"secret": made["secret"]} == made


async def test_errors_are_reported_together(node: RunningNode) -> None:
    body = {"url": "https://10.0.0.1/", "types": ["driver.wake"], "markets": ["atlantis"]}
    response = await call(node, "POST", json=body)
    assert [it["pointer"] for it in response.json()["errors"]] == ["/url", "/types/0", "/markets/0"]


async def test_change_replaces_what_it_names(node: RunningNode) -> None:
    made = await create(node, URL, types=("job.created",), description="a")
    change = {"url": "https://9.9.9.9/", "markets": ["phoenix"], "description": None}
    response = await call(node, "PATCH", f"/{made['id']}", json=change)
    assert response.status_code == 200
    seen = response.json()
    assert (seen["url"], seen["markets"]) == ("https://9.9.9.9/", ["phoenix"])
    assert (seen["types"], seen["description"]) == (["job.created"], "a")
    assert "secret" not in seen
    assert (await call(node, "PATCH", f"/{made['id']}", json={"types": []})).json()["types"] == []
    assert (await call(node, "PATCH", f"/{made['id']}", json={})).status_code == 200


async def test_changes_at_once_are_all_kept(node: RunningNode) -> None:
    made = await create(node, URL)
    changes: list[dict[str, Any]] = [
        {"description": "a"}, {"markets": ["phoenix"]}, {"types": ["job.created"]},
    ]  # fmt: skip
    await asyncio.gather(*(call(node, "PATCH", f"/{made['id']}", json=it) for it in changes))
    seen = await read(node, made["id"])
    for change in changes:
        assert seen | change == seen


async def test_owner_disables_and_enables(node: RunningNode) -> None:
    made = await create(node, URL)
    seen = (await call(node, "PATCH", f"/{made['id']}", json={"state": "disabled"})).json()
    assert (seen["state"], seen["disabled_reason"]) == ("disabled", "owner")
    assert seen["disabled_at"]
    replay = await call(
        node, "POST", f"/{made['id']}/replay", json={"from": "2026-01-01T00:00:00Z"}
    )
    assert (replay.status_code, replay.json()["code"]) == (409, "wrong_state")
    seen = (await call(node, "PATCH", f"/{made['id']}", json={"state": "enabled"})).json()
    assert seen["state"] == "enabled"
    assert "disabled_at" not in seen


async def test_deleted_endpoint_is_gone(node: RunningNode) -> None:
    made = await create(node, URL)
    response = await call(node, "DELETE", f"/{made['id']}")
    assert (response.status_code, response.content) == (204, b"")
    for method, path in ROUTES:
        assert (await call(node, method, path.format(made["id"]), json={})).status_code in {
            404,
            422,
        }
    assert (await call(node, "DELETE", f"/{made['id']}")).status_code == 404


ROUTES = [
    ("GET", "/{}"),
    ("PATCH", "/{}"),
    ("POST", "/{}/rotate"),
    ("POST", "/{}/test"),
    ("GET", "/{}/deliveries"),
    ("DELETE", "/{}"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_endpoint_of_another_service_is_missing(
    node: RunningNode, method: str, path: str
) -> None:
    made = await create(node, URL)
    response = await call(node, method, path.format(made["id"]), sub="other", json={})
    assert (response.status_code, response.json()["code"]) == (404, "not_found")
    replay = {"from": "2026-01-01T00:00:00Z"}
    path = f"/{made['id']}/replay"
    assert (await call(node, "POST", path, sub="other", json=replay)).status_code == 404
    assert await read(node, made["id"])


async def test_operator_sees_and_deletes_but_does_not_change(node: RunningNode) -> None:
    made = await create(node, URL)
    who: dict[str, Any] = {"sub": "ops", "role": Role.OPERATOR}
    assert [it["owner"] for it in (await call(node, "GET", **who)).json()["items"]] == ["shop"]
    assert (await call(node, "GET", f"/{made['id']}", **who)).status_code == 200
    assert (await call(node, "GET", f"/{made['id']}/deliveries", **who)).status_code == 200
    for method, path in [("PATCH", ""), ("POST", "/rotate"), ("POST", "/test")]:
        response = await call(node, method, f"/{made['id']}{path}", json={}, **who)
        assert (response.status_code, response.json()["code"]) == (403, "forbidden")
    assert (await call(node, "DELETE", f"/{made['id']}", **who)).status_code == 204


async def test_service_with_an_operators_name_is_another_owner(node: RunningNode) -> None:
    made = await create(node, URL, sub="ops", role=Role.OPERATOR)
    assert (await call(node, "GET", f"/{made['id']}", sub="ops")).status_code == 404
    assert (await call(node, "GET", sub="ops")).json()["items"] == []


@pytest.mark.parametrize("role", [Role.DRIVER, Role.STORE])
async def test_other_roles_have_no_webhooks(node: RunningNode, role: Role) -> None:
    response = await call(node, "GET", role=role)
    assert response.status_code == (404 if role is Role.STORE else 403)


async def test_no_token_is_refused(node: RunningNode) -> None:
    assert (await node.http.get("/v1/webhooks")).status_code == 401


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("", {"limit": 0}),
        ("", {"limit": 201}),
        ("", {"limit": "x"}),
        ("", {"cursor": "x"}),
        ("", {"cursor": "1/ /"}),
        ("", {"odd": 1}),
        ("/{}/deliveries", {"limit": 0}),
        ("/{}/deliveries", {"cursor": "x"}),
        ("/{}/deliveries", {"cursor": "-"}),
        ("/{}/deliveries", {"cursor": "+"}),
        ("/{}/deliveries", {"cursor": "(1-1"}),
        ("/{}/deliveries", {"odd": 1}),
        ("/{}", {"odd": 1}),
    ],
)
async def test_bad_query_is_refused(node: RunningNode, path: str, params: dict[str, Any]) -> None:
    made = await create(node, URL)
    response = await call(node, "GET", path.format(made["id"]), params=params)
    assert (response.status_code, response.json()["code"]) == (400, "bad_request")


@pytest.mark.parametrize("name", ["wh_x", "x%20y", "a" * 65, "%00", "wh_*"])
async def test_id_that_is_none_is_missing(node: RunningNode, name: str) -> None:
    assert (await call(node, "GET", f"/{name}")).status_code == 404


async def test_owner_has_fifty_endpoints_at_most(node: RunningNode) -> None:
    made = [await create(node, URL) for _ in range(50)]
    response = await call(node, "POST", json={"url": URL, "types": []})
    assert (response.status_code, response.json()["code"]) == (429, "quota_exceeded")
    assert "retry-after" in response.headers
    await create(node, URL, sub="other")
    await call(node, "DELETE", f"/{made[0]['id']}")
    await create(node, URL)


async def test_both_secrets_sign_after_a_rotation(node: RunningNode, receiver: Receiver) -> None:
    made = await create(node, receiver.url)
    response = await call(node, "POST", f"/{made['id']}/rotate")
    assert response.status_code == 200
    new = response.json()
    assert new["secret"] != made["secret"]
    until_ms = epoch_ms(datetime.fromisoformat(new["previous_until"]))
    assert abs(until_ms - node.node.store.now_ms() - DAY_MS) < MINUTE_MS

    async def both() -> bool:
        receiver.heard.clear()
        await node.submit()
        (heard,) = await receiver.hears(1)
        return heard.headers["webhook-signature"].count("v1,") == 2

    await eventually(both)
    (heard,) = receiver.heard
    assert heard.verified(made["secret"]) == heard.verified(new["secret"])


async def test_test_event_is_posted_at_once_and_returns_its_outcome(
    node: RunningNode, receiver: Receiver
) -> None:
    made = await create(node, receiver.url)
    done = (await call(node, "POST", f"/{made['id']}/test")).json()
    assert (done["outcome"], done["status"], done["type"]) == ("delivered", 204, "webhook.test")
    (heard,) = receiver.heard
    event = heard.verified(made["secret"])
    assert event["id"] == heard.id == done["event"]
    assert (event["type"], event["sequence"]) == ("webhook.test", 0)
    receiver.reply = always(answer(500))
    done = (await call(node, "POST", f"/{made['id']}/test")).json()
    assert (done["outcome"], done["status"], done["error"]) == ("failed", 500, "status")
    # A test is none of the endpoint's deliveries.
    assert await deliveries(node, made["id"]) == []
    assert "failing_since" not in await read(node, made["id"])


async def test_slow_tests_of_some_services_refuse_none_of_another(
    node: RunningNode, receiver: Receiver
) -> None:
    may_end = asyncio.Event()

    async def slowly(heard: Heard) -> bytes:
        if heard.path == "/slow":
            await may_end.wait()
        return answer(204)

    async def tested(sub: str, endpoint: dict[str, Any], role: Role = Role.ORDERS) -> int:
        answered = await call(node, "POST", f"/{endpoint['id']}/test", sub=sub, role=role)
        return answered.status_code

    receiver.reply = slowly
    slow = [f"slow-{number}" for number in range(2)]
    made = {sub: await create(node, receiver.url.replace("hook", "slow"), sub=sub) for sub in slow}
    tests = [asyncio.create_task(tested(sub, made[sub])) for sub in slow for _ in range(4)]
    await eventually(lambda: len(receiver.heard) == 8)
    assert await tested("shop", await create(node, receiver.url)) == 200
    assert await tested(slow[0], made[slow[0]]) == 429
    of_operator = await create(node, receiver.url, sub=slow[0], role=Role.OPERATOR)
    assert await tested(slow[0], of_operator, Role.OPERATOR) == 200
    may_end.set()
    assert await asyncio.gather(*tests) == [200] * 8


async def test_replay_posts_the_same_ids_again(node: RunningNode, receiver: Receiver) -> None:
    before = (await node.submit())["id"]
    await asyncio.sleep(0.005)  # the endpoint is newer by a millisecond
    made = await create(node, receiver.url)
    jobs = [(await node.submit())["id"] for _ in range(3)]
    await receiver.hears(3)
    first = {it.id for it in receiver.heard}
    receiver.heard.clear()
    response = await call(
        node, "POST", f"/{made['id']}/replay", json={"from": "1999-01-01T00:00:00+02:00"}
    )
    assert response.status_code == 202
    # Events are kept for a day; those of this test are the oldest.
    from_ms = epoch_ms(datetime.fromisoformat(response.json()["from"]))
    assert abs(from_ms - node.node.store.now_ms()) < MINUTE_MS
    await receiver.hears(4)
    again = {it.event["job"]: it.id for it in receiver.heard}
    assert again.keys() == {before, *jobs}
    assert {again[job] for job in jobs} == first


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"from": None},
        {"from": "yesterday"},
        {"from": 1},
        {"from": "2026-01-01T00:00:00"},
        {"from": "2200-01-01T00:00:00Z"},
        {"from": "2099-01-01T00:00:00Z"},
        {"from": "2026-01-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"},
    ],
)
async def test_bad_replay_is_refused(node: RunningNode, body: dict[str, Any]) -> None:
    made = await create(node, URL)
    response = await call(node, "POST", f"/{made['id']}/replay", json=body)
    assert response.status_code == 422


async def test_replay_from_now_allows_for_a_clock_that_is_ahead(node: RunningNode) -> None:
    made = await create(node, URL)
    now_ms = node.node.store.now_ms()
    for ahead_ms, status in [(900, 202), (60_000, 422)]:
        body = {"from": at(now_ms + ahead_ms)}
        response = await call(node, "POST", f"/{made['id']}/replay", json=body)
        assert response.status_code == status
        if status == 202:
            begins_ms = epoch_ms(datetime.fromisoformat(response.json()["from"]))
            assert now_ms <= begins_ms < now_ms + 900


async def test_log_is_read_page_by_page_newest_first(node: RunningNode, receiver: Receiver) -> None:
    made = await create(node, receiver.url)
    for _ in range(5):
        await node.submit()

    async def logged() -> bool:
        return len(await deliveries(node, made["id"])) == 5

    await eventually(logged)
    seen: list[str] = []
    cursor = ""
    while cursor is not None:
        page = await call(
            node, "GET", f"/{made['id']}/deliveries", params={"limit": 2, "cursor": cursor}
        )
        seen += [it["event"] for it in page.json()["items"]]
        cursor = page.json()["next_cursor"]
    assert sorted(seen) == sorted(it.id for it in receiver.heard)


async def test_private_address_needs_configuration(engine_node: NodeFactory) -> None:
    node = await engine_node()
    for url in ("https://127.0.0.1:8443/", "http://127.0.0.1:8080/", "https://localhost:8443/"):
        response = await call(node, "POST", json={"url": url, "types": []})
        assert response.status_code == 422, url


async def test_bounded_token_reaches_its_markets_only(node: RunningNode) -> None:
    token = node.token("shop", Role.ORDERS, markets=["phoenix"])
    headers = {"Authorization": f"Bearer {token}"}

    async def post(**fields: Any) -> httpx2.Response:
        body = {"url": URL, "types": [], **fields}
        return await node.http.post("/v1/webhooks", json=body, headers=headers)

    assert (await post()).json()["markets"] == ["phoenix"]
    assert (await post(markets=["las-vegas"])).status_code == 422
    wide = await create(node, URL)
    listed = (await node.http.get("/v1/webhooks", headers=headers)).json()["items"]
    assert [it["markets"] for it in listed] == [["phoenix"]]
    response = await node.http.get(f"/v1/webhooks/{wide['id']}", headers=headers)
    assert response.status_code == 404
