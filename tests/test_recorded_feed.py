"""The recorded feed of the console's measurements: always the same, and in the contract's shape."""

import asyncio
import urllib.request
from collections import Counter

import msgspec
import pytest

from mallard_engine.gateway.http.request_parsing import encode_json
from mallard_protocol.control import AlertList, AuditPage, PolicyView
from mallard_protocol.events import MOVED_EVERY_S, Event
from mallard_protocol.resources import DriverList, Explanation, Job, JobList, MarketList
from tests.pages.recorded.load import Report, Stay, growth
from tests.pages.recorded.server import Recorded, serving
from tests.pages.recorded.world import MARKET, SMALL, Size, World
from tests.support import GUARD_S

START_MS = 1_780_000_000_000
MINUTES_MS = 5 * 60_000


def events(world: World) -> list[Event]:
    return world.advance(START_MS + MINUTES_MS)


def test_same_seed_makes_the_same_feed() -> None:
    first, again = World(SMALL, START_MS), World(SMALL, START_MS)
    assert encode_json(events(first)) == encode_json(events(again))
    assert encode_json(list(first.drivers())) == encode_json(list(again.drivers()))
    assert encode_json(events(World(SMALL, START_MS, seed=3))) != encode_json(events(first))


def test_events_are_those_of_the_contract() -> None:
    world = World(SMALL, START_MS)
    jobs_events = 0
    for event in events(world):
        # Of its JSON, since that is what a page reads.
        read = msgspec.json.decode(encode_json(event), type=Event)
        assert read.market == MARKET
        if event.type == "job.driver_moved":
            assert set(read.data) == {"lat", "lon", "heading_deg", "at", "eta"}
            continue
        jobs_events += 1
        job = msgspec.convert(read.data | {"timeline": []}, Job)
        assert (job.id, job.driver or msgspec.UNSET) == (read.job, read.driver)
        assert {"cause", "actor"} <= set(read.data)
    assert jobs_events > 0


def test_drivers_move_as_often_as_the_contract_allows() -> None:
    world = World(Size(drivers=40, jobs=60), START_MS)
    moves = Counter(it.driver for it in events(world) if it.type == "job.driver_moved")
    assert 0 < max(moves.values()) <= MINUTES_MS / 1000 / MOVED_EVERY_S + 1
    assert len(world.open_jobs()) == len(World(Size(40, 60), START_MS).open_jobs())


async def test_answers_are_those_of_the_contract() -> None:
    world = World(SMALL, START_MS)
    first = next(iter(world.jobs))
    answers = {
        "/v1/markets": MarketList,
        "/v1/jobs?limit=7": JobList,
        f"/v1/jobs/{first}": Job,
        f"/v1/jobs/{first}/explain": Explanation,
        f"/v1/markets/{MARKET}/drivers": DriverList,
        f"/v1/markets/{MARKET}/policy": PolicyView,
        "/v1/alerts": AlertList,
        "/v1/audit": AuditPage,
    }
    with serving(Recorded(world, is_still=True)) as url:
        for path, shape in answers.items():
            text = await asyncio.to_thread(_read, url + path)
            # A field that is missing or of another type raises.
            assert msgspec.json.decode(text, type=shape)


def _read(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=GUARD_S) as answer:  # of this test's server
        content: bytes = answer.read()
    return content


@pytest.mark.parametrize(
    ("after_minutes", "grows"),
    [
        ([9, 20, 20, 20.5, 20, 20, 20.4], 0.01),
        ([9, 20, 21, 22, 23, 24, 25], 0.19),
        ([9, 20, 21], 0.05),
        ([20], 0),
    ],
)
def test_growth_is_of_the_last_third_over_the_first(
    after_minutes: list[float], grows: float
) -> None:
    assert growth(after_minutes) == pytest.approx(grows, abs=0.01)


def test_report_names_what_misses() -> None:
    slow = Stay("map", 7.0, 900, 900, 10, 10, 900, 900)
    report = Report(2.5, [slow], [9, 20, 20, 30, 30], [9, 20, 20, 22], [5, 5, 7], 1, {})
    misses = "; ".join(report.misses())
    assert "map: 7.0 frames" in misses
    assert "2.50 s" in misses
    for name in ("heap", "nodes", "listeners"):
        assert f"{name} grew" in misses
    assert Report(1.0, [], [20, 20], [1], [1], 1, {}).misses() == []
