"""Release by deadline: which runs leave now, and with which drivers (`run.plan` `by_deadline`).

Runs are built around the most urgent jobs, before a driver is chosen. A run is filled with the job
that saves most beyond its potential, as in `pooling`, but the potential rises with a job's slack. A
job with hours of slack must save more to join a run, because a better run may come; an urgent job
joins what there is. Then members are exchanged for waiting jobs while that improves the run.

A run leaves when it must: when one of its jobs may not be held, when only the margin is left before
its most urgent stop is late for a usual driver, or before no free driver is left who could still
serve that stop in time and within its block, or when one of its jobs has been held for as long as
allowed. Drivers who will be free later may be none or far away, so they do not count. A full
run leaves earlier if its route is a small share of its jobs' separate round trips.

If more runs must leave than drivers are free, those leave that deliver most orders an hour, less
the longer their most urgent order can still wait (the apparent tardiness cost of Vepsalainen and
Morton, 1987). By urgency alone each driver would carry one or two orders that are late anyway, and
a market that has fallen behind would fall behind further.

The most urgent run gets a driver first. Among drivers who can do all of it, the nearest is
preferred, and long blocks are kept for runs that need them, with room for add-ons. If no driver has
the time or the capacity for a whole run that must leave, the driver who can take most of it does,
and the rest is planned again.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import exp, inf
from statistics import median
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mallard_engine.core.policy import MarketPolicy
from mallard_engine.core.runs.drop_off_order import Order
from mallard_engine.core.runs.run import RunDriver
from mallard_engine.core.runs.stops import Draft, RunStops

# The cost of each second by which the driver's remaining block (up to `_BLOCK_LEFT_S`) differs from
# the time that add-ons may take.
_BLOCK_LEFT_WEIGHT = 0.05
_BLOCK_LEFT_S = 3_600.0
_ADD_ONS_S = 1_800.0
# How many insertions with the greatest gain are tried as the next job of a run.
_TRIED = 24
# A job with more slack than this does not start a run: no run with it would have to leave.
_FIRST_S = 7_200.0
# The least gain of an exchange, and the limit of exchanges in a run.
_LEAST_GAIN_S = 30.0
_EXCHANGES = 12
# If drivers are short, so many runs are compared for each of them.
_COMPARED = 4
# How long a run waits for the next driver if there is one usual run for each free driver; with a
# longer queue longer.
_WAIT_S = 1_800.0
_USUAL_RUN = 5
# By how much an order is late when its run counts double: no order waits for ever.
_LATE_DOUBLE_S = 14_400.0
# A run that stays is not reconsidered sooner than this, unless something happens.
_LEAST_HOLD_MS = 1_000


class Leaving(NamedTuple):
    """A run that leaves: its stops in order, its driver, and why (see `Run`)."""

    turn: Order
    driver: RunDriver
    why: str


class Release:
    """Decides which runs of a mall's stops leave.

    Args:
        stops: The drop-offs of the mall's jobs.
        until_ms: Until when each job may be held (epoch ms); 0: it may not be held.
        barred: The drivers that may not be asked for each job.
        opens_ms: When all shops of each job are open again: no driver comes sooner (epoch ms).
        now_ms: The present in epoch milliseconds.
        policy: The market's policy.
    """

    def __init__(
        self,
        stops: RunStops,
        until_ms: Sequence[int],
        barred: Sequence[frozenset[str]],
        opens_ms: Sequence[int],
        now_ms: int,
        policy: MarketPolicy,
    ) -> None:
        self._stops = stops
        self._until_ms = until_ms
        self._barred = barred
        self._opens_ms = opens_ms
        self._now_ms = now_ms
        self._policy = policy
        count = len(until_ms)
        self._spare_s = np.array([stops.spare_s(index) for index in range(count)])
        # Urgency: seconds to the deadline or to the end of the hold.
        held_s = (np.array(until_ms, dtype=np.float64) - now_ms) / 1000
        self._pressing_s = np.minimum(self._spare_s, held_s)
        costs = policy.run
        # A job that may not be held leaves now: no better run can come for it.
        may_hold = np.array(until_ms, dtype=np.float64) > 0
        patience = np.clip(self._spare_s / costs.patient_s, 0.0, 1.0) * may_hold
        potential = costs.potential + (costs.patient - costs.potential) * patience
        # The most that a job may add to a run's route.
        self._worth_s: NDArray[np.float64] = (1 - potential) * stops.alone_s[1 : count + 1]

    def leaving(
        self, left: Sequence[int], run_drivers: Sequence[RunDriver]
    ) -> tuple[list[Leaving], dict[int, int]]:
        """Return the runs that leave now, and until when others stay.

        Args:
            left: Indexes of the stops without a run.
            run_drivers: The free drivers, cheapest first.

        Returns:
            The runs that leave, and by the most urgent stop of each other run until when it stays
            (epoch ms).
        """
        free, left = list(run_drivers), list(left)
        found: list[Leaving] = []
        held_ms: dict[int, int] = {}
        # Stops of runs that stay, or that no free driver can take.
        passed: set[int] = set()
        while free and (tried := [index for index in left if index not in passed]):
            usual = _usual(free)
            drafts = self._drafts(tried, usual, free)
            if not drafts:
                break
            for draft in self._in_turn(drafts, usual, len(tried), len(free)):
                passed.update(draft.turn)
                why, stays_s = self._why(draft, usual, free)
                if not why:
                    stays_ms = int(stays_s * 1000)
                    held_ms[self._first(draft.turn)] = self._now_ms + max(stays_ms, _LEAST_HOLD_MS)
                    continue
                leaving = self._driven(draft, why, free) or self._in_part(draft, why, free)
                if leaving is not None:
                    found.append(leaving)
                    free.remove(leaving.driver)
                    left = [index for index in left if index not in leaving.turn]
                    if len(leaving.turn) < len(draft.turn):
                        passed.difference_update(draft.turn)
        return found, held_ms

    def _drafts(
        self, left: Sequence[int], usual: RunDriver, free: Sequence[RunDriver]
    ) -> list[Draft]:
        """Return candidate runs around the most urgent stops, for a usual driver.

        Of runs that leave for certain, a few for each driver: with a long queue and few drivers,
        most of the others would be planned in vain.
        """
        stops, drafts = self._stops, []
        leaving = 0
        pool = sorted(left, key=lambda index: (self._pressing_s[index], index))
        while pool and leaving < _COMPARED * len(free):
            first = pool[0]
            if self._pressing_s[first] - usual.there_s > _FIRST_S:
                break
            draft = stops.evaluated((first,), stops.load((first,)), usual)
            if draft is None or not (self._until_ms[first] or self._has_driver(first, free)):
                pool.remove(first)
                continue
            draft = self._filled(draft, pool[1:], usual)
            draft = self._exchanged(draft, pool[1:], usual)
            drafts.append(draft)
            leaving += self._leaves_now(draft)
            used = set(draft.turn)
            pool = [index for index in pool if index not in used]
        return drafts

    def _in_turn(
        self, drafts: Sequence[Draft], usual: RunDriver, stops: int, drivers: int
    ) -> list[Draft]:
        """Return the drafts that may get a driver, in the order in which they choose one.

        It is that of urgency, except among runs that leave for certain and are too many.
        """
        in_turn = sorted(drafts, key=lambda draft: (draft.slack_s, draft.turn))
        leaving = [draft for draft in in_turn if self._leaves_now(draft)]
        if len(leaving) <= drivers:
            return in_turn
        wait_s = _WAIT_S * max(1.0, stops / (_USUAL_RUN * drivers))
        leaving.sort(key=lambda draft: (-self._priority(draft, usual, wait_s), draft.turn))
        return leaving[:drivers] + [draft for draft in in_turn if not self._leaves_now(draft)]

    def _priority(self, draft: Draft, usual: RunDriver, wait_s: float) -> float:
        """Return the orders that the run delivers in a second, weighted by its urgency.

        ``wait_s``: how long a run that leaves later waits, about.
        """
        stops = self._stops
        back_s = stops.costs.back * float(stops.travel_s[draft.turn[-1] + 1, 0])
        rate = len(draft.turn) / (draft.ends_s + back_s)
        spare_s = float(min(self._spare_s[list(draft.turn)])) - usual.there_s
        slack_s = min(draft.slack_s, spare_s)
        return rate * (exp(-slack_s / wait_s) if slack_s > 0 else 1 - slack_s / _LATE_DOUBLE_S)

    def _has_driver(self, index: int, free: Sequence[RunDriver]) -> bool:
        """Return whether one of these drivers can serve the stop, and so start a run with it."""
        return any(self._evaluated((index,), driver) is not None for driver in free)

    def _slack_s(self, draft: Draft, usual: RunDriver, free: Sequence[RunDriver]) -> float:
        """Return how much later the run may leave with a usual driver, and with one of these.

        Of the free drivers, the one who can wait longest counts: until the most urgent stop would
        be late, or could not be served within the block. If no free driver can serve the stop, they
        do not limit the slack. A stop that will be late anyway does not wait until more lateness is
        allowed.
        """
        slack_s = min(draft.slack_s, float(min(self._spare_s[list(draft.turn)])) - usual.there_s)
        first = (self._first(draft.turn),)
        latest_s: float | None = None
        for driver in free:
            own = self._evaluated(first, driver)
            if own is None:
                continue
            latest_s = max(latest_s or 0.0, min(own.slack_s, driver.until_s - own.ends_s))
            if latest_s >= slack_s:
                break
        return slack_s if latest_s is None else min(slack_s, latest_s)

    def _why(self, draft: Draft, usual: RunDriver, free: Sequence[RunDriver]) -> tuple[str, float]:
        """Return why a run leaves now; or nothing, and for how many seconds it stays."""
        if self._leaves_now(draft):
            return "free", 0.0
        stays_s = self._slack_s(draft, usual, free) - self._policy.hold_margin_s
        must = stays_s <= _LEAST_HOLD_MS / 1000
        if must or any(self._until_ms[index] <= self._now_ms for index in draft.turn):
            return "due", 0.0
        alone_s = float(sum(self._stops.alone_s[index + 1] for index in draft.turn))
        is_close = self._stops.route_s(draft.turn) <= self._policy.run.close * alone_s
        return ("full" if is_close and len(draft.turn) >= self._most(usual) else ""), stays_s

    def _leaves_now(self, draft: Draft) -> bool:
        """Return whether the run leaves whatever its slack: one of its jobs may not be held."""
        return any(not self._until_ms[index] for index in draft.turn)

    def _first(self, turn: Order) -> int:
        """Return the most urgent of these stops."""
        return min(turn, key=lambda index: (self._pressing_s[index], index))

    def _most(self, driver: RunDriver) -> int:
        return min(self._policy.max_run_jobs, driver.vehicle.max_jobs)

    def _filled(self, draft: Draft, others: Sequence[int], driver: RunDriver) -> Draft:
        """Return the draft filled with all jobs that gain by joining it."""
        rest = np.array([index for index in others if index not in draft.turn], dtype=np.intp)
        while len(rest) and len(draft.turn) < self._most(driver):
            longer = self._longer(draft, rest, driver)
            if longer is None:
                break
            draft = longer
            rest = rest[~np.isin(rest, draft.turn)]
        return draft

    def _longer(self, draft: Draft, others: NDArray[np.intp], driver: RunDriver) -> Draft | None:
        """Return the draft with the job that gains most by joining; None if there is none."""
        stops = self._stops
        here = np.array([0, *(index + 1 for index in draft.turn)])
        after = np.append(here[1:], 0)
        new = others + 1
        on_s = stops.travel_s[new[None], after[:, None]]
        leg_s = stops.travel_s[here, after]
        # The last leg is the trip back, of which a share counts.
        on_s[-1] *= self._policy.run.back
        leg_s[-1] *= self._policy.run.back
        detour_s = stops.travel_s[here[:, None], new[None]] + on_s - leg_s[:, None]
        gain_s = self._worth_s[others][None] - detour_s
        # Where the best position makes a stop late, the next best may not.
        flat = gain_s.ravel()
        best = np.flatnonzero(flat > 0)
        if len(best) > _TRIED:
            best = best[np.argpartition(-flat[best], _TRIED)[:_TRIED]]
        for at in best[np.argsort(-flat[best], kind="stable")].tolist():
            place, column = divmod(at, len(others))
            index = int(others[column])
            turn = (*draft.turn[:place], index, *draft.turn[place:])
            longer = stops.evaluated(turn, draft.load.plus(stops.needs[index]), driver)
            if longer is None or longer.late_s > draft.late_s:
                continue
            if stops.lost_s(draft, longer, index) < flat[at]:
                return longer
        return None

    def _exchanged(self, draft: Draft, others: Sequence[int], driver: RunDriver) -> Draft:
        """Return the draft after exchanging members, except the most urgent, for better jobs."""
        stops = self._stops
        first = self._first(draft.turn)
        for _ in range(_EXCHANGES):
            rest = np.array([index for index in others if index not in draft.turn], dtype=np.intp)
            if not len(rest):
                break
            best, best_s = None, self._score_s(draft) + _LEAST_GAIN_S
            for member in draft.turn:
                if member == first:
                    continue
                turn = tuple(index for index in draft.turn if index != member)
                fewer = stops.evaluated(turn, stops.load(turn), driver)
                new = self._longer(fewer, rest, driver) if fewer is not None else None
                if new is not None and (score_s := self._score_s(new)) > best_s:
                    best, best_s = new, score_s
            if best is None:
                break
            draft = best
        return draft

    def _score_s(self, draft: Draft) -> float:
        """Return the value of a run: its members' worth less its route and delays."""
        worth_s = float(sum(self._worth_s[index] for index in draft.turn))
        return worth_s - self._stops.route_s(draft.turn) - self._stops.costs.delay * draft.waited_s

    def _driven(self, draft: Draft, why: str, free: Sequence[RunDriver]) -> Leaving | None:
        """Return the run with its best driver; None if no driver can take all of it."""
        best, best_s = None, inf
        for driver in free:
            if driver.there_s >= best_s:
                continue  # the way to the mall alone costs more
            own = self._evaluated(draft.turn, driver)
            if own is None or (why != "due" and own.late_s > draft.late_s):
                continue
            left_s = abs(min(driver.until_s - own.ends_s, _BLOCK_LEFT_S) - _ADD_ONS_S)
            cost_s = driver.there_s + _BLOCK_LEFT_WEIGHT * left_s
            cost_s += self._stops.costs.late * own.late_s
            if cost_s < best_s:
                best, best_s = Leaving(draft.turn, driver, why), cost_s
        return best

    def _in_part(self, draft: Draft, why: str, free: Sequence[RunDriver]) -> Leaving | None:
        """Return the largest part of a run that must leave which some driver can take."""
        if why == "full":
            return None
        best: Leaving | None = None
        for driver in free:
            turn = draft.turn
            if self._evaluated((self._first(turn),), driver) is None:
                continue  # all parts have the most urgent stop
            while turn and self._evaluated(turn, driver) is None:
                turn = self._shorter(turn)
            if turn and (best is None or len(turn) > len(best.turn)):
                best = Leaving(turn, driver, why)
        return best

    def _shorter(self, turn: Order) -> Order:
        """Return the order without the stop that saves most, except the most urgent one."""
        first = self._first(turn)
        ways = [turn[:at] + turn[at + 1 :] for at in range(len(turn)) if turn[at] != first]
        return min(ways, key=self._stops.route_s) if ways else ()

    def _evaluated(self, turn: Order, driver: RunDriver) -> Draft | None:
        """Evaluate the run for this driver; None if the driver cannot or would wait at the mall."""
        if any(driver.driver in self._barred[index] for index in turn):
            return None
        stops = self._stops
        there_ms = self._now_ms + driver.there_s * 1000
        if any(self._opens_ms[index] > there_ms for index in turn):
            return None
        done_ms = there_ms + sum(stops.visit_s(turn)) * 1000
        if any(stops.needs[index].ready_ms > done_ms for index in turn):
            return None
        return stops.evaluated(turn, stops.load(turn), driver)


def _usual(free: Sequence[RunDriver]) -> RunDriver:
    """Return a typical driver: at the median distance, with the largest capacity of all."""
    vehicles = [driver.vehicle for driver in free]
    vehicle = replace(
        vehicles[0],
        max_jobs=max(it.max_jobs for it in vehicles),
        max_weight_g=max(it.max_weight_g for it in vehicles),
        max_volume_l=max(it.max_volume_l for it in vehicles),
        equipment=tuple(sorted({own for it in vehicles for own in it.equipment})),
    )
    return RunDriver("", vehicle, median(driver.there_s for driver in free))
