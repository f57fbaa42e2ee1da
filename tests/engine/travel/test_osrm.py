"""An OSRM table service, spoken with over a real socket by a server that keeps its protocol; and
every way in which it can fail the round: the straight line says what it does not, and it is
counted."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from mallard_engine.core.matching.speed_by_hour import SpeedByHour
from mallard_engine.core.matching.travel_matrix import MatrixRequest
from mallard_engine.core.matching.travel_time import Points, StraightLine, TravelTime
from mallard_engine.metrics import Metrics
from mallard_engine.travel.breaker import Breaker
from mallard_engine.travel.counts import Counts
from mallard_engine.travel.osrm import Osrm
from mallard_engine.travel.table_service import OverNetwork, TableFailed
from tests.engine.travel.osrm_server import Body, OsrmServer, osrm_server, seconds

AT_MS = 1_790_000_000_000
STRAIGHT = StraightLine(1.3, 9.0)


@pytest.fixture
async def server() -> AsyncIterator[OsrmServer]:
    async with osrm_server() as running:
        yield running


@pytest.fixture
async def osrm(server: OsrmServer) -> AsyncIterator[Osrm]:
    service = Osrm(server.url)
    yield service
    await service.close()


def request(froms: int, tos: int) -> MatrixRequest:
    rng = random.Random(froms * 1000 + tos)
    # The precision of requests.
    some = [
        (round(33 + rng.random(), 6), round(-112 + rng.random(), 6)) for _ in range(froms + tos)
    ]
    return MatrixRequest(tuple(some[:froms]), tuple(some[froms:]))


def expected(wanted: MatrixRequest) -> Any:
    table = [[seconds(here, there) for there in wanted.tos] for here in wanted.froms]
    return pytest.approx(np.array(table), abs=0.11)


class Round:
    """A market's network source and its metrics."""

    def __init__(
        self, url: str, *, budget_s: float = 5.0, speed: SpeedByHour | None = None
    ) -> None:
        self.metrics = Metrics()
        self.clock = 0.0
        self.source = OverNetwork(
            Osrm(url),
            STRAIGHT,
            Breaker(3, 10.0, lambda: self.clock),
            Counts(self.metrics, "phoenix", "osrm"),
            budget_s=budget_s,
            speed=speed or SpeedByHour(9.0),
            clock=time.perf_counter,
        )

    async def ask(self, wanted: MatrixRequest) -> TravelTime:
        return await self.source.fetch([wanted], AT_MS)

    def asked(self, result: str) -> float:
        labels = {"market": "phoenix", "source": "osrm", "result": result}
        name = "mallard_travel_ask_seconds_count"
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    @property
    def fallbacks(self) -> float:
        labels = {"market": "phoenix", "source": "osrm"}
        name = "mallard_travel_fallback_ways_total"
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


@pytest.mark.parametrize(
    ("froms", "tos"), [(1, 1), (16, 1), (1, 16), (99, 1), (150, 1), (1, 150), (70, 60), (230, 30)]
)
async def test_tables_of_any_size_are_fetched(
    server: OsrmServer, osrm: Osrm, froms: int, tos: int
) -> None:
    wanted = request(froms, tos)
    assert await osrm.table(wanted) == expected(wanted)
    # About as many requests as the server's limit requires.
    assert len(server.requests) <= np.ceil(froms / 50) * np.ceil(tos / 50)


async def test_closed_connection_is_retried(server: OsrmServer) -> None:
    server.closes_after = 1
    osrm = Osrm(server.url)
    for number in range(1, 6):
        assert await osrm.table(request(number, 2)) == expected(request(number, 2))
    await osrm.close()


async def test_round_uses_the_answer_at_that_hours_speed(server: OsrmServer) -> None:
    rush = Round(server.url, speed=SpeedByHour(9.0, (4.5,) * 24))
    wanted = request(3, 2)
    travel = await rush.ask(wanted)
    assert travel.seconds(*wanted.froms[1], *wanted.tos[0], AT_MS) == pytest.approx(
        2 * seconds(wanted.froms[1], wanted.tos[0]), abs=0.3
    )
    assert (rush.asked("ok"), rush.fallbacks) == (1, 0)
    assert await rush.source.fetch([], AT_MS) is STRAIGHT
    await rush.source.close()


def without_a_row(body: Body) -> Body:
    return body | {"durations": body["durations"][1:]}


def with_first(value: object) -> Any:
    def change(body: Body) -> Body:
        body["durations"][0][0] = value
        return body

    return change


@pytest.mark.parametrize(
    ("change", "result"),
    [
        (without_a_row, "nonsense"),
        (lambda body: body | {"durations": [row[1:] for row in body["durations"]]}, "nonsense"),
        (lambda body: body | {"durations": "long"}, "nonsense"),
        (lambda body: {"code": "Ok"}, "nonsense"),
        (lambda body: body | {"sources": body["sources"][1:]}, "nonsense"),
        (lambda body: [1, 2], "nonsense"),
        (with_first(-1.0), "nonsense"),
        (with_first("soon"), "nonsense"),
        (with_first(1e300), "nonsense"),
        (lambda body: {"code": "NoTable", "message": "No table found"}, "failed"),
    ],
)
async def test_malformed_answer_falls_back(server: OsrmServer, change: Any, result: str) -> None:
    server.change = change
    await assert_falls_back(server.url, result)


@pytest.mark.parametrize(
    ("raw", "result"),
    [
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 4\r\n\r\noops", "failed"),
        (b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"code": ]', "nonsense"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nNaN", "nonsense"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "failed"),
        (b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n", "failed"),
    ],
)
async def test_answer_of_another_server_falls_back(
    server: OsrmServer, raw: bytes, result: str
) -> None:
    server.raw = raw
    await assert_falls_back(server.url, result)


async def test_hanging_server_falls_back(server: OsrmServer) -> None:
    server.hangs = True
    await assert_falls_back(server.url, "slow", budget_s=0.05)


async def test_server_that_disconnects_falls_back(server: OsrmServer) -> None:
    server.hangs_up = True
    await assert_falls_back(server.url, "failed")


async def test_missing_server_falls_back() -> None:
    async with osrm_server() as server:
        url = server.url
    await assert_falls_back(url, "failed")


async def assert_falls_back(url: str, result: str, budget_s: float = 5.0) -> None:
    """It is called three times, then rests; each time the straight line answers everything."""
    market = Round(url, budget_s=budget_s)
    wanted = request(3, 2)
    for _ in range(5):
        assert await market.ask(wanted) is STRAIGHT
    assert (market.asked(result), market.asked("resting"), market.asked("ok")) == (3, 2, 0)
    assert market.fallbacks == 5 * 6
    await market.source.close()
    assert_nobody_asks_on()


def assert_nobody_asks_on() -> None:
    asking = [task for task in asyncio.all_tasks() if task.get_name() == "travel table"]
    assert all(task.done() or task.cancelling() for task in asking)


async def test_failed_table_cancels_the_others(server: OsrmServer) -> None:
    market = Round(server.url)
    server.most = 4  # of the second table's coordinates too many
    assert await market.source.fetch([request(1, 1), request(3, 2)], AT_MS) is STRAIGHT
    assert market.asked("failed") == 1
    assert_nobody_asks_on()
    await market.source.close()


async def test_server_is_called_again_after_the_rest(server: OsrmServer) -> None:
    market = Round(server.url)
    server.raw = b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n"
    for _ in range(4):
        await market.ask(request(2, 2))
    assert len(server.requests) == 3
    market.clock, server.raw = 10.0, None
    assert await market.ask(request(2, 2)) is not STRAIGHT
    assert await market.ask(request(2, 2)) is not STRAIGHT
    assert (market.asked("failed"), market.asked("resting"), market.asked("ok")) == (3, 1, 2)
    await market.source.close()


async def test_missing_route_uses_the_straight_line(server: OsrmServer) -> None:
    server.change = with_first(None)
    market, wanted = Round(server.url), request(3, 2)
    travel = await market.ask(wanted)
    table = travel.matrix(Points.of(wanted.froms), Points.of(wanted.tos), AT_MS)
    assert table[0, 0] == pytest.approx(STRAIGHT.seconds(*wanted.froms[0], *wanted.tos[0], AT_MS))
    assert table[1:] == pytest.approx(expected(wanted).expected[1:], abs=0.11)
    assert (market.asked("ok"), market.fallbacks) == (1, 1)
    await market.source.close()


async def test_place_far_from_every_road_is_off_the_network(server: OsrmServer) -> None:
    def far(body: Body) -> Body:
        body["sources"][2]["distance"] = 900.0
        body["destinations"][0]["distance"] = 301.0
        return body

    server.change = far
    market = Round(server.url)
    await market.ask(request(3, 2))
    assert (market.asked("ok"), market.fallbacks) == (1, 4)
    await market.source.close()


async def test_server_with_a_smaller_table_limit_is_reported(
    server: OsrmServer, osrm: Osrm
) -> None:
    server.most = 10
    with pytest.raises(TableFailed, match="TooBig: Too many table coordinates"):
        await osrm.table(request(30, 2))
    small = Osrm(server.url, most=10)
    assert await small.table(request(30, 25)) == expected(request(30, 25))
    await small.close()
