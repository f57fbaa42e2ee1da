"""An order service reads lists, quotes, explanations and markets, and only its own jobs."""

from typing import Any

from tests.e2e.conftest import NewApp, NewShop
from tests.e2e.contract import assert_resource
from tests.e2e.places import Place
from tests.e2e.shop import Json, Shop, assert_problem, considered


async def listed(shop: Shop, **params: Any) -> Json:
    response = await shop.http.get("/v1/jobs", params=params)
    assert response.status_code == 200, response.text
    page: Json = response.json()
    assert page.keys() == {"items", "next_cursor"}
    assert_resource(page, "JobList")
    return page


async def test_pages_newest_first(shop: Shop, place: Place) -> None:
    jobs = [(await shop.submit(place.order()))["id"] for _ in range(5)]
    seen: list[str] = []
    cursor = None
    pages = 0
    while True:
        params = {"market": "phoenix", "limit": 2} | ({"cursor": cursor} if cursor else {})
        page = await listed(shop, **params)
        seen += [job["id"] for job in page["items"]]
        pages += 1
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == jobs[::-1]
    assert pages in {3, 4}
    # Every market at once, in one page.
    assert [job["id"] for job in (await listed(shop))["items"]] == jobs[::-1]


async def test_filters_select_jobs(shop: Shop, place: Place) -> None:
    kept = await shop.submit(place.order())
    dropped = await shop.submit(place.order())
    await shop.cancel(dropped["id"])
    for params, expected in (
        ({"market": "phoenix", "state": "cancelled"}, [dropped["id"]]),
        ({"market": "phoenix", "state": "queued"}, [kept["id"]]),
        ({"state": "queued"}, [kept["id"]]),
        ({"market": "las-vegas"}, []),
        ({"external_id": kept["external_id"]}, [kept["id"]]),
        ({"external_id": dropped["external_id"], "state": "queued"}, []),
        ({"external_id": "ORD-never"}, []),
    ):
        page = await listed(shop, **params)
        assert [job["id"] for job in page["items"]] == expected, params


async def test_invalid_filters_are_refused(shop: Shop) -> None:
    for params in (
        {"limit": 201},
        {"limit": 0},
        {"limit": "many"},
        {"state": "sleepy"},
        {"cursor": "nonsense"},
    ):
        response = await shop.http.get("/v1/jobs", params=params)
        assert response.status_code in {400, 422}, (params, response.text)
        assert_problem(response, response.status_code)
    response = await shop.http.get("/v1/jobs", params={"market": "atlantis"})
    assert response.status_code in {400, 404, 422}
    assert_problem(response, response.status_code)
    assert (await listed(shop, limit=200))["items"] == []


async def test_job_of_another_service_is_404(shop: Shop, new_shop: NewShop, place: Place) -> None:
    job, other = await shop.submit(place.order()), new_shop()
    path = f"/v1/jobs/{job['id']}"
    assert_problem(await other.http.get(path), 404)
    assert_problem(await other.http.get(f"{path}/explain"), 404)
    assert_problem(await other.http.post(f"{path}/cancel", json={"reason": "x"}), 404)
    ready = {"store": place.stores[0], "ready_at": "2099-01-01T00:00:00Z"}
    assert_problem(await other.http.post(f"{path}/ready", json=ready), 404)
    assert (await listed(other))["items"] == []
    assert (await listed(other, external_id=job["external_id"]))["items"] == []
    # With the same text as for an unknown job.
    unknown = path[:-4] + "ZZZZ"
    theirs, nobodys = await other.http.get(path), await other.http.get(unknown)
    assert theirs.json()["code"] == nobodys.json()["code"]
    assert await shop.state(job["id"]) == "queued"


async def test_operator_sees_all(shop: Shop, operator: Shop, place: Place) -> None:
    job = await shop.submit(place.order())
    assert (await operator.job(job["id"]))["id"] == job["id"]
    page = await listed(operator, external_id=job["external_id"], market="phoenix")
    assert [item["id"] for item in page["items"]] == [job["id"]]


async def test_quote_stores_nothing(new_app: NewApp, shop: Shop, place: Place) -> None:
    body = place.order()
    response = await shop.http.post("/v1/quotes", json=body)
    assert response.status_code == 200, response.text
    quote = response.json()
    assert_resource(quote, "Quote")
    assert quote["would_match"] is False
    assert quote["why_not"]
    app = new_app()
    await app.online(*place.north(3_000))
    quote = (await shop.http.post("/v1/quotes", json=body)).json()
    assert_resource(quote, "Quote")
    assert quote["would_match"] is True
    assert quote["why_not"] is None
    assert 60 < quote["eta_s"] < 1_800
    assert app.driver not in str(quote)
    assert (await listed(shop))["items"] == []
    await app.settled()
    assert app.waiting("offer") == []
    # The same external id is still free.
    await shop.submit(body)


async def test_explain_numbers_drivers_for_services(
    new_app: NewApp, shop: Shop, operator: Shop, place: Place
) -> None:
    near, far, small = new_app(), new_app(), new_app()
    await near.online(*place.gate)
    await far.online(*place.north(2_000))
    car = {"kind": "bike", "max_jobs": 1, "max_weight_g": 10, "max_volume_l": 300, "equipment": []}
    await small.online(*place.north(10), vehicle=car)
    job = await shop.submit(place.order())
    offer = await near.expect("offer")
    await near.must("decline", offer=offer["offer"])
    await far.accept(await far.expect("offer"))

    explanation = await shop.explain(job["id"])
    assert explanation["job"] == job["id"]
    assert not any(app.driver in str(explanation) for app in (near, far, small))
    assert [asked["outcome"] for asked in explanation["asked"]] == ["declined", "accepted"]
    first, second = explanation["asked"]
    assert first["driver"] != second["driver"]
    assert first["attempt"] < second["attempt"]

    named = await operator.explain(job["id"])
    assert_resource(named, "Explanation")
    assert [asked["driver"] for asked in named["asked"]] == [near.driver, far.driver]
    by_driver = {candidate["driver"]: candidate for candidate in named["candidates"]}
    assert by_driver[far.driver]["eligible"]
    assert by_driver[far.driver]["cost_s"] > 0
    assert by_driver[far.driver]["terms"]
    assert 1_900 < by_driver[far.driver]["distance_m"] < 2_100
    assert not by_driver[small.driver]["eligible"]
    assert by_driver[small.driver]["why_not"]


async def test_explain_of_a_job_without_eligible_drivers(shop: Shop, place: Place) -> None:
    job = await shop.submit(place.order())
    await considered(shop, job["id"])
    explanation = await shop.explain(job["id"])
    assert explanation["asked"] == []
    assert explanation["candidates"] == []


async def test_markets_are_listed_and_read(shop: Shop) -> None:
    response = await shop.http.get("/v1/markets")
    assert response.status_code == 200
    found = response.json()
    markets = found["items"] if isinstance(found, dict) else found
    assert {market["id"] for market in markets} == {"phoenix", "las-vegas", "northern-virginia"}
    malls = 0
    for listed_market in markets:
        market = (await shop.http.get(f"/v1/markets/{listed_market['id']}")).json()
        assert market.keys() >= {"id", "name", "area", "malls"}
        assert market["area"]["type"] in {"Polygon", "MultiPolygon", "Feature"}
        for mall in market["malls"]:
            assert mall.keys() >= {
                "id",
                "name",
                "lat",
                "lon",
                "time_zone",
                "outline",
                "gates",
                "stores",
            }
            gates = {gate["id"] for gate in mall["gates"]}
            assert all(gate.keys() >= {"id", "lat", "lon"} for gate in mall["gates"])
            assert all(store.keys() >= {"id", "name", "gate", "floor"} for store in mall["stores"])
            assert {store["gate"] for store in mall["stores"]} <= gates
            malls += len(mall["stores"]) > 1
    assert malls == 10
    assert_problem(await shop.http.get("/v1/markets/atlantis"), 404)
