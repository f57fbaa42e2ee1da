"""A day planned with full hindsight, by PyVRP: what a dispatcher's kilometres are held against.

The plan knows every order from the start. It has the same drivers on the same blocks, the same room
in a vehicle, and the same ways; each parcel is released when it is ready and is due when it is
wanted; drivers return to the mall for the next run, and end where they end. It is a little freer
than the engine: the time in the mall is spent at the doors instead (so the first parcel of a run
comes sooner), and it may use as few of the drivers as it likes. Its kilometres are therefore those
of an easier problem, found by a heuristic in the time given.

PyVRP is not among the engine's own dependencies: ``pip install mallard[hindsight]``.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.simulation.scenario import Scenario


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
            "the plan needs PyVRP: pip install 'mallard[hindsight]'"
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
    clients = []
    for number, order in enumerate(scenario.orders, start=2):
        visit_ms = sum(mall.stores[s].walk_s * 1000 + service.park_ms for s in order.stores)
        clients.append(
            pyvrp.Client(
                number,
                delivery=[1],
                service_duration=(visit_ms + service.door_ms + service.leave_ms) // 1000,
                # Handed over by then, so that it must begin so much earlier.
                tw_late=(order.best_by_ms - service.door_ms - start_ms) // 1000,
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
        [pyvrp.Depot(0), pyvrp.Depot(1)],
        types,
        [np.rint(metres).astype(np.int64)],
        [np.rint(seconds).astype(np.int64)],
    )
