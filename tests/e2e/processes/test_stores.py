"""A job of several stores: the order of visits, and reports at one of them."""

import dataclasses

from tests.e2e.app import App, now_ms
from tests.e2e.conftest import NewApp
from tests.e2e.contract import Frame
from tests.e2e.places import Place
from tests.e2e.shop import Shop, soon

_MINUTE_MS = 60_000


async def elsewhere(shop: Shop, place: Place, number: int) -> Place:
    """The same mall by two other stores: what is reported of a store holds it for everybody."""
    market = (await shop.http.get(f"/v1/markets/{place.market}")).json()
    (mall,) = [mall for mall in market["malls"] if mall["id"] == place.mall]
    names = [store["id"] for store in mall["stores"]]
    return dataclasses.replace(place, stores=(names[-2 * number], names[-2 * number - 1]))


async def taken(app: App, shop: Shop, place: Place) -> tuple[Frame, Frame]:
    """A job of two stores, held by a driver at the gate."""
    await app.online(*place.gate)
    stores = [
        {"store": store, "parcels": count, "pickup_code": code}
        for store, count, code in zip(place.stores, (2, 1), ("7731", "0042"), strict=True)
    ]
    pickup = {"mall": place.mall, "stores": stores, "window_end": soon(hours=2)}
    job = await shop.submit(place.order(pickup=pickup, parcels={"count": 3}))
    (held,) = await app.accept(await app.expect("offer"))
    return job, held


async def test_every_store_is_listed_once_with_parcels_and_code(
    new_app: NewApp, shop: Shop, place: Place
) -> None:
    _, held = await taken(new_app(), shop, place)
    update = {visit["store"]: (visit["parcels"], visit["pickup_code"]) for visit in held["stores"]}
    assert update == {place.stores[0]: (2, "7731"), place.stores[1]: (1, "0042")}
    assert held["mall"]["gate"] in {visit["gate"] for visit in held["stores"]}
    assert held["eta"]["dropoff_ms"] > held["eta"]["pickup_ms"] > now_ms()


async def test_store_that_is_not_ready_is_visited_last(
    new_app: NewApp, shop: Shop, place: Place
) -> None:
    app = new_app()
    place = await elsewhere(shop, place, 1)
    job, held = await taken(app, shop, place)
    for kind, minutes in (("not_ready", 45), ("not_ready", 90), ("not_ready", 120)):
        first, other = held["stores"][0]["store"], held["stores"][1]["store"]
        until = (now_ms() // 1000 + minutes * 60) * 1000
        reply = await app.must("problem", job=job["id"], store=first, kind=kind, until_ms=until)
        assert reply["state"] == "on_run"
        update = await app.expect("job", job=job["id"])
        assert (update["reason"], update["attempt"]) == ("ready_changed", held["attempt"])
        held = update["detail"]
        assert [visit["store"] for visit in held["stores"]] == [other, first]
        assert held["stores"][1]["ready_ms"] == until
        # Nothing changes once it is ready.
        assert until <= held["eta"]["pickup_ms"] < until + 10 * _MINUTE_MS
    assert await shop.state(job["id"]) in {"assigned", "at_mall"}


async def test_report_without_time_or_store_changes_nothing(
    new_app: NewApp, shop: Shop, place: Place
) -> None:
    app = new_app()
    place = await elsewhere(shop, place, 2)
    job, held = await taken(app, shop, place)
    for fields in (
        {"kind": "missing", "store": place.stores[0]},
        {"kind": "partial", "store": place.stores[0], "until_ms": now_ms() - _MINUTE_MS},
        {"kind": "not_ready"},
    ):
        await app.must("problem", job=job["id"], **fields)
    refused = await app.refused("problem", job=job["id"], kind="not_ready", store="no-such-store")
    assert refused == "bad_field"
    kept = await shop.job(job["id"])
    assert [store["ready_at"] for store in kept["pickup"]["stores"]] == [
        store["ready_at"] for store in job["pickup"]["stores"]
    ]
    assert held["eta"]["pickup_ms"] < now_ms() + 60 * _MINUTE_MS


async def test_store_hold_is_bounded(new_app: NewApp, shop: Shop, place: Place) -> None:
    app = new_app()
    place = await elsewhere(shop, place, 3)
    job, held = await taken(app, shop, place)
    store = held["stores"][0]["store"]
    for_ever = now_ms() + 365 * 24 * 60 * _MINUTE_MS
    await app.must("problem", job=job["id"], store=store, kind="store_closed", until_ms=for_ever)
    update = (await app.expect("job", job=job["id"]))["detail"]
    (visit,) = [visit for visit in update["stores"] if visit["store"] == store]
    assert visit["ready_ms"] <= now_ms() + 4 * 60 * _MINUTE_MS
