"""What a round requests, and a matrix as a source of travel times."""

import random
from dataclasses import replace

import numpy as np
import pytest

from mallard_engine.core.batch.solver import BatchDriver, BatchJob, solve
from mallard_engine.core.matching.ranking import Matcher
from mallard_engine.core.matching.travel_matrix import (
    MatrixRequest,
    TravelMatrix,
    requests_of_batch,
    requests_of_round,
)
from mallard_engine.core.matching.travel_time import Points, StraightLine, TravelTime
from tests.engine.core.makers import MALL, NOW_MS, POLICY, TRAVEL, driver, near, need, waiting


class NotQueried(TravelTime):
    """A source that must not be queried."""

    def seconds(
        self, from_lat: float, from_lon: float, to_lat: float, to_lon: float, at_ms: int
    ) -> float:
        raise AssertionError((from_lat, from_lon, to_lat, to_lon, at_ms))


def fetched(wanted: list[MatrixRequest], source: TravelTime, otherwise: TravelTime) -> TravelMatrix:
    tables = [source.matrix(Points.of(it.froms), Points.of(it.tos), NOW_MS) for it in wanted]
    return TravelMatrix(list(zip(wanted, tables, strict=True)), otherwise)


def some(count: int, seed: int) -> list[tuple[float, float]]:
    rng = random.Random(seed)
    return [(33 + rng.random(), -112 + rng.random()) for _ in range(count)]


def test_known_pairs_are_answered_and_others_delegated() -> None:
    froms, tos = some(4, 1), some(3, 2)
    slow, fast = StraightLine(1.3, 5.0), StraightLine(1.3, 50.0)
    table = fetched([MatrixRequest(tuple(froms), tuple(tos))], slow, fast)
    assert table.seconds(*froms[2], *tos[1], NOW_MS) == pytest.approx(
        slow.seconds(*froms[2], *tos[1], NOW_MS)
    )
    assert table.seconds(*tos[1], *froms[2], NOW_MS) == fast.seconds(*tos[1], *froms[2], NOW_MS)
    others = some(2, 3)
    mixed = table.matrix(Points.of([others[0], froms[3]]), Points.of([tos[2], others[1]]), NOW_MS)
    assert mixed[1, 0] == pytest.approx(slow.seconds(*froms[3], *tos[2], NOW_MS))
    for row, column, here, there in (
        (0, 0, others[0], tos[2]),
        (0, 1, others[0], others[1]),
        (1, 1, froms[3], others[1]),
    ):
        assert mixed[row, column] == pytest.approx(fast.seconds(*here, *there, NOW_MS))
    assert table.matrix(Points.of([]), Points.of(tos), NOW_MS).shape == (0, 3)


def test_round_needs_only_requested_pairs() -> None:
    drivers = [near(f"d{number}", 200.0 * number) for number in range(6)]
    needs = [need(), need(lat=33.35), need(stores=("lego",), lat=33.36)]
    table = fetched(requests_of_round(MALL, drivers, needs), TRAVEL, NotQueried())
    for asked in needs:
        ranked = Matcher(MALL, drivers, NOW_MS, POLICY, table).rank(asked)
        plain = Matcher(MALL, drivers, NOW_MS, POLICY, TRAVEL).rank(asked)
        assert [it.driver for it in ranked] == [it.driver for it in plain]
        assert [it.eta_s for it in ranked] == [it.eta_s for it in plain]


def test_request_has_the_gates_of_all_stores() -> None:
    stores = list(MALL.stores.values())
    other = next(store for store in stores if store.gate != MALL.stores["lego"].gate)
    drivers = [near(f"d{number}", 300.0 * number) for number in range(4)]
    for order in (("lego", other.id), (other.id, "lego")):
        asked = need(stores=order)
        table = fetched(requests_of_round(MALL, drivers, [asked]), TRAVEL, NotQueried())
        ranked = Matcher(MALL, drivers, NOW_MS, POLICY, table).rank(asked)
        plain = Matcher(MALL, drivers, NOW_MS, POLICY, TRAVEL).rank(asked)
        assert [(it.gate, it.eta_s) for it in ranked] == [(it.gate, it.eta_s) for it in plain]


def test_batch_needs_only_requested_pairs() -> None:
    # Ready in waves: a driver is planned for a second job after its first.
    jobs = [
        BatchJob(
            waiting(
                f"j{number}", need=need(ready_ms=NOW_MS + number * 900_000, lat=33.31 + number / 90)
            ),
            MALL,
        )
        for number in range(5)
    ]
    drivers = [
        BatchDriver(driver(f"d{number}"), 33.30 + number / 80, -111.9) for number in range(2)
    ]
    table = fetched(requests_of_batch(jobs, drivers), TRAVEL, NotQueried())
    plans = solve(jobs, drivers, NOW_MS, POLICY, table)
    plain = solve(jobs, drivers, NOW_MS, POLICY, TRAVEL)
    assert len(plans) == 5
    assert [(it.job.waiting.job, it.driver, it.now) for it in plans] == [
        (it.job.waiting.job, it.driver, it.now) for it in plain
    ]


def test_unknown_store_requests_nothing() -> None:
    broken = need(stores=("nowhere",))
    assert all(
        it.tos == ((need().lat, need().lon),) or it.froms
        for it in requests_of_round(MALL, [near("d")], [broken, need()])
    )
    assert requests_of_round(MALL, [near("d")], [broken]) == []
    job = BatchJob(waiting(need=broken), MALL)
    assert [it for it in requests_of_batch([job], []) if it.tos] == []


def test_places_are_requested_once() -> None:
    twice = [near("d"), near("e")]
    (to_gate, to_door) = requests_of_round(MALL, twice, [need(), replace(need(), priority=1)])
    assert (len(to_gate.froms), len(to_gate.tos), len(to_door.tos)) == (1, 1, 1)
    assert np.isfinite(
        fetched([to_gate], TRAVEL, TRAVEL).seconds(*to_gate.froms[0], *to_gate.tos[0], 0)
    )
