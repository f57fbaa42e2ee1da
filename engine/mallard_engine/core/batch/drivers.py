"""The drivers of a batch and the state of their planning, as arrays."""

from collections.abc import Sequence
from copy import copy

import numpy as np
from numpy.typing import NDArray

from mallard_engine.core.batch.problem import BatchDriver
from mallard_engine.core.matching.acceptance import BANDS, Acceptance
from mallard_engine.core.matching.cost import driver_costs_s, driver_terms
from mallard_engine.core.matching.fairness import Fairness
from mallard_engine.core.matching.travel_time import Points, TravelTime
from mallard_engine.core.model import Driver, Need, Term
from mallard_engine.core.places.mall import Gate
from mallard_engine.core.policy import MarketPolicy

Matrix = NDArray[np.float64]


class Fleet:
    """When and where each driver is free, given the jobs planned so far; arrays of (drivers,).

    What does not depend on jobs is computed once for all waves, above all the travel times to every
    gate, `travel_s` (gates, drivers).
    """

    def __init__(
        self,
        drivers: Sequence[BatchDriver],
        gates: Sequence[Gate],
        now_ms: int,
        part: int,
        policy: MarketPolicy,
        travel: TravelTime,
    ) -> None:
        self.drivers = drivers
        # Many jobs share few gates.
        places = dict.fromkeys((gate.lat, gate.lon) for gate in gates)
        self.number = {place: number for number, place in enumerate(places)}
        self._gates = Points.of(places)
        self._now_ms, self._travel = now_ms, travel
        self.free_ms = np.array([max(driver.free_ms, now_ms) for driver in drivers], dtype=float)
        self.unplanned = [True] * len(drivers)
        lats = np.array([driver.lat for driver in drivers])
        lons = np.array([driver.lon for driver in drivers])
        self.travel_s = self._ways(lats, lons)
        known = [driver.driver for driver in drivers]
        self._weights = policy.weights
        self._fairness: Fairness | None = None
        if policy.weights.earnings_s:
            self._fairness = Fairness(known, now_ms, policy.weights.earnings_s)
        self.own_s = np.array([self._own_s(driver) for driver in known])
        # The expected cost of a refusal, (drivers, bands); None if its weight is 0.
        self.part = part
        self.refusal_s = _refusals_s(known, part, policy) if policy.weights.acceptance else None
        vehicles = [driver.driver.vehicle for driver in drivers]
        self.max_weight_g = np.array([vehicle.max_weight_g for vehicle in vehicles])
        self.max_volume_l = np.array([vehicle.max_volume_l for vehicle in vehicles])
        self.max_jobs = np.array([vehicle.max_jobs for vehicle in vehicles])
        self.until_ms = np.array([driver.driver.until_ms or np.inf for driver in drivers])
        self.column = {driver.driver.id: column for column, driver in enumerate(drivers)}

    def fresh(self) -> "Fleet":
        """Return the same fleet without any planned jobs."""
        fleet = copy(self)
        fleet.free_ms, fleet.travel_s = self.free_ms.copy(), self.travel_s.copy()
        fleet.unplanned = [True] * len(self.drivers)
        return fleet

    def own_terms(self, column: int) -> tuple[Term, ...]:
        """Return the terms of a driver's cost that do not depend on the job."""
        driver = self.drivers[column].driver
        terms = driver_terms(driver, self._now_ms, self._weights)
        return terms if self._fairness is None else (*terms, self._fairness.term(driver))

    def _own_s(self, driver: Driver) -> float:
        """Return the sum of those terms."""
        own_s = sum(driver_costs_s(driver, self._now_ms, self._weights))
        return own_s if self._fairness is None else own_s + self._fairness.term(driver).seconds

    def is_next(self, column: int) -> bool:
        """Return whether a driver is free now and has no planned job."""
        return self.unplanned[column] and self.drivers[column].free_ms == 0

    def _ways(self, lats: Matrix, lons: Matrix) -> Matrix:
        return self._travel.matrix(Points(lats, lons), self._gates, self._now_ms).T.copy()

    def deliver(self, columns: Sequence[int], needs: Sequence[Need], free_ms: Matrix) -> None:
        """Plan these drivers for jobs: they are free at `free_ms` at the drop-offs of `needs`."""
        lats = np.array([need.lat for need in needs])
        lons = np.array([need.lon for need in needs])
        self.travel_s[:, columns] = self._ways(lats, lons)
        self.free_ms[columns] = free_ms
        for column in columns:
            self.unplanned[column] = False


def _refusals_s(drivers: Sequence[Driver], part: int, policy: MarketPolicy) -> Matrix:
    """Return the expected cost of a refusal, until the next batch can ask: (drivers, bands)."""
    histories = [driver.history for driver in drivers]
    acceptance = Acceptance(
        histories,
        part,
        policy.weights,
        offer_s=policy.offer_timeout_ms / 1000,
        again_s=policy.window_ms / 1000,
    )
    return np.array(
        [[acceptance.cost_s(history, band) for band in range(BANDS)] for history in histories]
    )
