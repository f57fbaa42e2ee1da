"""What the stops of a mall's runs come to: ways, times, loads, lateness."""

from collections.abc import Sequence
from itertools import pairwise
from math import inf
from typing import NamedTuple

from mallard_engine.core.matching.capacity import Load, load_of, misfit
from mallard_engine.core.matching.travel_time import Points, TravelTime
from mallard_engine.core.model import HeldJob, Need
from mallard_engine.core.pickup.approximate_tour import ApproximateTour
from mallard_engine.core.pickup.pickup_deadline import collect_by_ms
from mallard_engine.core.places.mall import Mall
from mallard_engine.core.policy import MarketPolicy
from mallard_engine.core.runs.drop_off_order import HARD_S, Order, OrderCosts, Stops, best_order
from mallard_engine.core.runs.run import RunDriver

# A job that will be late whatever is done may be so much later for its run.
_GRACE_MS = 1_800_000.0


class Draft(NamedTuple):
    """A run in the making: indexes of its stops in their order, what it carries, all lateness and
    all waiting for it together; ``slack_s``: how much later it may leave before one more is late;
    ``ends_s``: from now until its last parcel is handed over. ``full``: somebody would gain by
    joining and may not."""

    turn: Order
    load: Load
    late_s: float
    waited_s: float
    slack_s: float = 0.0
    ends_s: float = 0.0
    full: bool = False


class RunStops:
    """The drop-offs of a mall's jobs, with the ways between them; they are numbered as ``needs``
    are. A job that names a store which the mall does not have raises `KeyError`."""

    def __init__(
        self,
        mall: Mall,
        needs: Sequence[Need],
        now_ms: int,
        policy: MarketPolicy,
        travel: TravelTime,
        tour: ApproximateTour,
    ) -> None:
        costs = policy.run
        self.needs = needs
        self.costs = OrderCosts(
            late=HARD_S if costs.deadlines == "hard" else costs.late,
            back=costs.back,
            delay=costs.delay,
        )
        self._now_ms = now_ms
        self._policy = policy
        self._tour = tour
        places = [(mall.lat, mall.lon), *((need.lat, need.lon) for need in needs)]
        points = Points.of(places)
        # From and to: 0 is the mall, each stop is one more than its number.
        self.way_s = travel.matrix(points, points, now_ms)
        self.alone_s = self.way_s[0] + costs.back * self.way_s[:, 0]
        self._ways_s: list[list[float]] = self.way_s.tolist()
        # When the parcels of each must be in hand at the latest; those of a carried job have their
        # driver already.
        self._collect_by_ms = [
            collect_by_ms(mall, need, now_ms) if need.stores else inf for need in needs
        ]
        # When each would be handed over by one who is at the mall now and takes it alone.
        self._alone_ms = [
            now_ms + int((self.visit_s((turn,)) + out_s + policy.dropoff_dwell_s) * 1000)
            for turn, out_s in enumerate(self._ways_s[0][1:])
        ]

    def evaluated(self, turn: Order, load: Load, driver: RunDriver) -> Draft | None:
        """The draft, unless it does not fit the vehicle or the driver's time."""
        if misfit(driver.vehicle, load, self._policy.max_run_jobs):
            return None
        leaves_ms = self.leaves_ms(turn, driver)
        late_s = waited_s = 0.0
        slack_s = self._collect_slack_s(turn, driver)
        # A draft for no driver in particular is late for nothing: its driver may be nearer.
        if slack_s < 0 and driver.driver:
            return None
        done_s = self.done_s(turn)
        for index, at_s in zip(turn, done_s, strict=True):
            spare_s = (self._by_ms(index, driver) - leaves_ms) / 1000 - at_s
            late_s += max(0.0, -spare_s)
            slack_s = min(slack_s, spare_s)
            waited_s += at_s
        ends_s = (leaves_ms - self._now_ms) / 1000 + done_s[-1]
        if ends_s > driver.until_s:
            return None
        return Draft(turn, load, late_s, waited_s, slack_s, ends_s)

    def ordered(self, turn: Order, driver: RunDriver) -> Draft:
        """These stops in their best order."""
        best = best_order(self._stops_of(turn, driver), self.costs, tuple(range(len(turn))))
        turn = tuple(turn[stop] for stop in best.order)
        return Draft(turn, self.load(turn), best.late_s, sum(best.done_s))

    def load(self, turn: Order) -> Load:
        """What these stops' parcels take up together."""
        return load_of(self.needs[index] for index in turn)

    def visit_s(self, turn: Order) -> float:
        """From parking until all parcels are in hand, if they are ready, and back at the gate."""
        stores: set[str] = set()
        for index in turn:
            if not self.needs[index].stores:
                # Of what a driver carries the stores are not told.
                return self._tour.mean_visit_s(len(turn))
            stores.update(self.needs[index].stores)
        return sum(self._tour.visit_s(stores))

    def _collect_slack_s(self, turn: Order, driver: RunDriver) -> float:
        """How much later the driver could come and still collect all in time."""
        stores = {store for index in turn for store in self.needs[index].stores}
        in_s = self._tour.visit_s(stores)[0]
        if any(not self.needs[index].stores for index in turn):
            in_s = self.visit_s(turn)
        ready_ms = max(self.needs[index].ready_ms for index in turn)
        in_hand_ms = max(self._now_ms + (driver.there_s + in_s) * 1000, ready_ms)
        return (min(self._collect_by_ms[index] for index in turn) - in_hand_ms) / 1000

    def leaves_ms(self, turn: Order, driver: RunDriver) -> float:
        """When the driver drives off with these parcels."""
        ready_ms = max(self.needs[index].ready_ms for index in turn)
        return max(self._now_ms + (driver.there_s + self.visit_s(turn)) * 1000, ready_ms)

    def done_s(self, turn: Order) -> list[float]:
        """From leaving the mall until each stop is served, in turn."""
        done_s, at_s, here = [], 0.0, 0
        for index in turn:
            at_s += self._ways_s[here][index + 1] + self._policy.dropoff_dwell_s
            done_s.append(at_s)
            here = index + 1
        return done_s

    def route_s(self, turn: Order) -> float:
        """The way of a run, and back as far as that counts."""
        points = [0, *(index + 1 for index in turn)]
        way_s = sum(self._ways_s[here][there] for here, there in pairwise(points))
        return way_s + self._policy.run.back * self._ways_s[points[-1]][0]

    def lost_s(self, draft: Draft, longer: Draft, index: int) -> float:
        """What the others lose in time when one joins, and it itself."""
        waited_s = longer.waited_s - draft.waited_s - self._ways_s[0][index + 1]
        late_s = max(0.0, longer.late_s - draft.late_s)
        return self.costs.delay * max(0.0, waited_s) + self.costs.late * late_s

    def spare_s(self, index: int) -> float:
        """How much time a stop has left, if it went alone with somebody who is at the mall now."""
        door_s = (self.needs[index].deadline_ms - self._alone_ms[index]) / 1000
        in_s = self._tour.visit_s(self.needs[index].stores)[0]
        return min(door_s, (self._collect_by_ms[index] - self._now_ms) / 1000 - in_s)

    def _by_ms(self, index: int, driver: RunDriver) -> float:
        """Until when a stop counts as in time. Who would be late even alone cannot be saved: so
        much later it may become, so that lateness does not breed small runs, and more lateness; but
        not what a driver carries already, for one more."""
        deadline_ms = self.needs[index].deadline_ms
        alone_ms = self._alone_ms[index] + driver.there_s * 1000
        if alone_ms <= deadline_ms or not self.needs[index].stores:
            return deadline_ms
        return alone_ms + _GRACE_MS

    def _stops_of(self, turn: Order, driver: RunDriver) -> Stops:
        at = [0, *(index + 1 for index in turn)]
        ways_s = [[self._ways_s[here][there] for there in at] for here in at]
        leaves_ms = self.leaves_ms(turn, driver)
        return Stops(
            out_s=ways_s[0][1:],
            between_s=[row[1:] for row in ways_s[1:]],
            back_s=[row[0] for row in ways_s[1:]],
            due_s=[(self._by_ms(index, driver) - leaves_ms) / 1000 for index in turn],
            dwell_s=self._policy.dropoff_dwell_s,
        )


def need_of(held: HeldJob) -> Need:
    """What a job that a driver carries needs still, as far as its record tells."""
    return Need(
        stores=(),
        ready_ms=0,
        deadline_ms=held.deadline_ms,
        expires_ms=held.deadline_ms,
        lat=held.lat,
        lon=held.lon,
        parcels=1,
        weight_g=held.weight_g,
        volume_l=held.volume_l,
        requires=(),
        priority=0,
        created_ms=0,
    )
