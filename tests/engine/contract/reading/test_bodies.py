"""HTTP bodies: malformed ones, invalid ones, and the pointer of the error."""

import copy
import json
from typing import Any

import pytest

from mallard_engine.contract.reading.bodies import (
    BodyTooLarge,
    InvalidBody,
    MalformedJson,
    decode_fixes_body,
    decode_json_body,
    parse_json_body,
)
from mallard_protocol.codes import MAX_BODY_BYTES
from mallard_protocol.resources import CancelRequest, CloseRequest, Job, JobRequest, MarketList

# The example of the contract.
BODY: dict[str, Any] = {
    "external_id": "ORD-1183",
    "pickup": {
        "mall": "chandler-fashion-center",
        "stores": [
            {
                "store": "lego",
                "ready_at": "2026-11-22T16:10:00-07:00",
                "parcels": 2,
                "pickup_code": "7731",
            }
        ],
        "window_end": "2026-11-22T20:30:00-07:00",
    },
    "dropoff": {
        "lat": 33.3197,
        "lon": -111.8412,
        "address": "…",
        "name": "…",
        "contact": "…",
        "note": "…",
        "deadline": "2026-11-22T21:00:00-07:00",
    },
    "parcels": {"count": 2, "weight_g": 3200, "volume_l": 18},
    "requires": ["id_check"],
    "priority": 0,
    "pay": {"amount_minor": 1150, "currency": "USD"},
    "metadata": {"basket": "77"},
}


def with_value(pointer: str, value: Any) -> dict[str, Any]:
    """The example with ``value`` at ``pointer``."""
    body = copy.deepcopy(BODY)
    *parents, last = pointer.strip("/").split("/")
    node: Any = body
    for name in parents:
        node = node[int(name) if isinstance(node, list) else name]
    node[int(last) if isinstance(node, list) else last] = value
    return body


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode()


def test_example_of_the_contract_is_accepted() -> None:
    request = decode_json_body(encoded(BODY), JobRequest)
    assert request.pickup.stores[0].store == "lego"
    assert request.metadata == {"basket": "77"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b"\xef\xbb\xbf{}",
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":1,"a":1}',
        b'{"a":' + b"9" * 5000 + b"}",
        b"[" * 2000 + b"]" * 2000,
        b"[" * 60_000,
        b"[" * 33 + b"]" * 33,
        b'{"a":"\\ud800"}',
        b"{} {}",
        "{}".encode("utf-16"),
    ],
    ids=lambda body: repr(body[:16]),
)
def test_malformed_body_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedJson):
        parse_json_body(body)


def test_largest_body_is_accepted() -> None:
    padding = b" " * (MAX_BODY_BYTES - 2)
    assert parse_json_body(b"{}" + padding) == {}
    with pytest.raises(BodyTooLarge):
        parse_json_body(b"{}" + padding + b" ")


def test_nesting_up_to_the_limit_is_accepted() -> None:
    assert parse_json_body(b"[" * 32 + b"]" * 32)


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("/pickup/stores/0/store", "le}go"),
        ("/pickup/stores/0/store", "x" * 10_000),
        ("/pickup/stores/0/store", "a\n"),
        ("/pickup/stores/0/parcels", 0),
        ("/pickup/stores/0/ready_at", "2026-11-22T16:10:00"),
        ("/pickup/stores/0/ready_at", "tomorrow"),
        ("/pickup/stores/0/driver", "d-1"),
        ("/pickup/stores", []),
        ("/pickup/stores", [{"store": "lego"}] * 11),
        ("/pickup/mall", 7),
        ("/dropoff/lat", 91),
        ("/dropoff/lat", "33.3"),
        ("/dropoff/lon", -181),
        ("/dropoff/lon", True),
        ("/parcels/count", -1),
        ("/parcels/weight_g", -1),
        ("/parcels/weight_g", 1.5),
        ("/parcels/volume_l", -0.5),
        ("/pay/amount_minor", 10**30),
        ("/pay/currency", "usd"),
        ("/requires/0", "*"),
        ("/priority", 101),
        ("/external_id", ""),
        ("/metadata", {"a": ["no lists"]}),
        ("/driver", "d-1"),
        ("/state", "queued"),
        ("/attempt", 3),
        ("/x~1y", 1),
    ],
)
def test_invalid_field_has_its_pointer(pointer: str, value: Any) -> None:
    body = with_value(pointer.replace("~1", "\0"), value)
    body = {name.replace("\0", "/"): inner for name, inner in body.items()}
    with pytest.raises(InvalidBody) as caught:
        decode_json_body(encoded(body), JobRequest)
    [violation] = caught.value.violations
    assert violation.pointer == pointer
    assert violation.detail


@pytest.mark.parametrize("pointer", ["/dropoff/lat", "/parcels/volume_l", "/metadata/basket"])
def test_number_beyond_doubles_is_invalid_not_malformed(pointer: str) -> None:
    body = encoded(with_value(pointer, "?")).replace(b'"?"', b"1e999")
    with pytest.raises(InvalidBody) as caught:
        decode_json_body(body, JobRequest)
    assert pointer.startswith(caught.value.violations[0].pointer)


@pytest.mark.parametrize(("missing", "pointer"), [("pickup", "/pickup"), ("dropoff", "/dropoff")])
def test_missing_field_is_named(missing: str, pointer: str) -> None:
    body = {name: value for name, value in BODY.items() if name != missing}
    with pytest.raises(InvalidBody) as caught:
        decode_json_body(encoded(body), JobRequest)
    [violation] = caught.value.violations
    assert (violation.pointer, violation.detail) == (pointer, "missing")


OPTIONAL = [
    "/external_id",
    "/pickup/stores/0/ready_at",
    "/pickup/stores/0/parcels",
    "/pickup/stores/0/pickup_code",
    "/pickup/window_end",
    "/dropoff/address",
    "/dropoff/note",
    "/dropoff/deadline",
    "/parcels",
    "/parcels/weight_g",
    "/parcels/volume_l",
    "/requires",
    "/priority",
    "/pay",
    "/metadata",
]


def without(pointer: str) -> dict[str, Any]:
    """The example without what is at ``pointer``."""
    body = with_value(pointer, None)
    *parents, last = pointer.strip("/").split("/")
    node: Any = body
    for name in parents:
        node = node[int(name) if isinstance(node, list) else name]
    del node[last]
    return body


@pytest.mark.finding("D11")
@pytest.mark.parametrize("pointer", OPTIONAL)
def test_null_for_an_optional_field_is_absent(pointer: str) -> None:
    nulled = decode_json_body(json.dumps(with_value(pointer, None)).encode(), JobRequest)
    assert nulled == decode_json_body(json.dumps(without(pointer)).encode(), JobRequest)


@pytest.mark.finding("D11")
@pytest.mark.parametrize(
    "pointer", ["/pickup", "/pickup/mall", "/dropoff/lat", "/parcels/count", "/pay/currency"]
)
def test_null_for_a_required_field_has_its_pointer(pointer: str) -> None:
    with pytest.raises(InvalidBody) as refused:
        decode_json_body(json.dumps(with_value(pointer, None)).encode(), JobRequest)
    assert refused.value.violations[0].pointer == pointer


@pytest.mark.finding("D11")
def test_null_is_a_value_in_metadata() -> None:
    body = with_value("/metadata", {"gift": None})
    assert decode_json_body(json.dumps(body).encode(), JobRequest).metadata == {"gift": None}


@pytest.mark.finding("D11")
def test_null_in_an_unknown_field_is_refused() -> None:
    with pytest.raises(InvalidBody):
        decode_json_body(json.dumps(BODY | {"driver": None}).encode(), JobRequest)


@pytest.mark.finding("D11")
def test_null_in_the_other_bodies_is_absent() -> None:
    assert decode_json_body(b'{"reason": null}', CancelRequest) == CancelRequest()


def test_body_that_is_not_an_object_is_refused() -> None:
    with pytest.raises(InvalidBody) as caught:
        decode_json_body(b"[]", JobRequest)
    assert caught.value.violations[0].pointer == ""


def test_whole_numbers_may_have_a_decimal_point() -> None:
    request = decode_json_body(encoded(with_value("/parcels/count", 2.0)), JobRequest)
    assert request == decode_json_body(encoded(BODY), JobRequest)


def test_close_accepts_three_states_only() -> None:
    for state in ("returned", "delivered", "lost"):
        assert decode_json_body(encoded({"state": state, "reason": "r"}), CloseRequest).state
    with pytest.raises(InvalidBody):
        decode_json_body(encoded({"state": "queued", "reason": "r"}), CloseRequest)


def test_valid_fixes_over_http_are_kept() -> None:
    good = [1_763_827_200_000, 33.3, -111.8, 4.5, None, 3.5]
    fixes = decode_fixes_body(encoded({"fixes": [good, [1, 91, 0, 0, 0, 0], "?"]}))
    assert fixes == (tuple(good), None, None)
    bad_bodies: list[dict[str, Any]] = [
        *({"fixes": []}, {"fixes": [good] * 101}, {"fixes": 7}),
        *({}, {"fix": [good]}),
    ]
    for bad in bad_bodies:
        with pytest.raises(InvalidBody):
            decode_fixes_body(encoded(bad))


def test_clients_ignore_new_fields_of_a_job() -> None:
    job = {
        **BODY,
        "id": "job_phoenix.01J",
        "market": "phoenix",
        "state": "levitating",
        "terminal": False,
        "attempt": 0,
        "driver": None,
        "reason": None,
        "timeline": [],
        "created_at": "2026-11-22T16:00:00Z",
        "updated_at": "2026-11-22T16:00:00Z",
        "expires_at": "2026-11-22T20:30:00Z",
        "eta": {"pickup": None, "dropoff": None},
    }
    for part in (job["pickup"], job["pickup"]["stores"][0], job["dropoff"], job["pay"], job):
        later = json.dumps(part)[:-1] + ', "later": 1}'
        text = json.dumps(job).replace(json.dumps(part), later)
        assert decode_json_body(text.encode(), Job).state == "levitating"
    assert decode_json_body(b'{"items": [], "later": 1}', MarketList).items == ()
