"""Checks L1 across jobs and drivers: no job waits while a free driver could take it.

Every waiting job of a mall is compared with every free driver in reach, however long the queue is.
A breach is a pair that is unchanged for `patience_s`: the driver free with the same record, and the
job waiting at the same attempt. To avoid false alarms, travel and dwell times are multiplied by
`_SLOWDOWN`: a pair must fit by a wide margin.

A job that may wait on purpose, for a batch or (`same_day`) for company, cannot be judged from the
storage alone: it counts as not checked. Where an operator has paused matching, jobs wait.
"""

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from mallard_engine.core.matching.ranking import Matcher
from mallard_engine.core.matching.travel_time import StraightLine, TravelTime
from mallard_engine.core.model import Near, Need, Vehicle, Waiting
from mallard_engine.core.pauses import Pauses, is_paused
from mallard_engine.core.places.mall import Mall
from mallard_engine.core.policy import MarketPolicy
from mallard_engine.storage.audit.traces import PAGE
from mallard_engine.storage.audit.views import Look, View
from mallard_engine.storage.calls.offers import near_of, with_holds
from mallard_engine.storage.keys import job_at
from mallard_engine.storage.records.jobs import read_waiting
from mallard_engine.storage.records.places import read_holds, read_pauses
from mallard_protocol.codes import ID_CHECK

Found = Sequence[tuple[str, str, str]]

# The factor by which the audit multiplies straight-line travel times and dwell times.
_SLOWDOWN: Final = 3.0
# How many drivers around a mall are compared, and how many of those that can carry a job.
_MOST_DRIVERS: Final = 4_096
_TRIED: Final = 32
# How many jobs are remembered for each driver.
_MAX_REMEMBERED: Final = 64


class Slow(TravelTime):
    """Straight-line travel times, multiplied by `_SLOWDOWN`."""

    def __init__(self, policy: MarketPolicy, time_zone: str) -> None:
        self._usual = StraightLine.of(policy, time_zone)

    def seconds(
        self, from_lat: float, from_lon: float, to_lat: float, to_lon: float, at_ms: int
    ) -> float:
        """Seconds from one point to another."""
        return _SLOWDOWN * self._usual.seconds(from_lat, from_lon, to_lat, to_lon, at_ms)


@dataclass(slots=True)
class _Seen:
    """A free driver at the first check: its stored record, and the jobs that fit."""

    record: bytes
    jobs: dict[str, int] = field(default_factory=dict)


class Matches:
    """One market's free drivers and waiting jobs, checked twice."""

    def __init__(self, look: Look, malls: Iterable[Mall], limit: int) -> None:
        self.looked_at = 0
        self.left_out: Counter[str] = Counter()
        self.began_ms = 0
        self._look = look
        self._malls = list(malls)
        self._limit = limit
        self._seen: dict[tuple[str, str], _Seen] = {}

    @property
    def any(self) -> bool:
        """Whether the first check has found a pair, so that a second one is needed."""
        return any(seen.jobs for seen in self._seen.values())

    async def look(self) -> None:
        """Compare all waiting jobs with all free drivers."""
        common, _ = await self._look.at_once()
        view = View(**common)
        self.began_ms = view.now_ms
        if not view.is_swept:
            return
        for mall in self._malls:
            around = await self._around(mall)
            if around is None:
                continue
            async for jobs in self._waiting(mall):
                for job in jobs:
                    if _is_judged(self._look.policy, job.need):
                        self._compare(around, job)
                    else:
                        self.left_out["match"] += 1

    async def again(self) -> Found:
        """Return (kind, job, what) of each pair of the first check that still exists."""
        found = []
        for (mall, driver), seen in self._seen.items():
            jobs = list(seen.jobs)
            if not jobs:
                continue
            keys = self._look.keys
            common, (idle, record, waiting, pauses) = await self._look.at_once(
                ("ZSCORE", keys.key("idle"), driver),
                ("HGET", keys.key("drivers"), driver),
                ("HMGET", keys.key("waiting"), *jobs),
                ("HGETALL", keys.key("pauses")),
            )
            view = View(**common)
            paused = read_pauses(pauses)
            if idle is None or record != seen.record or not view.is_swept:
                continue
            still = [
                job
                for job, packed in zip(jobs, waiting, strict=True)
                if packed
                and (waits := read_waiting(job, packed)).attempt == seen.jobs[job]
                and not is_paused(paused, mall, waits.need.visits)
            ]
            waited_ms = view.now_ms - self.began_ms
            found += [
                ("job", job, f"it waits at {mall}, and {driver} has been free for {waited_ms} ms")
                for job in still
            ]
        return found

    async def _around(self, mall: Mall) -> "_Around | None":
        """Return the free drivers in reach of a mall; None if no job waits or no driver is free."""
        keys, policy = self._look.keys, self._look.policy
        reach = ("FROMLONLAT", mall.lon, mall.lat, "BYRADIUS", policy.max_radius_m, "m")
        if not await self._look.read("ZCARD", keys.wait(mall.id)):
            return None
        hits = await self._look.read(
            *("GEOSEARCH", keys.key("idle"), *reach, "ASC", "COUNT", _MOST_DRIVERS, "WITHDIST")
        )
        if not hits:
            return None
        names = [name.decode() for name, _ in hits]
        common, (records, positions, holds, pauses) = await self._look.at_once(
            ("HMGET", keys.key("drivers"), *names),
            ("HMGET", keys.key("positions"), *names),
            ("HGETALL", keys.key("holds")),
            ("HGETALL", keys.key("pauses")),
        )
        view = View(**common)
        alive = [node.encode() for node, until_ms in view.leases.items() if until_ms > view.now_ms]
        near = list(near_of(records, positions, [float(far) for _, far in hits], alive))
        for name, record in zip(names, records, strict=True):
            if record:
                self._seen[mall.id, name] = _Seen(record)
        flat = [part for pair in holds.items() for part in pair]
        held = {store: hold.until_ms for store, hold in read_holds(flat).items()}
        return _Around(mall, near, held, read_pauses(pauses), view.now_ms, policy)

    async def _waiting(self, mall: Mall) -> AsyncIterator[list[Waiting]]:
        """Yield the jobs that wait at a mall, a page at a time, up to the limit."""
        key, after = self._look.keys.wait(mall.id), "-"
        while True:
            names = await self._look.read("ZRANGE", key, after, "+", "BYLEX", "LIMIT", 0, PAGE)
            places = [name.decode() for name in names]
            left = max(0, self._limit - self.looked_at)
            self.left_out["match"] += len(places[left:])
            jobs = [job_at(place) for place in places[:left]]
            self.looked_at += len(jobs)
            if jobs:
                packed = await self._look.read("HMGET", self._look.keys.key("waiting"), *jobs)
                yield [
                    read_waiting(job, each)
                    for job, each in zip(jobs, packed, strict=True)
                    if each is not None
                ]
            if len(places) < PAGE:
                return
            after = f"({places[-1]}"

    def _compare(self, around: "_Around", job: Waiting) -> None:
        job = with_holds(job, around.mall.id, around.held)
        if not around.is_up(job, self._look.policy):
            return
        carriers = around.carriers(job.need)
        for near in carriers[:_TRIED]:
            seen = self._seen[around.mall.id, near.driver.id]
            if len(seen.jobs) < _MAX_REMEMBERED and around.fits(near, job):
                seen.jobs[job.job] = job.attempt
                return
        if len(carriers) > _TRIED:
            self.left_out["match"] += 1


def _is_judged(policy: MarketPolicy, need: Need) -> bool:
    return policy.round == "instant" and not policy.may_hold(need)


class _Around:
    """A mall and the free drivers around it, nearest first."""

    def __init__(
        self,
        mall: Mall,
        near: Sequence[Near],
        held: dict[str, int],
        pauses: Pauses,
        now_ms: int,
        policy: MarketPolicy,
    ) -> None:
        self.mall = mall
        self.held = held
        self._pauses = pauses
        self._now_ms = now_ms
        self._near = near
        travel = Slow(policy, mall.time_zone)
        stay_s = _SLOWDOWN * policy.store_dwell_s
        self._matchers = {
            it.driver.id: Matcher(mall, [it], now_ms, policy, travel, lambda *_: stay_s)
            for it in near
        }
        self._carriers: dict[tuple[int, float, frozenset[str]], list[Near]] = {}

    def is_up(self, job: Waiting, policy: MarketPolicy) -> bool:
        """Whether the job should have a driver now."""
        need = job.need
        return (
            max(need.ready_ms, job.held_until_ms) <= self._now_ms < need.expires_ms
            and job.attempt < policy.max_attempts
            and not is_paused(self._pauses, self.mall.id, need.visits)
        )

    def carriers(self, need: Need) -> Sequence[Near]:
        """Return the drivers whose vehicles can carry the job, cached by demand."""
        demand = need.weight_g, need.volume_l, frozenset(need.requires) - {ID_CHECK}
        known = self._carriers.get(demand)
        if known is None:
            known = [it for it in self._near if _carries(it.driver.vehicle, *demand)]
            if len(self._carriers) < PAGE:
                self._carriers[demand] = known
        return known

    def fits(self, near: Near, job: Waiting) -> bool:
        """Whether the driver could take the job, even with long travel and dwell times."""
        try:
            ranked = self._matchers[near.driver.id].rank(job.need, job.asked)
        except KeyError:  # a store that the mall no longer has
            return False
        return any(candidate.eligible for candidate in ranked)


def _carries(vehicle: Vehicle, weight_g: int, volume_l: float, items: frozenset[str]) -> bool:
    return (
        weight_g <= vehicle.max_weight_g
        and volume_l <= vehicle.max_volume_l
        and items.issubset(vehicle.equipment)
    )
