"""Plans a day with full hindsight by PyVRP, as a lower reference for a dispatcher's kilometres.

The plan knows every order from the start. It has the same drivers, blocks, vehicle capacities and
travel times. Each parcel is released when it is ready and due when it is wanted. Drivers return to
the mall for the next run and end anywhere. A visit to the mall for n parcels takes a + b x n,
fitted to the best tours of random orders of the day: a at the start of the visit, b at each door
before the deadline. A run therefore ends at the right time, and only its first parcels are early.
The plan is slightly less constrained than the engine and may use fewer drivers: its kilometres are
those of an easier problem, found by a heuristic in the given time.

PyVRP is not among the engine's own dependencies: ``pip install mallard-engine[hindsight]``.
"""

import random
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from mallard_engine.core.pickup.pickup_plan import service_times
from mallard_engine.core.pickup.store_tour import Call, best_tour
from mallard_engine.core.vehicles import usual_vehicle
from mallard_engine.simulation.scenario import Scenario

# The number of visits of each size that are averaged.
_VISITS = 40


class HindsightUnavailable(Exception):
    """PyVRP is not installed; the message says how to get it."""


@dataclass(frozen=True, slots=True)
class HindsightPlan:
    """The totals of a plan. `feasible`: all deadlines, capacities and blocks are kept."""

    orders: int
    drivers_used: int
    runs: int
    km: float
    feasible: bool
    iterations: int
    wall_s: float
    pyvrp: str

    @property
    def km_per_order(self) -> float:
        """Kilometres per order."""
        return self.km / self.orders


def plan_day(scenario: Scenario, *, minutes: float, seed: int) -> HindsightPlan:
    """Plan the day of a scenario with one mall. Raises `HindsightUnavailable`."""
    try:
        import pyvrp  # noqa: PLC0415 - an extra of its own
        from pyvrp.stop import MaxRuntime  # noqa: PLC0415
    except ImportError as error:
        raise HindsightUnavailable(
            "the plan needs PyVRP: pip install 'mallard-engine[hindsight]'"
        ) from error
    data = _problem(scenario, pyvrp)
    result = pyvrp.solve(data, MaxRuntime(minutes * 60), seed=seed, collect_stats=False)
    routes = result.best.routes()
    ways_in_m = sum(data.vehicle_type(route.vehicle_type()).fixed_cost for route in routes)
    return HindsightPlan(
        orders=len(scenario.orders),
        drivers_used=len(routes),
        runs=sum(route.num_trips() for route in routes),
        km=(result.best.distance() + ways_in_m) / 1000,
        feasible=bool(result.best.is_feasible()),
        iterations=int(result.num_iterations),
        wall_s=float(result.runtime),
        pyvrp=str(getattr(pyvrp, "__version__", "")),
    )


def visit_times(scenario: Scenario) -> tuple[int, int]:
    """Return the constant and the per-parcel seconds of a visit to the mall.

    They are fitted to the mean visits for 1 parcel up to the most parcels of a run.
    """
    mall = scenario.places.mall(scenario.orders[0].mall)
    service_time = service_times(scenario.places.mall, scenario.service.park_ms / 1000)
    most = max(scenario.policy.max_run_jobs, 2)
    rng = random.Random(f"{scenario.seed} visits")
    counts, means_s = range(1, most + 1), []
    for count in counts:
        visits_s = []
        for _ in range(_VISITS):
            orders = [rng.choice(scenario.orders) for _ in range(count)]
            stores = dict.fromkeys(store for order in orders for store in order.stores)
            calls = [Call(store, 0, int(service_time(mall.id, store) * 1000)) for store in stores]
            tour = best_tour(mall.walks, [mall.stores[store].gate for store in stores], calls, 0)
            visits_s.append((tour.collect_ms + tour.back_ms) / 1000)
        means_s.append(fmean(visits_s))
    each_s, visit_s = np.polyfit(counts, means_s, 1)
    return max(round(visit_s), 0), round(each_s)


def _problem(scenario: Scenario, pyvrp: Any) -> Any:
    mall = scenario.places.mall(scenario.orders[0].mall)
    service, start_ms = scenario.service, scenario.start_ms
    # Location 0 is the mall; 1 is where a driver ends, at no distance from anywhere.
    points = [(mall.lat, mall.lon)] * 2 + [(order.lat, order.lon) for order in scenario.orders]
    metres = np.array([[scenario.distance_m(*a, *b) for b in points] for a in points])
    seconds = np.array(
        [[scenario.travel.seconds(*a, *b, start_ms) for b in points] for a in points]
    )
    metres[:, 1] = seconds[:, 1] = 0
    visit_s, each_s = visit_times(scenario)
    clients = []
    for number, order in enumerate(scenario.orders, start=2):
        door_s = each_s + round(service.door_ms / 1000)
        clients.append(
            pyvrp.Client(
                number,
                delivery=[1],
                service_duration=door_s + round(service.leave_ms / 1000),
                # The deadline is for the end of the service, so the start is due earlier.
                tw_late=(order.best_by_ms - start_ms) // 1000 - door_s,
                release_time=(order.ready_ms - start_ms) // 1000,
            )
        )
    types = []
    for shift in scenario.shifts:
        home = shift.lat, shift.lon
        way_in_s = scenario.travel.seconds(*home, mall.lat, mall.lon, start_ms)
        vehicle = shift.vehicle or usual_vehicle()
        room = min(vehicle.max_jobs, scenario.policy.max_run_jobs)
        types.append(
            pyvrp.VehicleType(
                capacity=[room],
                start_depot=0,
                end_depot=1,
                # The way from home to the mall, for drivers that are used.
                fixed_cost=round(scenario.distance_m(*home, mall.lat, mall.lon)),
                tw_early=(shift.on_ms - start_ms) // 1000 + round(way_in_s),
                tw_late=(shift.off_ms - start_ms) // 1000,
                reload_depots=[0],
            )
        )
    return pyvrp.ProblemData(
        [pyvrp.Location(lon, lat) for lat, lon in points],
        clients,
        [pyvrp.Depot(0, service_duration=visit_s), pyvrp.Depot(1)],
        types,
        [np.rint(metres).astype(np.int64)],
        [np.rint(seconds).astype(np.int64)],
    )
