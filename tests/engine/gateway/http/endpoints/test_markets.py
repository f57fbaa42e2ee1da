"""Markets over HTTP."""

from tests.engine.gateway.conftest import PHOENIX, RunningNode
from tests.engine.gateway.http_support import Caller, problem


async def test_markets_are_listed_and_read(node: RunningNode) -> None:
    shop = Caller(node)
    listed = (await shop.get("/v1/markets")).json()["items"]
    assert [it["id"] for it in listed] == ["las-vegas", "northern-virginia", "phoenix"]
    one = (await shop.get(f"/v1/markets/{PHOENIX}")).json()
    assert one == listed[2]
    assert one["area"]["type"] == "Polygon"
    assert one["area"]["coordinates"][0][0] == one["area"]["coordinates"][0][-1]
    mall = one["malls"][0]
    assert set(mall) == {
        *("id", "name", "lat", "lon", "time_zone", "outline", "gates", "stores"),
    }
    assert set(mall["gates"][0]) == {"id", "lat", "lon"}
    assert set(mall["stores"][0]) == {"id", "name", "gate", "floor"}
    problem(await shop.get("/v1/markets/atlantis"), 404, "not_found")
