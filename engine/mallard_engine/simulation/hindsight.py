"""A day planned with full hindsight, by PyVRP: what a dispatcher's kilometres are held against.

The plan knows every order from the start. It has the same drivers on the same blocks, the same room
in a vehicle, and the same ways; each parcel is released when it is ready and is due when it is
wanted; drivers return to the mall for the next run, and end where they end. Time in the mall is as
the simulated drivers walk, on average: a visit for n parcels takes about a + b x n (fitted to the
best ways through the stores of random orders of the day). Each visit begins with a; b is spent at
each door, before its deadline. So a run ends when it would, and only its first parcels come sooner:
the plan is a little freer than the engine, and it may use as few of the drivers as it likes. Its
kilometres are therefore those of an easier problem, found by a heuristic in the time given.

PyVRP is not among the engine's own dependencies: ``pip install mallard-engine[hindsight]``.
"""

import random
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from mallard_engine.core.pickup.pickup_plan import service_times
from mallard_engine.core.pickup.store_tour import Call, best_tour
from mallard_engine.simulation.scenario import Scenario

# So many visits of each size are averaged.
_VISITS = 40


class HindsightUnavailable(Exception):
    """PyVRP is not installed; the message says how to get it."""


@dataclass(frozen=True, slots=True)
class HindsightPlan:
    """What the plan comes to. ``feasible``: every parcel is on time, within vehicles and blocks."""

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
        """Kilometres an order."""
        return self.km / self.orders


def plan_day(scenario: Scenario, *, minutes: float, seed: int) -> HindsightPlan:
    """Plan the day of a scenario with one mall. :raises HindsightUnavailable:"""
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
    """Seconds that a visit to the mall begins with, and what each of its parcels adds: a line
    through the mean visits for 1 to as many parcels as a run may have."""
    mall = scenario.places.mall(scenario.orders[0].mall)
    service_time = service_times(scenario.places.malls, scenario.service.park_ms / 1000)
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
    # Location 0 is the mall, 1 is wherever a driver ends: it is no way from anywhere.
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
                # Handed over by then, so that it must begin so much earlier.
                tw_late=(order.best_by_ms - start_ms) // 1000 - door_s,
                release_time=(order.ready_ms - start_ms) // 1000,
            )
        )
    types = []
    for shift in scenario.shifts:
        home = shift.lat, shift.lon
        way_in_s = scenario.travel.seconds(*home, mall.lat, mall.lon, start_ms)
        room = min(shift.vehicle.max_jobs if shift.vehicle else 1, scenario.policy.max_run_jobs)
        types.append(
            pyvrp.VehicleType(
                capacity=[room],
                start_depot=0,
                end_depot=1,
                # The way from home to the mall, for those who come at all.
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
