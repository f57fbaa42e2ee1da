"""Permissions over HTTP, and the form of refusals."""

from collections.abc import AsyncIterator

import pytest

from tests.e2e.conftest import NewApp, NewShop, Node, make_token
from tests.e2e.places import Place
from tests.e2e.shop import Shop, assert_problem, http_client


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize(
    "header",
    [None, "Bearer", "Bearer nonsense", "Basic dXNlcjpwdw==", "Bearer a.b.c", "nonsense"],
)
async def test_request_without_a_token_is_401(node: Node, header: str | None) -> None:
    async with http_client(node.url) as http:
        for method, path in (
            ("GET", "/v1/jobs"),
            ("POST", "/v1/jobs"),
            ("GET", "/v1/jobs/job_phoenix.01J"),
            ("POST", "/v1/quotes"),
            ("GET", "/v1/markets"),
            ("GET", "/v1/markets/phoenix/drivers?near=33,-111"),
            ("POST", "/v1/driver/locations"),
        ):
            headers = {} if header is None else {"Authorization": header}
            assert_problem(await http.request(method, path, headers=headers), 401)


async def test_invalid_token_is_401(node: Node) -> None:
    async with http_client(node.url) as http:
        for claims in ({"exp": 1}, {"exp": None}, {"aud": "x"}, {"nbf": 4_000_000_000}):
            token = make_token("shop", "orders", **claims)
            assert_problem(await http.get("/v1/jobs", headers=bearer(token)), 401)
        # In the URL it is ignored.
        token = make_token("shop", "orders")
        response = await http.get("/v1/jobs", params={"token": token, "access_token": token})
        assert response.status_code in {400, 401}


async def test_role_without_permission_is_403(
    new_app: NewApp, shop: Shop, operator: Shop, node: Node, place: Place
) -> None:
    job = await shop.submit(place.order())
    path = f"/v1/jobs/{job['id']}"
    drivers = "/v1/markets/phoenix/drivers"
    for response in (
        await shop.http.post(f"{path}/assign", json={"driver": "d"}),
        await shop.http.post(f"{path}/unassign", json={"reason": "x"}),
        await shop.http.post(f"{path}/close", json={"state": "lost", "reason": "x"}),
        await shop.http.get(drivers, params={"near": "33.3,-111.9", "radius_m": 100}),
        await shop.http.post(f"{drivers}/d/suspend", json={"reason": "x"}),
        await shop.http.post(f"{drivers}/d/resume", json={}),
        await shop.http.post("/v1/driver/locations", json={"fixes": []}),
        await operator.http.post("/v1/driver/locations", json={"fixes": []}),
    ):
        assert_problem(response, 403)
    app = new_app()
    async with http_client(node.url, app.token) as phone:
        for response in (
            await phone.get("/v1/jobs"),
            await phone.get(path),
            await phone.post("/v1/jobs", json=place.order(), headers={"Idempotency-Key": "k"}),
            await phone.post("/v1/quotes", json=place.order()),
        ):
            assert_problem(response, 403)
    async with http_client(node.url, make_token("x", "emperor")) as http:
        response = await http.get("/v1/jobs")
        assert response.status_code in {401, 403}
        assert_problem(response, response.status_code)


async def test_unknown_resource_is_404(shop: Shop) -> None:
    for path in ("/v1/nothing", "/nothing", "/v2/jobs", "/v1/jobs/a/b/c", "/v1/markets/x/y"):
        assert_problem(await shop.http.get(path), 404)


async def test_unknown_method_is_405(shop: Shop) -> None:
    for method, path in (
        ("DELETE", "/v1/jobs"),
        ("PUT", "/v1/jobs/job_phoenix.01J"),
        ("GET", "/v1/quotes"),
        ("POST", "/v1/markets"),
        ("POST", "/livez"),
    ):
        response = await shop.http.request(method, path)
        assert_problem(response, 405)
        assert response.headers["allow"]


async def test_body_over_64_kib_is_413(shop: Shop, place: Place) -> None:
    body = place.order(metadata={"text": "x" * 65_536})
    assert_problem(await shop.post(body), 413)

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(70):
            yield b"x" * 1024

    response = await shop.http.post("/v1/jobs", content=chunks(), headers={"Idempotency-Key": "k"})
    assert_problem(response, 413)


async def test_public_operations_need_no_token(node: Node) -> None:
    async with http_client(node.url) as http:
        for path in ("/livez", "/readyz"):
            assert (await http.get(path)).status_code == 200
        metrics = await http.get("/metrics")
        assert metrics.status_code == 200
        for name in (
            "mallard_match_duration_seconds",
            "mallard_offer_latency_seconds",
            "mallard_offer_lateness_seconds",
            "mallard_offers_total",
            "mallard_drivers",
            "mallard_jobs",
            "mallard_location_fixes_total",
            "mallard_store_call_seconds",
            "mallard_ws_closed_total",
            "mallard_event_loop_lag_seconds",
            "mallard_build_info",
        ):
            assert f"# TYPE {name.removesuffix('_total')}" in metrics.text, name


async def test_documents_equal_the_published_ones(node: Node) -> None:
    async with http_client(node.url) as http:
        openapi = (await http.get("/openapi.json")).json()
        asyncapi = (await http.get("/asyncapi.json")).json()
    assert openapi["openapi"].startswith("3.1")
    assert asyncapi["asyncapi"].startswith("3.")
    for path in (
        "/v1/jobs",
        "/v1/jobs/{id}",
        "/v1/jobs/{id}/cancel",
        "/v1/jobs/{id}/ready",
        "/v1/jobs/{id}/explain",
        "/v1/jobs/{id}/assign",
        "/v1/jobs/{id}/unassign",
        "/v1/jobs/{id}/close",
        "/v1/jobs/{id}/events",
        "/v1/events",
        "/v1/quotes",
        "/v1/markets",
        "/v1/driver/locations",
        "/livez",
        "/readyz",
        "/metrics",
    ):
        assert path in openapi["paths"], path
    listed = str(asyncapi)
    for code in (4001, 4002, 4003, 4004, 4005, 4006, 4008, 4500, 4501, 4503, 4506, 4507, 1009):
        assert str(code) in listed, code
    for name in ("offer_ack", "offer_closed", "auth_expiring", "stale_attempt", "proof_needed"):
        assert name in listed, name


async def test_operator_may_submit_and_quote(new_shop: NewShop, place: Place) -> None:
    operator = new_shop("operator")
    job = await operator.submit(place.order())
    assert (await operator.cancel(job["id"])).status_code == 200
    assert (await operator.http.post("/v1/quotes", json=place.order())).status_code == 200
