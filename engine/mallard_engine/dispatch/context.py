"""The context that all parts of the dispatcher share, and their background tasks."""

import asyncio
import secrets
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from mallard_engine.core.matching.search_policy import first_batch_ms, first_look_ms
from mallard_engine.core.matching.travel_time import StraightLine, TravelTime
from mallard_engine.core.model import Need
from mallard_engine.core.pauses import Pauses, is_paused
from mallard_engine.core.pickup.pickup_plan import ServiceTime, job_tour, service_times
from mallard_engine.core.places.mall import Mall
from mallard_engine.core.places.markets import Places
from mallard_engine.core.policy import MarketPolicy
from mallard_engine.dispatch.drivers.dwell_cache import DwellCache
from mallard_engine.metrics import Metrics
from mallard_engine.ports import Effects, Storage, TravelMatrixSource
from mallard_engine.tasks import cancel
from mallard_protocol.codes import OfferClosedWhy
from mallard_protocol.lifecycle import Outcome

_log = structlog.get_logger(__name__)

# Applies the effects of a transition in a market.
ApplyEffects = Callable[[str, Effects], None]


def _random_offer_id() -> str:
    return f"offer_{secrets.token_urlsafe(12)}"


@dataclass(frozen=True, slots=True)
class RuntimeOptions:
    """Clocks, ids and intervals of a live node, which a simulation replaces.

    Attributes:
        clock: Seconds, to measure durations.
        new_offer_id: Returns the id of a new offer, which cannot be guessed.
        sweep_s: Interval of sweeps of markets in which a node holds drivers.
        beat_s: Interval of heartbeats.
        forget_s: Interval at which expired data is deleted.
        learn_s: Interval at which the dwell sketches are read.
        risk_s: Interval at which risks that may have changed are computed again, and at which
            other markets are swept.
        control_s: Interval of reads of what operators have set, in case no node has announced it.
        precise_s: An entry that is due sooner than this gets a timer; regular sweeps handle others.
        may_thread: Whether long computations may run in a thread.
    """

    clock: Callable[[], float] = time.perf_counter
    new_offer_id: Callable[[], str] = _random_offer_id
    sweep_s: float = 0.25
    beat_s: float = 0.5
    forget_s: float = 5.0
    learn_s: float = 60.0
    risk_s: float = 1.0
    control_s: float = 30.0
    precise_s: float = 60.0
    may_thread: bool = True


@dataclass(slots=True)
class Context:
    """The storage, places and policies of all parts of the dispatcher.

    The parts read it at each use, so that a reload takes effect. A running round keeps old values.
    """

    storage: Storage
    places: Places
    policies: Mapping[str, MarketPolicy]
    metrics: Metrics
    travel: Mapping[str, TravelTime] = field(default_factory=dict)
    ahead: Mapping[str, TravelMatrixSource] = field(default_factory=dict)
    runtime: RuntimeOptions = field(default_factory=RuntimeOptions)
    dwells: DwellCache = field(default_factory=DwellCache)
    # By market, as last read: see `MarketControls`.
    pauses: dict[str, Pauses] = field(default_factory=dict)

    def use(
        self,
        policies: Mapping[str, MarketPolicy],
        travel: Mapping[str, TravelTime],
        ahead: Mapping[str, TravelMatrixSource],
    ) -> None:
        """Replace policies and sources of travel times."""
        self.policies, self.travel, self.ahead = policies, travel, ahead

    def policy(self, market: str) -> MarketPolicy:
        """Return the market's policy."""
        return self.policies[market]

    def is_paused(self, mall: Mall, need: Need) -> bool:
        """Whether an operator has paused matching for such a job, as this node knows."""
        pauses = self.pauses.get(mall.market)
        return pauses is not None and is_paused(pauses, mall.id, need.visits)

    def service_time(self, market: str) -> ServiceTime:
        """Return the service times at the market's stores.

        They are learnt from dwell times, else from the places file, else the policy's default.
        """
        policy = self.policies[market]
        prior = service_times(self.places.mall, policy.store_dwell_s)
        return self.dwells.service_time(market, prior) if policy.dwell_visits else prior

    def travel_time(self, market: str) -> TravelTime:
        """Return the market's source of travel times."""
        return self.travel.get(market) or self.straight_line(market)

    def straight_line(self, market: str) -> StraightLine:
        """Return straight-line travel times at the market's speeds: the default source."""
        return StraightLine.of(self.policies[market], self.places.market(market).time_zone)

    def course_ms(self, mall: Mall, need: Need, now_ms: int) -> tuple[int, int]:
        """Return the least times of a job: until a driver has the parcels, and to the door."""
        policy, travel = self.policy(mall.market), self.straight_line(mall.market)
        tour = job_tour(mall, need, self.service_time(mall.market), now_ms)
        gate = mall.gates[tour.gate]
        way_s = travel.road_s(policy.initial_radius_m, now_ms)
        haul_s = travel.seconds(gate.lat, gate.lon, need.lat, need.lon, now_ms)
        return (
            int(way_s * 1000) + tour.collect_ms,
            tour.back_ms + int((haul_s + policy.dropoff_dwell_s) * 1000),
        )

    def release_ms(self, market: str, need: Need, now_ms: int) -> int:
        """Return when a job must begin to look for a driver (epoch ms).

        Early enough that a driver is there when its parcels are ready, and not after it expires.
        """
        policy = self.policy(market)
        plans_ahead = policy.round == "batch" or policy.plans_runs
        first = first_batch_ms if plans_ahead else first_look_ms
        way_s = self.straight_line(market).road_s(policy.initial_radius_m, need.ready_ms)
        return min(first(need.ready_ms, now_ms, way_s, policy), need.expires_ms)


def count_round(metrics: Metrics, effects: Effects) -> None:
    """Count the offers and withdrawals of a staggered round."""
    for push in effects.pushes:
        if push.offer is not None:
            metrics.offer("offered")
        elif push.why == OfferClosedWhy.TAKEN:
            metrics.offer(Outcome.WITHDRAWN.value)


class Tasks:
    """Background tasks. Keeps a reference to each until it ends, and logs its error."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()
        self._is_over = False

    def __len__(self) -> int:
        return len(self._running)

    def start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Start a background task, unless they have been stopped."""
        if self._is_over:
            work.close()
            return
        task = asyncio.create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._done)

    async def stop(self) -> None:
        """Cancel the running tasks and wait for them."""
        self._is_over = True
        await cancel(*self._running)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()):
            _log.error("background task failed", task=task.get_name(), exc_info=error)
