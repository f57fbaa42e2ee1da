"""Runs of a mall's jobs that wait for their deadlines: which leave now, and with whom.

Runs are made around the jobs that must leave first, for no driver yet. A run is filled with the
company that saves most beyond its potential, as in `pooling`; but the potential rises with the time
that a job has. Who has hours may yet find the very best company, and is worth more to a later run
that must go through its quarter anyway; who must leave soon joins what there is. Then members are
exchanged for jobs that wait, as long as that helps.

A run leaves when it must: when its most pressing stop would be late but for the margin, or one of
it has been held for as long as it may. One that is full leaves before that if its way is a small
share of what its jobs would take alone.

Drivers are found for the most pressing run first. Of those who can do all of it whoever is there
soonest, and long blocks are kept for what needs them; but what may be added on the way should fit
into the block as well. Where nobody has the time or the driver for all of a run that must leave,
whoever can take most of it does, and the rest is planned anew.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import inf
from statistics import median
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mallard_engine.core.policy import MarketPolicy
from mallard_engine.core.runs.drop_off_order import Order
from mallard_engine.core.runs.run import RunDriver
from mallard_engine.core.runs.stops import Draft, RunStops

# What a second counts that a driver would have left in its block, up to an hour, beyond what jobs
# that are added on its way may take; or that it would have less.
_LEFT = 0.05
_LEFT_S = 3_600.0
_GROWS_S = 1_800.0
# So many of the jobs and places with the most to gain are tried as the next one of a run.
_TRIED = 24
# Nobody with more time than this is the first of a run: whatever its company, it need not leave.
_FIRST_S = 7_200.0
# An exchange gains so much at the least; and so often members are exchanged at the most.
_LEAST_GAIN_S = 30.0
_EXCHANGES = 12
# A run that stays is not looked at again sooner than this, unless something happens.
_LEAST_HOLD_MS = 1_000


class Leaving(NamedTuple):
    """A run that leaves: its stops in order, its driver, and why (see
    `mallard_engine.core.runs.run.Run`)."""

    turn: Order
    driver: RunDriver
    why: str


class Release:
    """A mall's stops, and until when each may be held (epoch ms); by stop, whom it bars."""

    def __init__(
        self,
        stops: RunStops,
        until_ms: Sequence[int],
        barred: Sequence[frozenset[str]],
        now_ms: int,
        policy: MarketPolicy,
    ) -> None:
        self._stops = stops
        self._until_ms = until_ms
        self._barred = barred
        self._now_ms = now_ms
        self._policy = policy
        self._holds = policy.hold_max_s > 0
        count = len(until_ms)
        self._spare_s = np.array([stops.spare_s(index) for index in range(count)])
        # The order in which they must leave: by their deadlines, or as their holds end.
        held_s = (np.array(until_ms, dtype=np.float64) - now_ms) / 1000
        self._pressing_s = np.minimum(self._spare_s, held_s)
        costs = policy.run
        patience = np.clip(self._spare_s / costs.patient_s, 0.0, 1.0)
        potential = costs.potential + (costs.patient - costs.potential) * patience
        # What a job may add to a run's way at the most.
        self._worth_s: NDArray[np.float64] = (1 - potential) * stops.alone_s[1 : count + 1]

    def leaving(
        self, left: Sequence[int], run_drivers: Sequence[RunDriver]
    ) -> tuple[list[Leaving], dict[int, int]]:
        """The runs of these stops that leave with these drivers, who are in turn of their cost; and
        of runs that stay, until when (epoch ms), by their first stop."""
        free, left = list(run_drivers), list(left)
        found: list[Leaving] = []
        held_ms: dict[int, int] = {}
        again = True
        while again and free and left:
            again = False
            usual = _usual(free)
            drafts = self._drafts(left, usual)
            for draft in sorted(drafts, key=lambda it: (it.slack_s, it.turn)):
                why = self._why(draft, usual)
                if not why:
                    stays_ms = int((draft.slack_s - self._policy.hold_margin_s) * 1000)
                    held_ms[self._first(draft.turn)] = self._now_ms + max(stays_ms, _LEAST_HOLD_MS)
                    continue
                leaving = self._driven(draft, why, free) or self._in_part(draft, why, free)
                if leaving is not None:
                    found.append(leaving)
                    free.remove(leaving.driver)
                    left = [index for index in left if index not in leaving.turn]
                    again = again or len(leaving.turn) < len(draft.turn)
        return found, held_ms

    def _drafts(self, left: Sequence[int], driver: RunDriver) -> list[Draft]:
        """The runs around those of these stops that must leave soon, as if such a driver came."""
        stops, drafts = self._stops, []
        pool = sorted(left, key=lambda index: (self._pressing_s[index], index))
        while pool:
            first = pool[0]
            if self._holds and self._pressing_s[first] - driver.there_s > _FIRST_S:
                break
            draft = stops.evaluated((first,), stops.load((first,)), driver)
            if draft is None:
                pool.remove(first)
                continue
            draft = self._filled(draft, pool[1:], driver)
            draft = self._exchanged(draft, pool[1:], driver)
            drafts.append(draft)
            gone = set(draft.turn)
            pool = [index for index in pool if index not in gone]
        return drafts

    def _why(self, draft: Draft, driver: RunDriver) -> str:
        """Why a run leaves now; empty if it stays."""
        if not self._holds:
            return "free"
        must = draft.slack_s <= self._policy.hold_margin_s + _LEAST_HOLD_MS / 1000
        if must or any(self._until_ms[index] <= self._now_ms for index in draft.turn):
            return "due"
        alone_s = float(sum(self._stops.alone_s[index + 1] for index in draft.turn))
        is_close = self._stops.route_s(draft.turn) <= self._policy.run.close * alone_s
        return "full" if is_close and len(draft.turn) >= self._most(driver) else ""

    def _first(self, turn: Order) -> int:
        """The most pressing of these stops."""
        return min(turn, key=lambda index: (self._pressing_s[index], index))

    def _most(self, driver: RunDriver) -> int:
        return min(self._policy.max_run_jobs, driver.vehicle.max_jobs)

    def _filled(self, draft: Draft, others: Sequence[int], driver: RunDriver) -> Draft:
        """The draft with all the company that it finds."""
        rest = np.array([index for index in others if index not in draft.turn], dtype=np.intp)
        while len(rest) and len(draft.turn) < self._most(driver):
            longer = self._longer(draft, rest, driver)
            if longer is None:
                break
            draft = longer
            rest = rest[~np.isin(rest, draft.turn)]
        return draft

    def _longer(self, draft: Draft, others: NDArray[np.intp], driver: RunDriver) -> Draft | None:
        """The draft with the job that gains most by joining; None if nobody may or would."""
        stops = self._stops
        here = np.array([0, *(index + 1 for index in draft.turn)])
        after = np.append(here[1:], 0)
        new = others + 1
        on_s = stops.way_s[new[None], after[:, None]]
        leg_s = stops.way_s[here, after]
        # The last leg is the way back, as far as that counts.
        on_s[-1] *= self._policy.run.back
        leg_s[-1] *= self._policy.run.back
        detour_s = stops.way_s[here[:, None], new[None]] + on_s - leg_s[:, None]
        gain_s = self._worth_s[others][None] - detour_s
        # A place on the way that makes somebody late may have another nearly as good behind it.
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
        """The draft after exchanges of its members, but the first, for better ones that wait."""
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
        """What a run brings: what its members are worth, less their way and their waits."""
        worth_s = float(sum(self._worth_s[index] for index in draft.turn))
        return worth_s - self._stops.route_s(draft.turn) - self._stops.costs.delay * draft.waited_s

    def _driven(self, draft: Draft, why: str, free: Sequence[RunDriver]) -> Leaving | None:
        """The run with the driver who suits it best; None if nobody can take all of it."""
        best, best_s = None, inf
        for driver in free:
            own = self._evaluated(draft.turn, driver)
            if own is None or (why != "due" and own.late_s > draft.late_s):
                continue
            left_s = abs(min(driver.until_s - own.ends_s, _LEFT_S) - _GROWS_S)
            cost_s = driver.there_s + _LEFT * left_s + self._stops.costs.late * own.late_s
            if cost_s < best_s:
                best, best_s = Leaving(draft.turn, driver, why), cost_s
        return best

    def _in_part(self, draft: Draft, why: str, free: Sequence[RunDriver]) -> Leaving | None:
        """As much as somebody can take of a run that must leave."""
        if why == "full":
            return None
        best: Leaving | None = None
        for driver in free:
            turn = draft.turn
            while turn and self._evaluated(turn, driver) is None:
                turn = self._shorter(turn)
            if turn and (best is None or len(turn) > len(best.turn)):
                best = Leaving(turn, driver, why)
        return best

    def _shorter(self, turn: Order) -> Order:
        """Without the stop whose leaving out saves the most way, but for the most urgent one."""
        first = self._first(turn)
        ways = [turn[:at] + turn[at + 1 :] for at in range(len(turn)) if turn[at] != first]
        return min(ways, key=self._stops.route_s) if ways else ()

    def _evaluated(self, turn: Order, driver: RunDriver) -> Draft | None:
        """The run with this driver, unless it is asked too much or would wait at the mall."""
        if any(driver.driver in self._barred[index] for index in turn):
            return None
        stops = self._stops
        done_ms = self._now_ms + (driver.there_s + stops.visit_s(turn)) * 1000
        if any(stops.needs[index].ready_ms > done_ms for index in turn):
            return None
        return stops.evaluated(turn, stops.load(turn), driver)


def _usual(free: Sequence[RunDriver]) -> RunDriver:
    """A driver such as these are: as far off as half of them, with the most driver of all."""
    vehicles = [driver.vehicle for driver in free]
    vehicle = replace(
        vehicles[0],
        max_jobs=max(it.max_jobs for it in vehicles),
        max_weight_g=max(it.max_weight_g for it in vehicles),
        max_volume_l=max(it.max_volume_l for it in vehicles),
        equipment=tuple(sorted({own for it in vehicles for own in it.equipment})),
    )
    return RunDriver("", vehicle, median(driver.there_s for driver in free))
