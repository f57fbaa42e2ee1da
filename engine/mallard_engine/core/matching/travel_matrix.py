"""Travel matrices that are fetched before a ranking: what to request, and the answers."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mallard_engine.core.batch.solver import BatchDriver, BatchJob
from mallard_engine.core.matching.travel_time import Points, TravelTime
from mallard_engine.core.model import Near, Need
from mallard_engine.core.places.mall import Gate, Mall

Place = tuple[float, float]
"""Latitude and longitude in degrees."""


class MatrixRequest(NamedTuple):
    """A request for the travel times from n places to m places, each without duplicates."""

    froms: tuple[Place, ...]
    tos: tuple[Place, ...]


class TravelMatrix(TravelTime):
    """Travel times from prefetched tables in seconds, (n, m) for each request.

    Pairs that were not requested are taken from `otherwise`. The tables hold for one departure, so
    `at_ms` is ignored for them.
    """

    def __init__(
        self, tables: Sequence[tuple[MatrixRequest, NDArray[np.float64]]], otherwise: TravelTime
    ) -> None:
        self._tables = [
            (_numbered(request.froms), _numbered(request.tos), table) for request, table in tables
        ]
        self._otherwise = otherwise

    def seconds(
        self, from_lat: float, from_lon: float, to_lat: float, to_lon: float, at_ms: int
    ) -> float:
        """Return the seconds from one point to another."""
        here, there = (from_lat, from_lon), (to_lat, to_lon)
        for rows, columns, table in self._tables:
            row, column = rows.get(here), columns.get(there)
            if row is not None and column is not None:
                return float(table[row, column])
        return self._otherwise.seconds(from_lat, from_lon, to_lat, to_lon, at_ms)

    def matrix(self, froms: Points, tos: Points, at_ms: int) -> NDArray[np.float64]:
        """Return the seconds from each of n points to each of m: shape (n, m)."""
        heres, theres = _places(froms), _places(tos)
        seconds = np.full((len(heres), len(theres)), np.nan)
        for rows, columns, table in self._tables:
            ours, row = _known(rows, heres)
            theirs, column = _known(columns, theres)
            if len(ours) and len(theirs):
                seconds[np.ix_(ours, theirs)] = table[np.ix_(row, column)]
        if (unknown := np.isnan(seconds)).any():
            seconds[unknown] = self._otherwise.matrix(froms, tos, at_ms)[unknown]
        return seconds


def requests_of_round(
    mall: Mall, near: Iterable[Near], needs: Sequence[Need]
) -> list[MatrixRequest]:
    """Return what an instant round needs: from drivers to gates, and from gates to doors.

    Stores that the mall does not have are ignored.
    """
    gates = [gate for need in needs for gate in _gates(mall, need)]
    drivers = ((driver.position.lat, driver.position.lon) for driver in near)
    return _requests(drivers, gates, needs, chained=False)


def requests_of_batch(
    jobs: Sequence[BatchJob], drivers: Iterable[BatchDriver]
) -> list[MatrixRequest]:
    """Return what a batch needs: the same, and from doors to gates, for a driver's next job."""
    needs = [job.waiting.need for job in jobs]
    gates = [gate for job in jobs for gate in _gates(job.mall, job.waiting.need)]
    return _requests(((driver.lat, driver.lon) for driver in drivers), gates, needs, chained=True)


def _requests(
    drivers: Iterable[Place], gates: Iterable[Gate], needs: Iterable[Need], *, chained: bool
) -> list[MatrixRequest]:
    stops = _once((gate.lat, gate.lon) for gate in gates)
    doors = _once((need.lat, need.lon) for need in needs)
    froms = _once((*drivers, *doors)) if chained else _once(drivers)
    requests = [MatrixRequest(froms, stops), MatrixRequest(stops, doors)]
    return [it for it in requests if it.froms and it.tos]


def _gates(mall: Mall, need: Need) -> list[Gate]:
    """Return where the job's driver may park: the gates of its stores."""
    stores = [mall.stores[store] for store in need.visits if store in mall.stores]
    return [mall.gates[store.gate] for store in stores]


def _once(places: Iterable[Place]) -> tuple[Place, ...]:
    return tuple(dict.fromkeys(places))


def _numbered(places: Sequence[Place]) -> dict[Place, int]:
    return {place: number for number, place in enumerate(places)}


def _places(points: Points) -> list[Place]:
    return list(zip(points.lats.tolist(), points.lons.tolist(), strict=True))


def _known(numbers: dict[Place, int], places: Sequence[Place]) -> tuple[list[int], list[int]]:
    """Return the indexes of the known places, and their numbers."""
    both = [(at, numbers[place]) for at, place in enumerate(places) if place in numbers]
    return [at for at, _ in both], [number for _, number in both]
