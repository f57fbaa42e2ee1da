"""One node's dispatcher: composes its parts and applies the effects of transitions.

The storage's scripts decide every conflict between nodes. Effects are an optimisation: if a node
crashes before it has applied them, the sweeper of any node recovers from the due set.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence

import structlog

from mallard_engine.core.matching.travel_time import TravelTime
from mallard_engine.core.places.markets import Places
from mallard_engine.core.policy import MarketPolicy
from mallard_engine.dispatch.confirmed import Confirmed
from mallard_engine.dispatch.context import Context, RuntimeOptions, Tasks
from mallard_engine.dispatch.controls import MarketControls
from mallard_engine.dispatch.driver_commands import DriverCommands
from mallard_engine.dispatch.drivers.disconnects import Disconnects
from mallard_engine.dispatch.drivers.driver_reach import DriverReach
from mallard_engine.dispatch.drivers.geofence_arrivals import GeofenceArrivals
from mallard_engine.dispatch.drivers.plans import DriverPlans
from mallard_engine.dispatch.etas.live_etas import LiveEtas
from mallard_engine.dispatch.etas.run_etas import RunEtas
from mallard_engine.dispatch.leases import NodeLeases
from mallard_engine.dispatch.offer_commands import OfferCommands
from mallard_engine.dispatch.order_commands import OrderCommands
from mallard_engine.dispatch.reassignment import Reassignments
from mallard_engine.dispatch.returns import Returns
from mallard_engine.dispatch.rounds.round_scheduler import RoundScheduler
from mallard_engine.dispatch.shop_commands import ShopCommands
from mallard_engine.dispatch.step_commands import StepCommands
from mallard_engine.dispatch.sweeper import Sweeper
from mallard_engine.dispatch.transfers import Transfers
from mallard_engine.metrics import Metrics
from mallard_engine.ports import Effects, PushKind, PushSink, Storage, TravelMatrixSource

_log = structlog.get_logger(__name__)


class Dispatcher:
    """The dispatcher of one node for all markets.

    Its commands are those of ``orders``, ``shops``, ``drivers``, ``offers``, ``steps``,
    ``transfers`` and ``controls``.

    Call `start` inside a running loop. Other nodes may take this node's drivers out of matching, if
    its lease expires or the storage is unavailable. ``recover(market, rewound)``, if set, is called
    then and must take the drivers back with `DriverCommands.take_back`. ``rewound``: the storage
    has lost writes.

    Args:
        node: This node's name.
        storage: The storage.
        push_sink: Delivers pushes to the sockets of this node.
        places: The markets and their malls.
        policies: The policy of each market.
        metrics: The node's metrics.
        travel: By market, the source of travel times, unless it is the straight line.
        ahead: By market, the source that is queried for a matrix before a ranking.
        runtime: Clocks and intervals, which a simulation replaces.
    """

    def __init__(
        self,
        node: str,
        storage: Storage,
        push_sink: PushSink,
        places: Places,
        policies: Mapping[str, MarketPolicy],
        metrics: Metrics,
        *,
        travel: Mapping[str, TravelTime] | None = None,
        ahead: Mapping[str, TravelMatrixSource] | None = None,
        runtime: RuntimeOptions | None = None,
    ) -> None:
        self.node = node
        self.recover: Callable[[str, bool], Awaitable[None]] | None = None
        storage.pushes.deliver_to(push_sink, self.recover_soon)
        self._context = Context(
            storage,
            places,
            policies,
            metrics,
            travel or {},
            ahead or {},
            runtime or RuntimeOptions(),
        )
        self._storage = storage
        self._tasks = Tasks()
        self._rounds = RoundScheduler(self._context, self._apply_effects, self._tasks)
        confirmed = Confirmed(
            storage.jobs, storage.event_log, self._context.runtime.clock, self._claim
        )
        returns = Returns(self._context, self._apply_effects)
        self.controls = MarketControls(self._context, node, self._rounds, self._apply_effects)
        self._reach = DriverReach(self._context, self._rounds)
        self._leases = NodeLeases(
            self._context,
            node,
            self._reach.is_empty,
            self._apply_effects,
            self._recover,
            self.controls.refresh,
            lambda market: self._rounds.wake_all(market, driver=True),
            confirmed,
        )
        self._sweeper = Sweeper(
            self._context,
            self._leases,
            self._rounds,
            returns,
            self._apply_effects,
            self.controls.refresh,
            self.controls.look_again,
        )
        self._disconnects = Disconnects(storage.drivers, node, self._apply_effects, self._tasks)
        self._reassignments = Reassignments(self._context, self._apply_effects)
        arrivals = GeofenceArrivals(
            self._context, self._apply_effects, self._tasks, self._reach, returns
        )
        self.orders = OrderCommands(
            self._context,
            self._rounds,
            arrivals,
            returns,
            self._tasks,
            self._apply_effects,
            confirmed,
        )
        self.shops = ShopCommands(self._context, self._apply_effects, confirmed)
        self.transfers = Transfers(self._context, self._tasks, self._apply_effects)
        self._plans = DriverPlans(
            self._rounds.upcoming,
            arrivals,
            RunEtas(self._context, self._tasks),
            LiveEtas(self._context, self._tasks),
        )
        self.offers = OfferCommands(self._context, self._plans, self._apply_effects)
        self.drivers = DriverCommands(
            self._context,
            node,
            self.offers,
            self._plans,
            self._reach,
            self._disconnects,
            self._apply_effects,
            self._leases,
        )
        self.steps = StepCommands(
            self._context,
            self.offers,
            self._plans,
            self._reach,
            returns,
            self._apply_effects,
            self._leases,
            confirmed,
        )

    @property
    def share(self) -> Sequence[str]:
        """The markets whose maintenance is this node's."""
        return self._leases.share

    @property
    def is_at_rest(self) -> bool:
        """Whether no node has had drivers to look after for some seconds."""
        return self._leases.is_at_rest

    async def start(self) -> None:
        """Take the leases and start heartbeats and sweeps.

        Raises:
            StoreUnavailable: The storage cannot be reached.
        """
        await self._sweeper.start()

    def reload(
        self,
        policies: Mapping[str, MarketPolicy],
        travel: Mapping[str, TravelTime],
        ahead: Mapping[str, TravelMatrixSource],
    ) -> None:
        """Apply new policies of the same markets, and the places as they are now.

        Wakes the rounds of all waiting jobs.
        """
        self._context.use(policies, travel, ahead)
        self._rounds.renew()
        self._reach.reload()
        for market in policies:
            self._rounds.wake_all(market)

    async def stop(self) -> None:
        """Report closed sockets, end all tasks and timers, and give up the leases.

        An interrupted round loses nothing, because other nodes handle its due entries.
        """
        is_reported = await self._disconnects.flush()
        await self._sweeper.stop()
        await self._tasks.stop()
        if is_reported:
            await self._leases.leave()

    async def has_lost_lately(self, market: str) -> bool:
        """See :meth:`mallard_engine.dispatch.leases.NodeLeases.has_lost_lately`."""
        return await self._leases.has_lost_lately(market)

    def recover_soon(self, market: str) -> None:
        """Take a market's drivers back with the next heartbeat, because a reply was lost."""
        self._leases.recover_soon(market)

    def beat_now(self) -> None:
        """Send a heartbeat at once: the connection to the storage is open again."""
        self._leases.beat_now()

    def _apply_effects(self, market: str, effects: Effects) -> None:
        for push in effects.pushes:
            if push.kind is PushKind.JOB:
                self._plans.job_pushed(market, push.driver, push.state, push.reason)
        for mall, job in effects.queued:
            self._rounds.wake(mall, job)
        queued_at = {mall for mall, _ in effects.queued}
        for mall in effects.malls:
            # Also if no job was queued: a driver there has room now, or a shop has opened.
            self._rounds.wake(mall, driver=mall not in queued_at)
        if effects.freed and not effects.nothing_waits:
            self._reach.freed(market, effects.freed)
        for late in effects.late:
            self._tasks.start(self._reassignments.look(market, late), f"reassign {late.job}")
        for outcome, reason in effects.shops:
            self._context.metrics.shop_outcome(outcome, reason)
        for driver, why in effects.hand_overs:
            self.transfers.hand_over_soon(market, driver, why)
        for member in effects.over:
            self._sweeper.forget(market, member)
        for member, due_ms in effects.due:
            self._sweeper.schedule(market, member, max(0, due_ms - effects.now_ms) / 1000)

    async def _claim(self, market: str, driver: str, job: str, attempt: int) -> None:
        await self.drivers.claim(market, driver, job, attempt, "picked_up", at_ms=None)

    async def _recover(self, market: str, rewound: bool) -> None:  # noqa: FBT001 - private
        if not self._reach.is_empty(market):
            _log.warning(
                "lease or storage changed: taking drivers back", market=market, rewound=rewound
            )
        if self.recover is not None:
            await self.recover(market, rewound)
        await self._report_stale_sockets(market)
        # A lost reply may have freed a driver or queued a job.
        self._rounds.wake_all(market, driver=True)

    async def _report_stale_sockets(self, market: str) -> None:
        """Report sockets as closed that only the storage has, because a reply was lost."""
        for driver, epoch in (await self._storage.drivers.held(market, self.node)).items():
            if not self._reach.expects(market, driver):
                self._disconnects.add(market, driver, epoch)
