"""The stops of a mall's jobs, and the evaluation of runs: routes, times, loads, lateness."""

from collections.abc import Sequence
from itertools import pairwise
from math import inf
from typing import NamedTuple

from mallard_engine.core.matching.capacity import Load, load_of, misfit
from mallard_engine.core.matching.travel_time import Points, TravelTime
from mallard_engine.core.model import HeldJob, Need
from mallard_engine.core.pickup.approximate_tour import ApproximateTour
from mallard_engine.core.pickup.pickup_deadline import collect_by_ms
from mallard_engine.core.pickup.pickup_plan import MINUTE_MS, ServiceTime, run_tour
from mallard_engine.core.places.mall import Mall
from mallard_engine.core.policy import MarketPolicy
from mallard_engine.core.runs.drop_off_order import HARD_S, Order, OrderCosts, Stops, best_order
from mallard_engine.core.runs.run import RunDriver

# A job that is late even alone may be this much later in a run; where many jobs wait for each
# driver, it would wait for the next driver still longer.
_GRACE_MS = 1_800_000.0
_GRACE_BEHIND_MS = 5_400_000.0
# What each further job of a run may take longer than planned: a crowded counter, the way from the
# gate, a door that is hard to find. All of them together count no more than a held job's margin.
_UNKNOWN_S = 10.0
# More than sums of travel times can differ by rounding, and of no account otherwise.
_ROUNDING_S = 1.0


class Draft(NamedTuple):
    """A candidate run.

    `turn`: indexes of its stops in order; `late_s`, `waited_s`: the lateness, with a margin for
    what a plan cannot know, and the waiting of all stops, summed; `slack_s`: how much later it may
    leave before another stop is late; `ends_s`: seconds from now until its last drop-off; `full`: a
    job would gain by joining but does not fit.
    """

    turn: Order
    load: Load
    late_s: float
    waited_s: float
    slack_s: float = 0.0
    ends_s: float = 0.0
    full: bool = False


class RunStops:
    """The drop-offs of a mall's jobs and the travel times between them, indexed like `needs`.

    The last `carried` needs are those of jobs which drivers on their way already hold.
    `is_behind`: far more jobs wait than drivers are free.

    Raises:
        KeyError: A job names a store that the mall does not have.
    """

    def __init__(
        self,
        mall: Mall,
        needs: Sequence[Need],
        now_ms: int,
        policy: MarketPolicy,
        travel: TravelTime,
        tour: ApproximateTour,
        service_time: ServiceTime,
        carried: int = 0,
        *,
        is_behind: bool = False,
    ) -> None:
        costs = policy.run
        self._grace_ms = _GRACE_BEHIND_MS if is_behind else _GRACE_MS
        self.needs = needs
        self.costs = OrderCosts(
            late=HARD_S if costs.deadlines == "hard" else costs.late,
            back=costs.back,
            delay=costs.delay,
        )
        self._now_ms = now_ms
        self._policy = policy
        self._tour = tour
        self._mall, self._service_time = mall, service_time
        # When each driver would have the parcels of these stops in hand, by its own tour.
        self._own_in_hand_ms: dict[tuple[frozenset[int], float, str], int] = {}
        places = [(mall.lat, mall.lon), *((need.lat, need.lon) for need in needs)]
        points = Points.of(places)
        # (stops + 1, stops + 1): row and column 0 are the mall, stop n is at n + 1.
        self.travel_s = travel.matrix(points, points, now_ms)
        self.alone_s = self.travel_s[0] + costs.back * self.travel_s[:, 0]
        self._travel_rows_s: list[list[float]] = self.travel_s.tolist()
        self._first_carried = len(needs) - carried
        # The latest time at which each job's parcels may be in hand; infinite for carried jobs,
        # which have a driver already.
        self._collect_by_ms = [
            *(collect_by_ms(mall, need, now_ms) for need in needs[: self._first_carried]),
            *[inf] * carried,
        ]
        # When each would be dropped off by a driver who is at the mall now and takes it alone, if
        # its parcels are ready; and at the earliest, as they are not ready sooner.
        self._alone_ms: dict[int, tuple[float, float]] = {}

    def evaluated(self, turn: Order, load: Load, driver: RunDriver) -> Draft | None:
        """Return the draft of this order; None if it exceeds the vehicle or the driver's time."""
        if misfit(driver.vehicle, load, self._policy.max_run_jobs):
            return None
        leaves_ms = self.leaves_ms(turn, driver)
        late_s = waited_s = 0.0
        slack_s = self._collect_slack_s(turn, driver)
        # A draft without a driver is not rejected: its driver may turn out to be nearer.
        if slack_s < 0 and driver.driver:
            return None
        done_s = self.done_s(turn)
        for index, at_s in zip(turn, done_s, strict=True):
            by_ms, safe_ms = self._by_ms(index, driver, len(turn))
            done_ms = leaves_ms + at_s * 1000
            late_s += max(0.0, (done_ms - safe_ms) / 1000)
            slack_s = min(slack_s, (by_ms - done_ms) / 1000)
            waited_s += at_s
        ends_s = (leaves_ms - self._now_ms) / 1000 + done_s[-1]
        if ends_s > driver.until_s:
            return None
        return Draft(turn, load, late_s, waited_s, slack_s, ends_s)

    def ordered(self, turn: Order, driver: RunDriver) -> Draft:
        """Return the draft of these stops in their best order."""
        best = best_order(self._stops_of(turn, driver), self.costs, tuple(range(len(turn))))
        turn = tuple(turn[stop] for stop in best.order)
        return Draft(turn, self.load(turn), best.late_s, sum(best.done_s))

    def load(self, turn: Order) -> Load:
        """Return the load of these stops' parcels."""
        return load_of(self.needs[index] for index in turn)

    def are_stores_known(self, turn: Order) -> bool:
        """Return whether all stores of these stops are known.

        Those of a job that was accepted on a node of an earlier version are not.
        """
        return all(self.needs[index].visits for index in turn)

    def visit_s(self, turn: Order, gate: str = "") -> tuple[float, float]:
        """Return the seconds of the visit to the mall, if all parcels are ready.

        Args:
            turn: The stops.
            gate: Where the driver parks; empty: it may choose.

        Returns:
            Seconds from the gate until the last parcel is in hand, and from there back to it.
        """
        if not self.are_stores_known(turn):
            return self._tour.mean_visit_s(len(turn)), 0.0
        return self._tour.visit_s(
            (store for index in turn for store in self.needs[index].visits), gate
        )

    def _collect_slack_s(self, turn: Order, driver: RunDriver) -> float:
        """Return how much later the driver could arrive and still collect everything in time."""
        stores = {store for index in turn for store in self.needs[index].visits}
        in_s, back_s = self.visit_s(turn, driver.gate)
        ready_ms = max(self.needs[index].ready_ms for index in turn)
        there_s = driver.there_s + driver.gate_s
        there_ms = self._now_ms + there_s * 1000
        in_hand_ms = max(there_ms + in_s * 1000, ready_ms)
        by_ms = min(self._collect_by_ms[index] for index in turn)
        if driver.driver and len(stores) > 1 and self.are_stores_known(turn):
            # The tour that the driver chooses on arrival takes no longer than to wait at the gate
            # until all is ready, and then to visit the stores in the approximate order.
            last_ms = max(there_ms, ready_ms) + (in_s + back_s) * 1000 + MINUTE_MS
            if max(there_ms, ready_ms) <= by_ms < last_ms:
                in_hand_ms = self._own_tour_ms(turn, there_s, driver.gate)
        return (by_ms - in_hand_ms) / 1000

    def _own_tour_ms(self, turn: Order, there_s: float, gate: str) -> int:
        """Return when a driver has the parcels in hand by the tour that it chooses on arrival."""
        key = frozenset(turn), there_s, gate
        known = self._own_in_hand_ms.get(key)
        if known is None:
            arrive_ms = self._now_ms + int(there_s * 1000)
            needs = [self.needs[index] for index in turn]
            tour = run_tour(self._mall, needs, self._service_time, arrive_ms, gate or None)
            known = self._own_in_hand_ms[key] = tour.done_ms(arrive_ms)
        return known

    def leaves_ms(self, turn: Order, driver: RunDriver) -> float:
        """Return when the driver leaves the mall with these parcels (epoch ms)."""
        in_s, back_s = self.visit_s(turn, driver.gate)
        there_ms = self._now_ms + (driver.there_s + driver.gate_s) * 1000
        ready_ms = max(self.needs[index].ready_ms for index in turn)
        return max(there_ms + in_s * 1000, ready_ms) + back_s * 1000

    def done_s(self, turn: Order) -> list[float]:
        """Return the seconds from leaving the mall until each stop is served, in order."""
        done_s, at_s, here = [], 0.0, 0
        for index in turn:
            at_s += self._travel_rows_s[here][index + 1] + self._policy.dropoff_dwell_s
            done_s.append(at_s)
            here = index + 1
        return done_s

    def route_s(self, turn: Order) -> float:
        """Return the seconds of a run's route with the counted share of the trip back."""
        points = [0, *(index + 1 for index in turn)]
        route_s = sum(self._travel_rows_s[here][there] for here, there in pairwise(points))
        return route_s + self._policy.run.back * self._travel_rows_s[points[-1]][0]

    def may_save_s(self, index: int, carried: Sequence[int]) -> float:
        """Return the most that stop `index` could gain in any order of a run of carried stops.

        Its detour is no shorter than that between the best two places of the run. `_ROUNDING_S`
        more, so that it is no bound only by rounding.
        """
        rows_s, back, stop = self._travel_rows_s, self._policy.run.back, index + 1
        own_s, places = rows_s[stop], [0, *(each + 1 for each in carried)]
        least_s = inf
        for here in places:
            out_s, legs_s = rows_s[here][stop], rows_s[here]
            for after in places[1:]:
                least_s = min(least_s, out_s + own_s[after] - legs_s[after])
            # As the last stop of the run: a share of the trip back counts.
            least_s = min(least_s, out_s + back * (own_s[0] - legs_s[0]))
        own_share = 1 - self._policy.run.potential
        return own_share * float(self.alone_s[stop]) - least_s + _ROUNDING_S

    def lost_s(self, draft: Draft, longer: Draft, index: int) -> float:
        """Return the cost of the delay and lateness that job `index` causes by joining."""
        waited_s = longer.waited_s - draft.waited_s - self._travel_rows_s[0][index + 1]
        late_s = max(0.0, longer.late_s - draft.late_s)
        return self.costs.delay * max(0.0, waited_s) + self.costs.late * late_s

    def spare_s(self, index: int) -> float:
        """Return the slack of a stop, if a driver who is at the mall now took it alone."""
        door_s = (self.needs[index].deadline_ms - self._taken_alone_ms(index, 0.0)) / 1000
        in_s = self._tour.surely_in_hand_s(self.needs[index].visits)
        return min(door_s, (self._collect_by_ms[index] - self._now_ms) / 1000 - in_s)

    def _taken_alone_ms(self, index: int, there_s: float) -> float:
        """Return when a driver who is so far from the mall would drop the stop off alone."""
        known = self._alone_ms.get(index)
        if known is None:
            in_s, back_s = self.visit_s((index,))
            way_s = back_s + self._travel_rows_s[0][index + 1] + self._policy.dropoff_dwell_s
            alone_ms = self._now_ms + int((in_s + way_s) * 1000)
            ready_ms = self.needs[index].ready_ms + int(way_s * 1000)
            known = self._alone_ms[index] = alone_ms, ready_ms
        return max(known[0] + there_s * 1000, known[1])

    def _by_ms(self, index: int, driver: RunDriver, count: int) -> tuple[float, float]:
        """Return until when a stop of a run of `count` jobs is in time, and surely so (epoch ms).

        The time between the two, for what a plan cannot know, is not for the other jobs of the run;
        a job that has less to spare even alone must not become later by them. A job that would be
        late even alone gets a grace: otherwise lateness would lead to small runs, and these to more
        lateness. Carried jobs get none.
        """
        by_ms: float = self.needs[index].deadline_ms
        alone_ms = self._taken_alone_ms(index, driver.there_s)
        if alone_ms > by_ms and index < self._first_carried:
            by_ms = alone_ms + self._grace_ms
        unknown_s = min(_UNKNOWN_S * (count - 1), self._policy.hold_margin_s)
        return by_ms, max(by_ms - unknown_s * 1000, min(alone_ms, by_ms))

    def _stops_of(self, turn: Order, driver: RunDriver) -> Stops:
        at = [0, *(index + 1 for index in turn)]
        legs_s = [[self._travel_rows_s[here][there] for there in at] for here in at]
        leaves_ms = self.leaves_ms(turn, driver)
        return Stops(
            out_s=legs_s[0][1:],
            between_s=[row[1:] for row in legs_s[1:]],
            back_s=[row[0] for row in legs_s[1:]],
            due_s=[(self._by_ms(index, driver, len(turn))[1] - leaves_ms) / 1000 for index in turn],
            dwell_s=self._policy.dropoff_dwell_s,
        )


def need_of(held: HeldJob) -> Need:
    """Return what a held job still requires, as far as the driver's record knows it."""
    return Need(
        stores=held.stores,
        ready_ms=held.ready_ms,
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
