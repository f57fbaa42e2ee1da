"""Markets over HTTP."""

from datetime import UTC, date, datetime

from mallard_engine.core.places.markets import Places
from mallard_engine.core.places.opening_hours import is_open, parse_spans, span_text
from mallard_engine.gateway.http.views.places import market_view
from mallard_engine.gateway.timestamps import epoch_ms
from tests.engine.gateway.conftest import MALL, PHOENIX, RunningNode
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
        *("hours", "windows", "paused"),
    }
    assert set(mall["gates"][0]) == {"id", "lat", "lon"}
    assert set(mall["stores"][0]) == {"id", "name", "gate", "floor", "paused"}
    problem(await shop.get("/v1/markets/atlantis"), 404, "not_found")


async def test_always_open_mall_has_one_window_without_an_end(node: RunningNode) -> None:
    mall = (await Caller(node).get(f"/v1/markets/{PHOENIX}")).json()["malls"][0]
    assert mall["hours"] is None
    (window,) = mall["windows"]
    assert window["to"] is None
    assert epoch_ms(datetime.fromisoformat(window["from"])) <= node.node.store.now_ms()


async def test_known_market_is_not_sent_again(node: RunningNode) -> None:
    for path in ("/v1/markets", f"/v1/markets/{PHOENIX}"):
        shop = Caller(node)
        first = await shop.get(path)
        assert first.headers["cache-control"] == "private, no-cache"
        shop.headers = {"If-None-Match": first.headers["etag"]}
        again = await shop.get(path)
        assert (again.status_code, again.content) == (304, b"")
        shop.headers = {"If-None-Match": "x"}
        problem(await shop.get(path), 400, "bad_request")


def test_windows_are_the_openings_of_the_next_seven_days() -> None:
    market = Places.load().markets[PHOENIX]
    mall = market.malls[MALL]
    # A Wednesday, 12:00 in Phoenix: open until 21:00.
    now_ms = epoch_ms(datetime(2026, 12, 23, 19, tzinfo=UTC))
    (view,) = [it for it in market_view(market, {}, now_ms).malls if it.id == MALL]
    assert view.hours is not None
    assert view.hours.weekly["sat"] == ("10:00-21:00",)
    assert view.hours.weekly["sun"] == ("11:00-18:00",)
    for day, spans in view.hours.holidays.items():
        assert tuple(map(parse_spans, spans)) == tuple(
            (span,) for span in mall.hours.holidays[date.fromisoformat(day)]
        )
    first = view.windows[0]
    assert first.from_ == datetime(2026, 12, 23, 17, tzinfo=UTC)
    assert first.to == datetime(2026, 12, 24, 4, tzinfo=UTC)
    assert view.windows[-1].from_ < datetime(2026, 12, 30, 19, tzinfo=UTC)
    assert 6 <= len(view.windows) <= 8
    for window in view.windows:
        assert window.to is not None
        assert is_open(mall.hours, epoch_ms(window.from_))
        assert not is_open(mall.hours, epoch_ms(window.to))


def test_text_of_a_span_is_read_as_the_span() -> None:
    for text in ("10:00-21:00", "00:00-24:00", "22:30-02:00", "09:05-09:00"):
        (span,) = parse_spans(text)
        assert span_text(span) == text
