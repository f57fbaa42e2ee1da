"""PATCH of an order: each field, its last moment, bad input."""

import asyncio
import json
from typing import Any

import pytest

from mallard_protocol.changes import FIXED_FROM
from mallard_protocol.codes import Role
from mallard_protocol.lifecycle import JobState
from tests.engine.gateway.conftest import HOME, MALL, NEAR, RunningNode
from tests.engine.gateway.driver_app import DriverApp, open_app
from tests.engine.gateway.http_support import Caller, at, order, pointers, problem

HOUR_MS = 3_600_000
ELSEWHERE = {"lat": HOME["lat"] + 0.01, "lon": HOME["lon"] + 0.01}


@pytest.fixture
def shop(node: RunningNode) -> Caller:
    return Caller(node)


async def online(driver: DriverApp) -> None:
    await driver.hello(position=NEAR)
    assert (await driver.ask("status", state="available"))["type"] == "reply"


async def rich(shop: Caller, **fields: Any) -> str:
    """An order with every optional field; its path."""
    stores = [{"store": "lego", "pickup_code": "11"}, {"store": "apple"}]
    body = order(
        pickup={"mall": MALL, "stores": stores},
        dropoff={**HOME, "address": "A", "name": "N", "contact": "C", "note": "X"},
        pay={"amount_minor": 900, "currency": "USD", "max_minor": 1_500},
        metadata={"a": 1, "b": 2},
    )
    answer = await shop.submit(body | fields)
    assert answer.status_code == 201, answer.text
    return f"/v1/jobs/{answer.json()['id']}"


def utc(epoch_ms: int) -> str:
    """A time as the API shows it again."""
    return at(epoch_ms // 1000 * 1000).replace("+00:00", "Z")


def good_time(shop: Caller) -> str:
    return utc(shop.node.node.store.now_ms() + HOUR_MS)


def good(shop: Caller) -> dict[str, Any]:
    """A good change of each field, by its pointer, and what it makes of the job."""
    now_ms = shop.node.node.store.now_ms()
    ready, ends = good_time(shop), utc(now_ms + 12 * HOUR_MS)

    def lego(**fields: Any) -> dict[str, Any]:
        return {"pickup": {"stores": [{"store": "lego", **fields}]}}

    return {
        "/requires": {"requires": ["id_check"]},
        "/service_level": {"service_level": "same_day"},
        "/pickup/stores/*/ready_at": lego(ready_at=ready),
        "/pickup/stores/*/pickup_code": lego(pickup_code="22"),
        "/pickup/window_end": {"pickup": {"window_end": ends}},
        "/priority": {"priority": 7},
        "/on_short": {"on_short": "hold"},
        "/on_missing": {"on_missing": "fail"},
        "/hold_s": {"hold_s": 600},
        "/on_undeliverable": {"on_undeliverable": "leave"},
        "/dropoff/note": {"dropoff": {"note": "ring"}},
        "/dropoff/contact": {"dropoff": {"contact": "+1"}},
        "/dropoff/name": {"dropoff": {"name": "Ann"}},
        "/dropoff/address": {"dropoff": {"address": "B"}},
        "/dropoff/lat": {"dropoff": {"lat": ELSEWHERE["lat"]}},
        "/dropoff/lon": {"dropoff": {"lon": ELSEWHERE["lon"]}},
        "/dropoff/deadline": {"dropoff": {"deadline": ends}},
        "/pay/amount_minor": {"pay": {"amount_minor": 1_000}},
        "/pay/currency": None,  # stays as it is
        "/pay/max_minor": {"pay": {"max_minor": 2_000}},
        "/metadata": {"metadata": {"c": True}},
    }


# What `with_a_good_field` and a bad value may name too: all that comes too late is named.
TOO_LATE_BESIDE = ("/dropoff/name", "/dropoff/lat", "/dropoff/lon", "/pickup/window_end")

# What nothing but a patch changes, whatever the job's rounds do meanwhile.
OF_THE_ORDER = ("dropoff", "requires", "priority", "on_short", "on_missing", "hold_s", "metadata")


def test_last_moment_of_each_field_matches_the_contract() -> None:
    until = {
        JobState.ASSIGNED: "/requires /service_level",
        JobState.PICKED_UP: "/pickup/stores/*/ready_at /pickup/stores/*/pickup_code"
        " /pickup/window_end /priority /on_short /on_missing /hold_s",
        None: "/on_undeliverable /dropoff/note /dropoff/contact /dropoff/name /dropoff/address"
        " /dropoff/lat /dropoff/lon /dropoff/deadline /pay/amount_minor /pay/currency"
        " /pay/max_minor /metadata",
    }
    assert {
        pointer: state for state, pointers in until.items() for pointer in pointers.split()
    } == FIXED_FROM


def value_at(job: dict[str, Any], pointer: str) -> Any:
    at: Any = job
    for name in pointer.replace("*", "0").split("/")[1:]:
        at = at[int(name)] if isinstance(at, list) else at[name]
    return at


@pytest.mark.parametrize("pointer", FIXED_FROM)
async def test_field_of_a_waiting_job_changes(shop: Caller, pointer: str) -> None:
    patch = good(shop)[pointer]
    path = await rich(shop)
    if patch is None:
        return
    before = (await shop.get(path)).json()
    answer = await shop.patch(path, patch)
    assert answer.status_code == 200, answer.text
    sent = value_at({**patch}, pointer)
    shown = value_at(answer.json(), pointer)
    assert shown == ({"a": 1, "b": 2, "c": True} if pointer == "/metadata" else sent)
    after = (await shop.get(path)).json()
    assert value_at(after, pointer) == shown
    changing = {"updated_at", "timeline", "state", "attempt", "expires_at", "eta", "risk", "held"}
    first = pointer.split("/")[1]
    # `id_check` implies a proof, and the window that nobody named ends with the deadline.
    follows = {"/requires": "proof_required", "/dropoff/deadline": "pickup"}
    same = before.keys() - changing - {first, follows.get(pointer)}
    assert {name: before[name] for name in same} == {name: after[name] for name in same}


@pytest.mark.parametrize(
    ("patch", "shown"),
    [
        ({"requires": None}, {"requires": []}),
        ({"priority": None}, {"priority": 0}),
        ({"on_short": None}, {"on_short": "deliver"}),
        ({"hold_s": None}, {"hold_s": 14_400}),
        ({"metadata": None}, {"metadata": None}),
        ({"metadata": {"a": None}}, {"metadata": {"b": 2}}),
        ({"metadata": {"a": None, "b": None}}, {"metadata": None}),
    ],
)
async def test_null_removes_an_optional_field(
    shop: Caller, patch: dict[str, Any], shown: dict[str, Any]
) -> None:
    path = await rich(shop, requires=["crate"], priority=5, on_short="fail", hold_s=600)
    job = (await shop.patch(path, patch)).json()
    assert {name: job.get(name) for name in shown} == shown


async def test_null_removes_nested_fields(shop: Caller) -> None:
    path = await rich(shop)
    patch = {
        "dropoff": dict.fromkeys(("address", "name", "contact", "note")),
        "pickup": {"stores": [{"store": "lego", "pickup_code": None}]},
        "pay": {"max_minor": None},
    }
    job = (await shop.patch(path, patch)).json()
    assert not {"address", "name", "contact", "note"} & job["dropoff"].keys()
    assert "pickup_code" not in job["pickup"]["stores"][0]
    assert job["pay"] == {"amount_minor": 900, "currency": "USD"}


async def test_window_follows_the_deadline_unless_named(shop: Caller) -> None:
    path = await rich(shop)
    ends = utc(shop.node.node.store.now_ms() + 10 * HOUR_MS)
    job = (await shop.patch(path, {"dropoff": {"deadline": ends}})).json()
    assert job["pickup"]["window_end"] == job["dropoff"]["deadline"] == ends
    window = utc(shop.node.node.store.now_ms() + 9 * HOUR_MS)
    await shop.patch(path, {"pickup": {"window_end": window}})
    later = utc(shop.node.node.store.now_ms() + 11 * HOUR_MS)
    job = (await shop.patch(path, {"dropoff": {"deadline": later}})).json()
    assert job["pickup"]["window_end"] == window
    job = (await shop.patch(path, {"pickup": {"window_end": None}})).json()
    assert job["pickup"]["window_end"] == later


BAD: list[tuple[Any, str]] = [
    ({"state": "delivered"}, "/state"),
    ({"external_id": "x"}, "/external_id"),
    ({"parcels": {"count": 1}}, "/parcels"),
    ({"pickup": None}, "/pickup"),
    ({"pickup": []}, "/pickup"),
    ({"pickup": {"mall": MALL}}, "/pickup/mall"),
    ({"pickup": {"stores": []}}, "/pickup/stores"),
    ({"pickup": {"stores": None}}, "/pickup/stores"),
    ({"pickup": {"stores": [{}]}}, "/pickup/stores/0/store"),
    ({"pickup": {"stores": [{"store": "gap!"}]}}, "/pickup/stores/0/store"),
    ({"pickup": {"stores": [{"store": "nobody"}]}}, "/pickup/stores/0/store"),
    ({"pickup": {"stores": [{"store": "lego"}] * 2}}, "/pickup/stores/1/store"),
    ({"pickup": {"stores": [{"store": "lego", "parcels": 2}]}}, "/pickup/stores/0/parcels"),
    ({"pickup": {"stores": [{"store": "lego", "ready_at": 1}]}}, "/pickup/stores/0/ready_at"),
    (
        {"pickup": {"stores": [{"store": "lego", "ready_at": "2200-01-01T00:00:00Z"}]}},
        "/pickup/stores/0/ready_at",
    ),
    (
        {"pickup": {"stores": [{"store": "lego", "ready_at": "2099-01-01T00:00:00Z"}]}},
        "/pickup/stores",
    ),
    (
        {"pickup": {"stores": [{"store": "lego", "pickup_code": ""}]}},
        "/pickup/stores/0/pickup_code",
    ),
    ({"pickup": {"window_end": "2026-01-01T00:00:00"}}, "/pickup/window_end"),
    ({"pickup": {"window_end": "2020-01-01T00:00:00Z"}}, "/pickup/window_end"),
    ({"dropoff": None}, "/dropoff"),
    ({"dropoff": {"lat": None}}, "/dropoff/lat"),
    ({"dropoff": {"lat": 91}}, "/dropoff/lat"),
    ({"dropoff": {"lon": "x"}}, "/dropoff/lon"),
    ({"dropoff": {"lat": 0, "lon": 0}}, "/dropoff"),
    ({"dropoff": {"pin": "1234"}}, "/dropoff/pin"),
    ({"dropoff": {"note": "x" * 1_001}}, "/dropoff/note"),
    ({"dropoff": {"name": 1}}, "/dropoff/name"),
    ({"dropoff": {"contact": "x" * 201}}, "/dropoff/contact"),
    ({"dropoff": {"address": "x" * 501}}, "/dropoff/address"),
    ({"dropoff": {"deadline": "2020-01-01T00:00:00Z"}}, "/dropoff/deadline"),
    ({"dropoff": {"deadline": "soon"}}, "/dropoff/deadline"),
    ({"requires": "crate"}, "/requires"),
    ({"requires": ["a b"]}, "/requires/0"),
    ({"requires": ["x"] * 17}, "/requires"),
    ({"service_level": "fast"}, "/service_level"),
    ({"priority": 101}, "/priority"),
    ({"priority": -1}, "/priority"),
    ({"on_short": "x"}, "/on_short"),
    ({"on_missing": "deliver"}, "/on_missing"),
    ({"hold_s": 59}, "/hold_s"),
    ({"hold_s": 86_401}, "/hold_s"),
    ({"on_undeliverable": "burn"}, "/on_undeliverable"),
    ({"pay": None}, "/pay"),
    ({"pay": {"amount_minor": 899}}, "/pay/amount_minor"),
    ({"pay": {"amount_minor": None}}, "/pay/amount_minor"),
    ({"pay": {"amount_minor": 1e999}}, "/pay/amount_minor"),
    ({"pay": {"currency": "EUR"}}, "/pay/currency"),
    ({"pay": {"currency": "usd"}}, "/pay/currency"),
    ({"pay": {"max_minor": 899}}, "/pay/max_minor"),
    ({"metadata": []}, "/metadata"),
    ({"metadata": {"a": {"b": 1}}}, "/metadata"),
    ({"metadata": {"a": "x" * 501}}, "/metadata"),
    ([], ""),
    (None, ""),
    ("x", ""),
    (
        {"pickup": {"stores": [{"store": "apple"}, {"store": "lego", "pickup_code": "x" * 65}]}},
        "/pickup/stores/1/pickup_code",
    ),
    ({"pickup": {"stores": "lego"}}, "/pickup/stores"),
    ({"pickup": {"stores": [None]}}, "/pickup/stores/0"),
    ({"pickup": {"window_end": "9999-12-31T23:59:59Z"}}, "/pickup/window_end"),
    ({"dropoff": {"lat": 1e999}}, "/dropoff/lat"),
    ({"dropoff": {"lat": True}}, "/dropoff/lat"),
    ({"dropoff": {"lon": -180.5}}, "/dropoff/lon"),
    ({"dropoff": {"deadline": "9999-12-31T23:59:59Z"}}, "/dropoff/deadline"),
    ({"dropoff": {"deadline": 0}}, "/dropoff/deadline"),
    ({"dropoff": {"customer_ref": "c-1"}}, "/dropoff/customer_ref"),
    ({"requires": {}}, "/requires"),
    ({"requires": [None]}, "/requires/0"),
    ({"service_level": ""}, "/service_level"),
    ({"priority": 1.5}, "/priority"),
    ({"priority": "7"}, "/priority"),
    ({"priority": 2**70}, "/priority"),
    ({"hold_s": "600"}, "/hold_s"),
    ({"pay": {"amount_minor": 10**12 + 1}}, "/pay/amount_minor"),
    ({"pay": {"amount_minor": "1000"}}, "/pay/amount_minor"),
    ({"pay": {"currency": "USD\n"}}, "/pay/currency"),
    ({"metadata": {"": 1}}, "/metadata"),
    ({"metadata": {"a": [1]}}, "/metadata"),
    ({"metadata": {f"k{n}": n for n in range(33)}}, "/metadata"),
    ({"": 1}, "/"),
]


async def patched(shop: Caller, path: str, patch: Any) -> Any:
    """Send a patch, also one that no JSON library writes."""
    text = json.dumps(patch).replace("Infinity", "1e999")
    headers = shop._headers() | {"content-type": "application/merge-patch+json"}
    return await shop.node.http.patch(path, content=text, headers=headers)


def with_a_good_field(patch: Any) -> Any:
    return {"dropoff": {"name": "Bob"}} | patch if isinstance(patch, dict) else patch


async def test_bad_field_is_refused_and_nothing_changes(shop: Caller) -> None:
    path = await rich(shop)
    before = (await shop.get(path)).json()
    for patch, pointer in BAD:
        answer = await patched(shop, path, with_a_good_field(patch))
        assert pointers(answer) == [pointer], patch
        after = (await shop.get(path)).json()
        assert after["dropoff"] == before["dropoff"], patch
        assert after["updated_at"] == before["updated_at"], patch


@pytest.mark.parametrize("state", ["offered", "assigned", "at_mall", "picked_up", "delivered"])
async def test_bad_field_is_refused_in_every_state(shop: Caller, state: str) -> None:
    """A value that is bad is named, or its field is too late: the job stays as it was."""
    async with open_app(shop.node.ws, shop.node.token("d-1")) as driver:
        path = await on_the_way(shop, driver, state)
        before = (await shop.get(path)).json()
        for patch, pointer in BAD:
            answer = await patched(shop, path, with_a_good_field(patch))
            if answer.status_code == 409:
                named = [it["pointer"] for it in problem(answer, 409, "too_late")["errors"]]
                others = [it for it in named if not it.startswith(pointer)]
                assert set(others) <= set(TOO_LATE_BESIDE), (patch, named)
            else:
                assert pointers(answer) == [pointer], (patch, answer.text)
            after = (await shop.get(path)).json()
            assert all(after[name] == before[name] for name in OF_THE_ORDER), patch


async def test_metadata_is_bounded_together_with_what_is_stored(shop: Caller) -> None:
    path = await rich(shop, metadata={f"a{n}": n for n in range(20)})
    more = {f"b{n}": n for n in range(20)}
    assert pointers(await shop.patch(path, {"metadata": more})) == ["/metadata"]
    gone = {f"a{n}": None for n in range(10)}
    answer = await shop.patch(path, {"metadata": gone | dict(list(more.items())[:20])})
    assert len(answer.json()["metadata"]) == 30


async def test_malformed_and_foreign_bodies_are_refused(shop: Caller) -> None:
    path = await rich(shop)
    headers = shop._headers()

    async def sent(content: bytes, kind: str) -> Any:
        return await shop.node.http.patch(
            path, content=content, headers=headers | {"content-type": kind}
        )

    problem(await sent(b"{", "application/json"), 400, "malformed_json")
    problem(await sent(b'{"priority":1,"priority":2}', "application/json"), 400, "malformed_json")
    problem(await sent(b"{}", "text/plain"), 415, "unsupported_media_type")
    big = b'{"dropoff":{"note":"' + b"x" * 66_000 + b'"}}'
    problem(await sent(big, "application/merge-patch+json"), 413, "body_too_large")
    assert (await sent(b"{}", "application/json; charset=utf-8")).status_code == 200
    problem(await shop.patch(f"{path}?x=1", {}), 400, "bad_request")
    problem(await shop.patch("/v1/jobs/nothing", {}), 404, "not_found")
    problem(await Caller(shop.node, "other").patch(path, {"priority": 1}), 404, "not_found")
    driver = Caller(shop.node, "d-1", Role.DRIVER)
    assert (await driver.patch(path, {})).status_code in {401, 403}


async def test_patch_without_an_effect_changes_nothing(shop: Caller) -> None:
    path = await rich(shop)
    before = (await shop.get(path)).json()
    shown = {name: before["dropoff"][name] for name in ("lat", "lon", "note", "deadline")}
    same = {"dropoff": shown, "pay": before["pay"], "metadata": {"a": 1}, "requires": []}
    empty: dict[str, Any] = {}
    for patch in (empty, {"dropoff": empty}, same):
        answer = await shop.patch(path, patch)
        assert answer.status_code == 200
        assert answer.json() == before


async def on_the_way(shop: Caller, driver: DriverApp, state: str) -> str:
    """The path of a job that the driver has brought to this state."""
    await online(driver)
    path = await rich(shop)
    offer = await driver.receive("offer")
    if state == "offered":
        return path
    await driver.ask("accept", offer=offer["offer"])
    job, attempt = path.rpartition("/")[2], offer["attempt"]
    steps = ("at_mall", "picked_up", "delivered")
    for step in steps[: steps.index(state) + 1] if state in steps else ():
        reply = await driver.ask("progress", job=job, attempt=attempt, step=step)
        assert reply["type"] == "reply", reply
    assert (await shop.get(path)).json()["state"] == state
    return path


@pytest.mark.parametrize("state", ["assigned", "picked_up", "delivered"])
async def test_field_that_came_too_late_is_named(shop: Caller, state: str) -> None:
    async with open_app(shop.node.ws, shop.node.token("d-1")) as driver:
        path = await on_the_way(shop, driver, state)
        for pointer, patch in good(shop).items():
            if patch is None:
                continue
            fixed_from = FIXED_FROM[pointer]
            fixed = {
                "assigned": fixed_from is JobState.ASSIGNED,
                "picked_up": fixed_from is not None,
                "delivered": True,
            }[state]
            both = patch if "dropoff" in patch else patch | {"dropoff": {"note": pointer}}
            answer = await shop.patch(path, both)
            if not fixed:
                assert answer.status_code == 200, (pointer, answer.text)
                continue
            named = [error["pointer"] for error in problem(answer, 409, "too_late")["errors"]]
            expected = pointer.replace("*", "0")
            assert expected in named
            assert set(named) <= {expected, "/dropoff/note"}
            assert (await shop.get(path)).json()["dropoff"].get("note") != pointer


async def test_fields_of_a_shop_change_until_it_is_collected(shop: Caller) -> None:
    async with open_app(shop.node.ws, shop.node.token("d-1")) as driver:
        path = await on_the_way(shop, driver, "assigned")
        job = path.rpartition("/")[2]
        step = {"step": "collected", "store": "lego"}
        reply = await driver.ask("progress", job=job, attempt=1, **step)
        assert reply["job_state"] == "picked_up"
        for store, ready in (("lego", False), ("apple", True)):
            for field, value in (("pickup_code", "33"), ("ready_at", good_time(shop))):
                patch = {"pickup": {"stores": [{"store": store, field: value}]}}
                answer = await shop.patch(path, patch)
                if ready:
                    assert answer.status_code == 200, answer.text
                    continue
                (error,) = problem(answer, 409, "too_late")["errors"]
                assert error["pointer"] == f"/pickup/stores/0/{field}"
        lego, apple = (await shop.get(path)).json()["pickup"]["stores"]
        assert (lego["pickup_code"], apple["pickup_code"]) == ("11", "33")


async def test_live_offer_is_withdrawn_and_made_again(shop: Caller) -> None:
    async with open_app(shop.node.ws, shop.node.token("d-1")) as driver:
        path = await on_the_way(shop, driver, "offered")
        assert (await shop.patch(path, {"pay": {"amount_minor": 1_400}})).status_code == 200
        assert (await driver.receive("offer_closed"))["why"] == "withdrawn"
        offer = await driver.receive("offer")
        assert offer["pay"]["amount_minor"] == 1_400
        assert offer["attempt"] == 2
        reply = await driver.ask("accept", offer=offer["offer"])
        assert reply["jobs"][0]["pay"]["amount_minor"] == 1_400


async def test_holder_gets_the_moved_drop_off_with_new_times(shop: Caller) -> None:
    async with open_app(shop.node.ws, shop.node.token("d-1")) as driver:
        path = await on_the_way(shop, driver, "picked_up")
        before = (await shop.get(path)).json()["eta"]["dropoff"]
        dropoff = {**ELSEWHERE, "address": "B", "note": "back door"}
        job = (await shop.patch(path, {"dropoff": dropoff})).json()
        update = await driver.receive("job")
        assert (update["reason"], update["state"]) == ("updated", "picked_up")
        detail = update["detail"]["dropoff"]
        assert {name: detail[name] for name in dropoff} == dropoff
        assert job["eta"]["dropoff"] != before


async def test_address_answers_a_wrong_address(shop: Caller) -> None:
    async with open_app(shop.node.ws, shop.node.token("d-1")) as driver:
        path = await on_the_way(shop, driver, "picked_up")
        job = path.rpartition("/")[2]
        reply = await driver.ask("problem", job=job, attempt=1, kind="wrong_address")
        assert reply["type"] == "reply"
        answer = await shop.patch(path, {"dropoff": {"address": "C"}})
        (reported,) = answer.json()["problems"]
        assert (reported["state"], reported["answer"]["action"]) == ("answered", "retry")
        updated, update = await driver.receive("job"), await driver.receive("job")
        assert (updated["reason"], update["reason"]) == ("updated", "answer")
        assert update["answer"]["action"] == "retry"


async def test_repeated_patch_has_the_same_answer(shop: Caller) -> None:
    path = await rich(shop)
    answers = [await shop.patch(path, {"priority": 3}) for _ in range(2)]
    assert [it.json()["updated_at"] for it in answers] == [answers[0].json()["updated_at"]] * 2


async def test_patches_at_once_lose_nothing(shop: Caller) -> None:
    path = await rich(shop, metadata={})
    names = [f"k{number}" for number in range(8)]
    answers = await asyncio.gather(*(shop.patch(path, {"metadata": {name: 1}}) for name in names))
    done = {name for name, it in zip(names, answers, strict=True) if it.status_code == 200}
    assert done
    assert (await shop.get(path)).json()["metadata"].keys() == done
