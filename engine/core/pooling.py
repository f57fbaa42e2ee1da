"""Which queued jobs of one mall go together in a run, and which are held so that they can.

The job that must leave first is the seed of a run. It is filled, one job at a time, with the job
that saves most beyond its *potential*: a share of the way that it would take alone. What a job far
out could save later is worth more than what one around the corner could, so the share keeps it for
better company; no forecast is needed (Ma, Ma, Romero, "Potential-Based Greedy Matching for Dynamic
Delivery Pooling", arXiv 2502.16862: a half for pairs). What the others lose in time is taken off
the gain, and where deadlines are hard nobody becomes late by it. Then the order is optimised.

A run leaves when nobody more would fit into it, when one of its jobs must leave (its deadline, less
the way, the stops and the margin, or it has been held for as long as the market says), or when
nothing is held there at all. Everything else waits, and is told until when.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from engine.core.capacity import Load, load_of, misfit
from engine.core.eta import Points, TravelTime
from engine.core.mall import Mall
from engine.core.matching import barred_by
from engine.core.model import HeldJob, Need, Waiting
from engine.core.run_order import HARD_S, Order, OrderCosts, Stops, best_order
from engine.core.runs import Pooled, Room, Run, RunPolicy, collect_s, hold_until_ms

# So many of the jobs with the most to gain are tried as the next one of a run.
_TRIED = 6
# So many jobs are looked at together, the most urgent: company enough, and a round stays short.
_LOOKED_AT = 160
# A job that will be late whatever is done may be so much later for its run.
_GRACE_MS = 1_800_000.0


class _Draft(NamedTuple):
    """A run in the making: indexes of its stops in their order, what it carries, all lateness and
    all waiting for it together. ``full``: somebody would gain by joining and may not."""

    turn: Order
    load: Load
    late_s: float
    waited_s: float
    full: bool = False


class Pool:
    """The queued jobs of one mall, with the ways between them. A job that names a store which the
    mall does not have raises `KeyError`."""

    def __init__(
        self,
        mall: Mall,
        jobs: Sequence[Waiting],
        now_ms: int,
        policy: RunPolicy,
        travel: TravelTime,
    ) -> None:
        self._mall = mall
        self._now_ms = now_ms
        self._policy = policy
        self._travel = travel
        figures = policy.run
        self._costs = OrderCosts(
            late=HARD_S if figures.deadlines == "hard" else figures.late,
            back=figures.back,
            delay=figures.delay,
        )
        self._holds = policy.hold_max_s > 0
        self._jobs, self._until_ms, self._held = self._by_urgency(jobs)
        self._barred = [barred_by(job.asked, now_ms, policy.unreachable_s) for job in self._jobs]
        self._measure([job.need for job in self._jobs])

    def runs(self, rooms: Sequence[Room]) -> Pooled:
        """Runs for these drivers, at most one for each, in the order given: those who carry
        something already get one more job at the most."""
        if any(room.carried for room in rooms):
            carried_needs = [_need_of(held) for room in rooms for held in room.carried]
            self._measure([*(job.need for job in self._jobs), *carried_needs])
        left = list(range(len(self._jobs)))
        carried_from = len(left)
        runs: list[Run] = []
        for room in rooms:
            carried = range(carried_from, carried_from + len(room.carried))
            carried_from = carried.stop
            may_ask = [index for index in left if self._may_ask(index, room)]
            run = self._add_on(may_ask, room, carried) if carried else self._run_for(may_ask, room)
            if run is not None:
                runs.append(run)
                gone = {job.job for job in run.jobs}
                left = [index for index in left if self._jobs[index].job not in gone]
        gone = {job.job for run in runs for job in run.jobs}
        held = {job: until_ms for job, until_ms in self._held.items() if job not in gone}
        return Pooled(tuple(runs), held)

    def _may_ask(self, index: int, room: Room) -> bool:
        """Whether the driver may be asked for the job, and need not wait at the mall for it."""
        need = self._jobs[index].need
        there_ms = self._now_ms + (room.there_s + self._visit_s(need)) * 1000
        return need.ready_ms <= there_ms and room.driver not in self._barred[index]

    def _run_for(self, left: Sequence[int], room: Room) -> Run | None:
        """A run for a driver who carries nothing, if one should leave now."""
        # Behind somebody who is held all others are: the most urgent come first.
        alone = (self._reckoned((index,), self._load((index,)), room) for index in left)
        draft = next((found for found in alone if found is not None), None)
        if draft is None:
            return None
        draft = self._filled(draft, left, room)
        is_due = any(self._until_ms[index] <= self._now_ms for index in draft.turn)
        if self._holds and not is_due and not draft.full:
            return None
        return self._run(draft, room, "free" if not self._holds else "due" if is_due else "full")

    def _filled(self, draft: _Draft, left: Sequence[int], room: Room) -> _Draft:
        """The draft with all the company that it finds."""
        others = [index for index in left if index not in draft.turn]
        while others and not draft.full:
            longer = self._longer(draft, others, room)
            if len(longer.turn) == len(draft.turn):
                draft = longer
                break
            draft = longer
            others = [index for index in others if index not in draft.turn]
        most = min(room.vehicle.max_jobs, self._policy.max_run_jobs)
        return draft._replace(full=draft.full or draft.load.jobs >= most)

    def _add_on(self, left: Sequence[int], room: Room, carried: range) -> Run | None:
        """One more job for a driver on its way here, if it is worth it."""
        before = self._ordered(tuple(carried), room)
        draft = self._longer(before, left, room) if left else before
        if len(draft.turn) == len(before.turn):
            return None
        index = next(index for index in draft.turn if index not in carried)
        done_s = self._done_s(draft.turn)
        return Run(
            driver=room.driver,
            jobs=(self._jobs[index],),
            collect_s=self._collect_s(draft.turn),
            done_s=(done_s[draft.turn.index(index)],),
            way_s=self._way_of(draft.turn) - self._way_of(before.turn),
            alone_s=float(self._alone_s[index + 1]),
            why="add_on",
        )

    def _longer(self, draft: _Draft, others: Sequence[int], room: Room) -> _Draft:
        """The draft with the job that gains most by joining; full, if those who would gain by it
        may not; as it is, if nobody would."""
        here = np.array([0, *(index + 1 for index in draft.turn)])
        after = np.append(here[1:], 0)
        new = np.array(others) + 1
        back = self._policy.run.back
        out_s = self._way_s[np.ix_(here, new)]
        on_s = self._way_s[np.ix_(new, after)].T
        leg_s = self._way_s[here, after]
        # The last leg is the way back, as far as that counts.
        on_s[-1] *= back
        leg_s[-1] *= back
        detour_s = out_s + on_s - leg_s[:, None]
        places = detour_s.argmin(axis=0)
        gain_s = (1 - self._policy.run.potential) * self._alone_s[new] - detour_s.min(axis=0)
        may_not = False
        for best in np.argsort(-gain_s, kind="stable")[:_TRIED]:
            if gain_s[best] <= 0:
                break
            index, place = others[best], int(places[best])
            turn = (*draft.turn[:place], index, *draft.turn[place:])
            longer = self._reckoned(turn, draft.load.plus(self._needs[index]), room)
            if longer is None:
                may_not = True
                continue
            lost_s = self._lost_s(draft, longer, index)
            if lost_s < gain_s[best]:
                return longer
            may_not = may_not or longer.late_s > draft.late_s
        return draft._replace(full=may_not)

    def _lost_s(self, draft: _Draft, longer: _Draft, index: int) -> float:
        """What the others lose in time when it joins, and it itself."""
        waited_s = longer.waited_s - draft.waited_s - self._ways_s[0][index + 1]
        late_s = max(0.0, longer.late_s - draft.late_s)
        return self._costs.delay * max(0.0, waited_s) + self._costs.late * late_s

    def _reckoned(self, turn: Order, load: Load, room: Room) -> _Draft | None:
        """The draft, unless it does not fit the vehicle or the driver's time."""
        if misfit(room.vehicle, load, self._policy.max_run_jobs):
            return None
        leaves_ms = self._leaves_ms(turn, room)
        late_s = waited_s = 0.0
        done_s = self._done_s(turn)
        for index, at_s in zip(turn, done_s, strict=True):
            late_s += max(0.0, leaves_ms + at_s * 1000 - self._by_ms(index, room)) / 1000
            waited_s += at_s
        ends_ms = leaves_ms + done_s[-1] * 1000
        if not room.carried and ends_ms > self._now_ms + room.until_s * 1000:
            return None
        return _Draft(turn, load, late_s, waited_s)

    def _ordered(self, turn: Order, room: Room) -> _Draft:
        """What a driver carries, in its best order."""
        best = best_order(self._stops_of(turn, room), self._costs, tuple(range(len(turn))))
        turn = tuple(turn[stop] for stop in best.order)
        return _Draft(turn, self._load(turn), best.late_s, sum(best.done_s))

    def _run(self, draft: _Draft, room: Room, why: str) -> Run:
        """The draft in its best order."""
        turn = self._ordered(draft.turn, room).turn
        return Run(
            driver=room.driver,
            jobs=tuple(self._jobs[index] for index in turn),
            collect_s=self._collect_s(turn),
            done_s=tuple(self._done_s(turn)),
            way_s=self._way_of(turn),
            alone_s=float(sum(self._alone_s[index + 1] for index in turn)),
            why=why,
        )

    # -- what the stops come to

    def _by_urgency(
        self, jobs: Sequence[Waiting]
    ) -> tuple[list[Waiting], list[int], dict[str, int]]:
        """The most urgent of the jobs in turn, those whose hold is over first; until when each may
        be held; and of all jobs those that may be held still."""
        mall, policy, now_ms = self._mall, self._policy, self._now_ms
        dwell_s = policy.store_dwell_s
        doors = Points.of((job.need.lat, job.need.lon) for job in jobs)
        out_s = self._travel.matrix(Points.of([(mall.lat, mall.lon)]), doors, now_ms)[0].tolist()
        keyed: list[tuple[bool, int, int, int]] = []
        for index, job in enumerate(jobs):
            need = job.need
            least_s = collect_s(mall, need.stores, dwell_s) + out_s[index] + policy.dropoff_dwell_s
            # When whoever collects it must be there.
            there_ms = need.deadline_ms - int(least_s * 1000)
            until_ms = hold_until_ms(need, there_ms, policy)
            is_held = self._holds and until_ms > now_ms
            keyed.append((is_held, until_ms if is_held else there_ms, index, until_ms))
        held = {jobs[index].job: until_ms for is_held, _, index, until_ms in keyed if is_held}
        first = sorted(keyed)[:_LOOKED_AT]
        return [jobs[index] for *_, index, _ in first], [until_ms for *_, until_ms in first], held

    def _measure(self, needs: Sequence[Need]) -> None:
        """All ways between the mall and these drop-offs."""
        self._needs = needs
        policy, now_ms = self._policy, self._now_ms
        places = [(self._mall.lat, self._mall.lon), *((need.lat, need.lon) for need in needs)]
        points = Points.of(places)
        self._way_s = self._travel.matrix(points, points, now_ms)
        self._ways_s: list[list[float]] = self._way_s.tolist()
        self._alone_s = self._way_s[0] + policy.run.back * self._way_s[:, 0]
        # When each would be handed over by one who is at the mall now and takes it alone.
        self._alone_ms = [
            now_ms + int((self._visit_s(need) + out_s + policy.dropoff_dwell_s) * 1000)
            for need, out_s in zip(needs, self._ways_s[0][1:], strict=True)
        ]

    def _by_ms(self, index: int, room: Room) -> float:
        """Until when a stop counts as in time. Who would be late even alone cannot be saved: so
        much later it may become, so that lateness does not breed small runs, and more lateness."""
        deadline_ms = self._needs[index].deadline_ms
        alone_ms = self._alone_ms[index] + room.there_s * 1000
        return deadline_ms if alone_ms <= deadline_ms else alone_ms + _GRACE_MS

    def _visit_s(self, need: Need) -> float:
        if need.stores:
            return collect_s(self._mall, need.stores, self._policy.store_dwell_s)
        # Of what a driver carries the stores are not told: one as far as they are on average.
        walks_s = [store.walk_s for store in self._mall.stores.values()]
        return sum(walks_s) / len(walks_s) + self._policy.store_dwell_s

    def _collect_s(self, turn: Order) -> float:
        needs = [self._needs[index] for index in turn]
        stores = [store for need in needs for store in need.stores]
        untold_s = sum(self._visit_s(need) for need in needs if not need.stores)
        return collect_s(self._mall, stores, self._policy.store_dwell_s) + untold_s

    def _leaves_ms(self, turn: Order, room: Room) -> float:
        ready_ms = max(self._needs[index].ready_ms for index in turn)
        return max(self._now_ms + (room.there_s + self._collect_s(turn)) * 1000, ready_ms)

    def _done_s(self, turn: Order) -> list[float]:
        """From leaving the mall until each stop is served, in turn."""
        done_s, at_s, here = [], 0.0, 0
        for index in turn:
            at_s += self._ways_s[here][index + 1] + self._policy.dropoff_dwell_s
            done_s.append(at_s)
            here = index + 1
        return done_s

    def _way_of(self, turn: Order) -> float:
        """The way of a run, and back as far as that counts."""
        points = [0, *(index + 1 for index in turn)]
        way_s = sum(self._ways_s[here][there] for here, there in pairwise(points))
        return way_s + self._policy.run.back * self._ways_s[points[-1]][0]

    def _load(self, turn: Order) -> Load:
        return load_of(self._needs[index] for index in turn)

    def _stops_of(self, turn: Order, room: Room) -> Stops:
        at = [0, *(index + 1 for index in turn)]
        ways_s = [[self._ways_s[here][there] for there in at] for here in at]
        leaves_ms = self._leaves_ms(turn, room)
        return Stops(
            out_s=ways_s[0][1:],
            between_s=[row[1:] for row in ways_s[1:]],
            back_s=[row[0] for row in ways_s[1:]],
            due_s=[(self._by_ms(index, room) - leaves_ms) / 1000 for index in turn],
            dwell_s=self._policy.dropoff_dwell_s,
        )


def _need_of(held: HeldJob) -> Need:
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
