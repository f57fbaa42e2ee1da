"""What a day is made of: a market, orders, shifts, the rules of the ground. Plain data.

Times are epoch milliseconds of the virtual clock, positions WGS 84 degrees.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from mallard_engine.core.matching.travel_time import TravelTime
from mallard_engine.core.model import Vehicle
from mallard_engine.core.places.markets import Places
from mallard_engine.core.policy import MarketPolicy
from mallard_engine.simulation.pickup_points import STORE

# Thursday, 2026-01-01: midnight of a simulated day.
MIDNIGHT_MS = 1_767_225_600_000
MINUTE_MS = 60_000

Distance = Callable[[float, float, float, float], float]


@dataclass(frozen=True, slots=True)
class SimulatedOrder:
    """An order that a shop posts at ``placed_ms``. ``best_by_ms``: when it is wanted; the engine
    looks for a driver until ``expires_ms``."""

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


@dataclass(frozen=True, slots=True)
class Shift:
    """One driver's day. ``acceptance``: how likely it takes an offer; ``history``: how those of
    former days ended, as its record keeps them; ``vehicle``: what it carries, None: one job."""

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
    """What stops take besides the walks in the mall, all in ms: the counter of each store (if the
    parcels are ready), from arriving at the door to handed over, from there to free."""

    park_ms: int
    door_ms: int
    leave_ms: int


@dataclass(frozen=True, slots=True)
class Scenario:
    """A day to be simulated. ``travel`` is the truth and what the engine reckons with;
    ``distance_m``: the metres driven between two points; ``answer_ms``: how long a driver looks at
    an offer before it answers; ``sweep_s``: how often the engine looks at what has no timer of its
    own (where a cool-down may end); ``blocks_known``: whether the engine knows when and where the
    drivers' shifts begin."""

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


@dataclass(frozen=True, slots=True)
class Trip:
    """One job carried out, as it was on the ground. ``accepted_ms``: when its driver set off.
    ``run``: a name that the jobs of one visit to the mall share; the way there is that of the first
    of them to be handed over, and each has the way from the stop before as its way out."""

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
    """What became of a scenario: the trips in the order of their end, the market's event stream,
    offers by how they ended, and what it took."""

    scenario: Scenario
    trips: tuple[Trip, ...]
    events: tuple[dict[str, object], ...]
    offers: dict[str, int]
    wall_s: float
    store_calls: int


def cut_to(scenario: Scenario, from_ms: int) -> Scenario:
    """The rest of a day: orders that are placed from then on, and the drivers who are at work then
    or later; who has begun already is where its shift begins, and free."""
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
