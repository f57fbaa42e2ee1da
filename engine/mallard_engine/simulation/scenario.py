"""The data of a simulated day: a market, orders, shifts and service times.

Times are epoch milliseconds of the virtual clock, positions WGS 84 degrees.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from mallard_engine.core.matching.travel_time import TravelTime
from mallard_engine.core.model import Vehicle
from mallard_engine.core.places.markets import Places
from mallard_engine.core.policy import MarketPolicy
from mallard_engine.simulation.pickup_points import STORE
from mallard_engine.workload.bad_day.events import BadDay
from mallard_engine.workload.bad_day.ledger import Accounts

# Thursday, 2026-01-01: midnight of a simulated day.
MIDNIGHT_MS = 1_767_225_600_000
MINUTE_MS = 60_000

Distance = Callable[[float, float, float, float], float]


@dataclass(frozen=True, slots=True)
class SimulatedOrder:
    """An order that is posted at `placed_ms` and wanted by `best_by_ms`.

    The engine looks for a driver until `expires_ms`.
    """

    id: str
    mall: str
    lat: float
    lon: float
    placed_ms: int
    ready_ms: int
    best_by_ms: int
    expires_ms: int
    stores: tuple[str, ...] = (STORE,)
    pay_minor: int = 0
    parcels: int = 1


@dataclass(frozen=True, slots=True)
class Shift:
    """One driver's day.

    Attributes:
        acceptance: The probability that it accepts an offer.
        history: The results of former offers, as the driver's record stores them.
        vehicle: Its capacity; None: a car with its usual room, as of an app that states none.
    """

    driver: str
    lat: float
    lon: float
    on_ms: int
    off_ms: int
    acceptance: float = 1.0
    history: str = ""
    vehicle: Vehicle | None = None


@dataclass(frozen=True, slots=True)
class Service:
    """Service times in ms, besides the walks in the mall.

    Attributes:
        park_ms: At the counter of each store, if the parcels are ready.
        door_ms: From the arrival at the door to the delivery.
        leave_ms: From the delivery until the driver is free.
    """

    park_ms: int
    door_ms: int
    leave_ms: int


@dataclass(frozen=True, slots=True)
class Scenario:
    """A day to simulate.

    Attributes:
        travel: The travel time, both actual and as the engine expects it.
        distance_m: The metres driven between two points.
        answer_ms: The time from an offer to its answer.
        sweep_s: The interval of the sweeps, which end cool-downs.
        blocks_known: Whether the engine knows when and where shifts begin.
        bad_day: What goes wrong; None: nothing.
        readme_drivers: Whether drivers have the app of README.md; not on a bad day.
    """

    name: str
    market: str
    places: Places
    policy: MarketPolicy
    travel: TravelTime
    distance_m: Distance
    service: Service
    orders: tuple[SimulatedOrder, ...]
    shifts: tuple[Shift, ...]
    start_ms: int
    end_ms: int
    answer_ms: int = 0
    sweep_s: float = 1.0
    blocks_known: bool = False
    seed: int = 0
    bad_day: BadDay | None = None
    readme_drivers: bool = False


@dataclass(frozen=True, slots=True)
class Trip:
    """One delivered job.

    Attributes:
        accepted_ms: When the driver departed for the mall.
        way_in_m: Metres to the mall, for the first delivered job of a run; 0 for the others.
        way_out_m: Metres from the stop before to the drop-off.
        run: The name that the jobs of one visit to the mall share.
    """

    order: SimulatedOrder
    driver: str
    accepted_ms: int
    arrived_ms: int
    picked_up_ms: int
    dropped_off_ms: int
    way_in_m: float
    way_out_m: float
    run: str = ""


@dataclass(frozen=True, slots=True)
class Day:
    """The result of a scenario.

    Attributes:
        trips: The deliveries in the order of their ends.
        events: The market's event stream.
        offers: The number of offers by result.
        wall_s: The time that the simulation took.
        store_calls: The number of commands sent to Redis.
        accounts: Where the parcels of a bad day are; None for other days.
    """

    scenario: Scenario
    trips: tuple[Trip, ...]
    events: tuple[dict[str, object], ...]
    offers: dict[str, int]
    wall_s: float
    store_calls: int
    accounts: Accounts | None = None


def cut_to(scenario: Scenario, from_ms: int) -> Scenario:
    """Return the rest of a day: the orders placed from then on, and the drivers of that time.

    A driver whose shift has begun is at its start and free.
    """
    return replace(
        scenario,
        orders=tuple(order for order in scenario.orders if order.placed_ms >= from_ms),
        shifts=tuple(
            replace(shift, on_ms=max(shift.on_ms, from_ms))
            for shift in scenario.shifts
            if shift.off_ms > from_ms
        ),
        start_ms=max(scenario.start_ms, from_ms),
    )
