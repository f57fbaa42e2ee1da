"""The ways that a ranking will ask for, and what a source that was asked ahead has said of them."""

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
    """From each of n places to each of m; no place twice on one side."""

    froms: tuple[Place, ...]
    tos: tuple[Place, ...]


class TravelMatrix(TravelTime):
    """What a source said ahead: of each ``ways`` a table in seconds, (n, m). What it was not asked
    is taken from ``otherwise``. It answers for one moment, whatever ``at_ms`` says."""

    def __init__(
        self, told: Sequence[tuple[MatrixRequest, NDArray[np.float64]]], otherwise: TravelTime
    ) -> None:
        self._told = [(_numbered(ways.froms), _numbered(ways.tos), table) for ways, table in told]
        self._otherwise = otherwise

    def seconds(
        self, from_lat: float, from_lon: float, to_lat: float, to_lon: float, at_ms: int
    ) -> float:
        """Seconds from one point to another."""
        here, there = (from_lat, from_lon), (to_lat, to_lon)
        for rows, columns, table in self._told:
            row, column = rows.get(here), columns.get(there)
            if row is not None and column is not None:
                return float(table[row, column])
        return self._otherwise.seconds(from_lat, from_lon, to_lat, to_lon, at_ms)

    def matrix(self, froms: Points, tos: Points, at_ms: int) -> NDArray[np.float64]:
        """Seconds from each of n points to each of m: shape (n, m)."""
        heres, theres = _places(froms), _places(tos)
        seconds = np.full((len(heres), len(theres)), np.nan)
        for rows, columns, table in self._told:
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
    """What an instant round may ask: from its drivers to its jobs' gates, from there to the doors.
    A job that names a store which the mall does not have asks for nothing."""
    gates = [gate for need in needs for gate in _gates(mall, need)]
    drivers = ((driver.position.lat, driver.position.lon) for driver in near)
    return _ways(drivers, gates, needs, chained=False)


def requests_of_batch(
    jobs: Sequence[BatchJob], drivers: Iterable[BatchDriver]
) -> list[MatrixRequest]:
    """What a batch may ask: the same, and from the doors to the gates, for a driver's next job."""
    needs = [job.waiting.need for job in jobs]
    gates = [gate for job in jobs for gate in _gates(job.mall, job.waiting.need)]
    return _ways(((driver.lat, driver.lon) for driver in drivers), gates, needs, chained=True)


def _ways(
    drivers: Iterable[Place], gates: Iterable[Gate], needs: Iterable[Need], *, chained: bool
) -> list[MatrixRequest]:
    stops = _once((gate.lat, gate.lon) for gate in gates)
    doors = _once((need.lat, need.lon) for need in needs)
    froms = _once((*drivers, *doors)) if chained else _once(drivers)
    ways = [MatrixRequest(froms, stops), MatrixRequest(stops, doors)]
    return [it for it in ways if it.froms and it.tos]


def _gates(mall: Mall, need: Need) -> list[Gate]:
    """Where its driver may park: at any of its stores' gates."""
    stores = [mall.stores[store] for store in need.stores if store in mall.stores]
    return [mall.gates[store.gate] for store in stores]


def _once(places: Iterable[Place]) -> tuple[Place, ...]:
    return tuple(dict.fromkeys(places))


def _numbered(places: Sequence[Place]) -> dict[Place, int]:
    return {place: number for number, place in enumerate(places)}


def _places(points: Points) -> list[Place]:
    return list(zip(points.lats.tolist(), points.lons.tolist(), strict=True))


def _known(numbers: dict[Place, int], places: Sequence[Place]) -> tuple[list[int], list[int]]:
    """Which of the places are known, and their numbers."""
    both = [(at, numbers[place]) for at, place in enumerate(places) if place in numbers]
    return [at for at, _ in both], [number for _, number in both]
