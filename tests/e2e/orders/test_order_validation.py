"""Invalid jobs are refused with a pointer to the field."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.places import Place
from tests.e2e.shop import Json, Shop, assert_problem, pointers, soon

Spoil = Callable[[Json], object]


def put(*path: str | int, value: Any) -> Spoil:
    """Set the field at a path of a body."""

    def spoil(body: Json) -> None:
        *parents, last = path
        inner: Any = body
        for name in parents:
            inner = inner[name]
        inner[last] = value

    return spoil


def drop(*path: str | int) -> Spoil:
    """Take the field at a path out of a body."""

    def spoil(body: Json) -> None:
        *parents, last = path
        inner: Any = body
        for name in parents:
            inner = inner[name]
        del inner[last]

    return spoil


STORE = ("pickup", "stores", 0)
NO_SUCH_STORES = [{"store": f"store-{index}"} for index in range(11)]
RULES: list[tuple[str, Spoil, str]] = [
    ("unknown mall", put("pickup", "mall", value="atlantis-mall"), "/pickup/mall"),
    ("unknown store", put(*STORE, "store", value="no-such-store"), "/pickup/stores/0/store"),
    ("no store", put("pickup", "stores", value=[]), "/pickup/stores"),
    ("over ten stores", put("pickup", "stores", value=NO_SUCH_STORES), "/pickup/stores"),
    ("drop-off outside the area", put("dropoff", "lat", value=36.1), "/dropoff"),
    ("window in the past", put("pickup", "window_end", value=soon(hours=-1)), "/pickup/window_end"),
    ("deadline in the past", put("dropoff", "deadline", value=soon(hours=-1)), "/dropoff/deadline"),
    (
        "window before it is ready",
        put(*STORE, "ready_at", value=soon(hours=2, minutes=30)),
        "/pickup/window_end",
    ),
    (
        "deadline before it is ready",
        put(*STORE, "ready_at", value=soon(hours=4)),
        "/dropoff/deadline",
    ),
    ("negative weight", put("parcels", "weight_g", value=-1), "/parcels/weight_g"),
    ("negative volume", put("parcels", "volume_l", value=-0.5), "/parcels/volume_l"),
    ("negative pay", put("pay", "amount_minor", value=-5), "/pay/amount_minor"),
    ("pay that falls", put("pay", "max_minor", value=1149), "/pay/max_minor"),
    ("negative highest pay", put("pay", "max_minor", value=-1), "/pay/max_minor"),
    ("highest pay in text", put("pay", "max_minor", value="1300"), "/pay/max_minor"),
    ("broken minor units", put("pay", "max_minor", value=1300.5), "/pay/max_minor"),
    ("negative parcels", put(*STORE, "parcels", value=-1), "/pickup/stores/0/parcels"),
    ("latitude 91", put("dropoff", "lat", value=91), "/dropoff/lat"),
    ("longitude 181", put("dropoff", "lon", value=181), "/dropoff/lon"),
    ("latitude as text", put("dropoff", "lat", value="33.3"), "/dropoff/lat"),
    ("bad external id", put("external_id", value="a{b}*\n"), "/external_id"),
    ("long external id", put("external_id", value="x" * 65), "/external_id"),
    ("empty external id", put("external_id", value=""), "/external_id"),
    ("bad mall id", put("pickup", "mall", value="{phoenix}"), "/pickup/mall"),
    ("no time", put("dropoff", "deadline", value="tomorrow"), "/dropoff/deadline"),
    (
        "a time without an offset",
        put("dropoff", "deadline", value="2099-01-01T00:00:00"),
        "/dropoff/deadline",
    ),
    ("no pickup", drop("pickup"), "/pickup"),
    ("no drop-off", drop("dropoff"), "/dropoff"),
    ("no latitude", drop("dropoff", "lat"), "/dropoff/lat"),
    ("driver", put("driver", value="me"), "/driver"),
    ("state", put("state", value="delivered"), "/state"),
    ("attempt", put("attempt", value=7), "/attempt"),
    ("unknown field inside", put("dropoff", "floor", value=3), "/dropoff/floor"),
    ("unknown field of a store", put(*STORE, "colour", value="red"), "/pickup/stores/0/colour"),
]


@pytest.mark.parametrize(
    ("spoil", "pointer"), [rule[1:] for rule in RULES], ids=[rule[0] for rule in RULES]
)
async def test_invalid_field_has_its_pointer(
    shop: Shop, place: Place, spoil: Spoil, pointer: str
) -> None:
    body = place.order()
    spoil(body)
    found = pointers(await shop.post(body))
    assert any(name.startswith(pointer) for name in found), found
    # A quote takes the same body with the same checks.
    assert pointers(await shop.http.post("/v1/quotes", json=body)) == found


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 400])
async def test_infinite_number_is_refused(shop: Shop, place: Place, text: str) -> None:
    raw = shop.http.build_request("POST", "/v1/jobs", json=place.order()).content
    spoiled = raw.replace(b'"volume_l":6', f'"volume_l":{text}'.encode())
    assert spoiled != raw
    response = await shop.http.post(
        "/v1/jobs",
        content=spoiled,
        headers={"Idempotency-Key": "k", "Content-Type": "application/json"},
    )
    assert response.status_code in {400, 422}
    assert_problem(response, response.status_code)


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"[" * 3000, b'"text"', b"null", b"[]", b'{"a":1,"a":2}', b"\xff\xfe"],
    ids=repr,
)
async def test_body_that_is_not_a_job_is_refused(shop: Shop, raw: bytes) -> None:
    response = await shop.http.post(
        "/v1/jobs",
        content=raw,
        headers={"Idempotency-Key": "k", "Content-Type": "application/json"},
    )
    assert response.status_code in {400, 422}
    assert_problem(response, response.status_code)


async def test_every_error_at_once_or_at_least_one(shop: Shop, place: Place) -> None:
    body = place.order(driver="me", attempt=3)
    assert pointers(await shop.post(body)) & {"/driver", "/attempt"}


async def test_malformed_job_id_is_404(shop: Shop) -> None:
    for job in ("job_phoenix.{x}", "*", "x" * 300, "job_atlantis.01J", "job_phoenix.01J"):
        assert_problem(await shop.http.get(f"/v1/jobs/{job}"), 404)


async def test_stores_may_come_in_any_order_without_duplicates(shop: Shop, place: Place) -> None:
    body = place.order()
    body["pickup"]["stores"] *= 2
    response = await shop.post(body)
    assert response.status_code in {201, 422}
