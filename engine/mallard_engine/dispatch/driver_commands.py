"""Commands of drivers on their sessions and availability, and those of operators on drivers.

A claim of custody is among them, because an app makes it in its hello.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from mallard_engine.core.model import Device, Driver, Vehicle
from mallard_engine.core.pauses import MARKET
from mallard_engine.core.reporting_interval import Reporting
from mallard_engine.core.vehicles import (
    DriverClaims,
    DriverProfile,
    RegisteredDriver,
    StatedVehicle,
)
from mallard_engine.dispatch.context import ApplyEffects, Context
from mallard_engine.dispatch.drivers.barred import barred
from mallard_engine.dispatch.drivers.disconnects import Disconnects
from mallard_engine.dispatch.drivers.driver_reach import DriverReach
from mallard_engine.dispatch.drivers.plans import DriverPlans
from mallard_engine.dispatch.drivers.upcoming_drivers import Block
from mallard_engine.dispatch.leases import NodeLeases
from mallard_engine.dispatch.offer_commands import OfferCommands
from mallard_engine.ports import (
    Answered,
    DriverFix,
    DriverSnapshot,
    Hello,
    OfferLive,
    OwnDriver,
    Refused,
    StoreUnavailable,
    TakenBack,
)
from mallard_protocol.lifecycle import Wish
from mallard_protocol.messages import Barred


class DriverCommands:
    """Executes commands of drivers and applies their effects.

    Args:
        context: What all parts share.
        node: This node's name.
        offers: Declines or withdraws a driver's live offer.
        plans: What this node has planned for its drivers.
        reach: The drivers of this node.
        disconnects: Closed sockets that the storage does not know of yet.
        apply_effects: Applies effects in a market.
        leases: The leases of this node.
    """

    def __init__(
        self,
        context: Context,
        node: str,
        offers: OfferCommands,
        plans: DriverPlans,
        reach: DriverReach,
        disconnects: Disconnects,
        apply_effects: ApplyEffects,
        leases: NodeLeases,
    ) -> None:
        self._context = context
        self._node = node
        self._drivers = context.storage.drivers
        self._offers = offers
        self._plans = plans
        self._reach = reach
        self._disconnects = disconnects
        self._apply_effects = apply_effects
        self._leases = leases

    def expect_blocks(self, market: str, blocks: Iterable[Block]) -> None:
        """Replace the future blocks of a market, with which its batches plan."""
        self._plans.upcoming.expect(market, blocks)

    async def hello(
        self,
        market: str,
        driver: str,
        *,
        vehicle: StatedVehicle | Vehicle | None,
        fix: DriverFix | None,
        device: Device | None = None,
        claims: DriverClaims | None = None,
    ) -> Hello:
        """See :meth:`mallard_engine.ports.Drivers.hello`."""
        located = self._reach.locate(market, [fix] if fix is not None else [])
        self._disconnects.drop(market, driver)
        with self._reach.expecting(market, driver):
            try:
                await self._leases.hold(market)
                hello = await self._drivers.hello(
                    market,
                    driver,
                    node=self._node,
                    vehicle=vehicle,
                    fix=located[0].fix if located else None,
                    device=device,
                    claims=claims,
                )
            except StoreUnavailable:
                self._leases.recover_soon(market)  # the driver may be registered
                raise
            self._reach.connected(market, driver, hello.epoch)
        if located:
            # The effects wake the malls in reach of a driver who is free by this hello.
            wakes = hello.driver.wish is Wish.AVAILABLE and not hello.effects.freed
            self._reach.moved(market, located, ["ok"], wakes=wakes)
            self._plans.arrivals.moved(market, located, ["ok"])
        self._apply_effects(market, hello.effects)
        return hello

    async def set_claims(
        self, market: str, driver: str, epoch: int, claims: DriverClaims | None
    ) -> None:
        """See :meth:`mallard_engine.ports.Drivers.set_claims`."""
        self._apply_effects(market, await self._drivers.set_claims(market, driver, epoch, claims))

    async def take_back(
        self, market: str, drivers: Sequence[OwnDriver], *, rewound: bool
    ) -> Sequence[TakenBack]:
        """See :meth:`mallard_engine.ports.Drivers.take_back`. Adds each driver's last fix."""
        own = []
        for driver in drivers:
            fix, age_ms = self._reach.last_fix(market, driver.driver)
            own.append(replace(driver, fix=fix, age_ms=age_ms))
        taken, effects = await self._drivers.take_back(market, self._node, own, rewound=rewound)
        self._apply_effects(market, effects)
        return taken

    def socket_closed(self, market: str, driver: str, epoch: int) -> None:
        """Note that a driver's socket has closed. It is reported in a batch."""
        self._reach.disconnected(market, driver, epoch)
        if (market, driver) not in self._reach:
            # A newer socket here knows the plans, and may have had its welcome.
            self._plans.forget(market, driver)
        self._disconnects.add(market, driver, epoch)

    def holds_unknown_job(self, market: str, driver: str) -> None:
        """Note that a driver of this node holds a job that this node did not offer to it."""
        self._plans.holds_unknown_job(market, driver)

    def set_held_jobs(self, market: str, snapshot: DriverSnapshot) -> None:
        """Note what a driver with a socket on this node holds."""
        self._plans.live.holds(market, snapshot.driver, snapshot.jobs)

    async def positions(self, market: str, fixes: Sequence[DriverFix]) -> tuple[str, ...]:
        """Record up to 256 fixes and return the verdict on each (see ``Recorded``)."""
        located = self._reach.locate(market, fixes)
        placed = [each.fix for each in located]
        recorded = await self._drivers.record_positions(market, placed)
        self._apply_effects(market, recorded.effects)
        self._reach.moved(market, located, recorded.verdicts)
        self._plans.arrivals.moved(market, located, recorded.verdicts)
        self._plans.live.moved(market, placed, recorded.verdicts)
        return recorded.verdicts

    async def status(self, market: str, driver: str, wish: Wish, until_ms: int | None) -> Answered:
        """See :meth:`mallard_engine.ports.Drivers.status`. Declines a live offer first."""
        if wish is not Wish.AVAILABLE:
            self._plans.upcoming.ended(market, driver)
        try:
            return self._done(market, await self._drivers.status(market, driver, wish, until_ms))
        except OfferLive as live:
            try:
                await self._offers.decline(market, driver, live.offer, "offline")
            except Refused:
                # The offer has just expired and has not been swept yet.
                await self._offers.withdraw(market, live.offer, driver)
            return self._done(market, await self._drivers.status(market, driver, wish, until_ms))

    async def alive(self, market: str, driver: str) -> Answered:
        """See :meth:`mallard_engine.ports.Drivers.alive`."""
        return self._done(market, await self._drivers.alive(market, driver))

    async def seen(self, market: str, driver: str) -> None:
        """See :meth:`mallard_engine.ports.Drivers.seen`."""
        self._apply_effects(market, await self._drivers.seen(market, driver))

    async def push_state(self, market: str, driver: str, why: str) -> None:
        """See :meth:`mallard_engine.ports.Drivers.push_state`."""
        self._apply_effects(market, await self._drivers.push_state(market, driver, why))

    async def claim(
        self, market: str, driver: str, job: str, attempt: int, state: str, *, at_ms: int | None
    ) -> None:
        """See :meth:`mallard_engine.ports.Jobs.claim`."""
        claim = self._context.storage.jobs.claim(market, driver, job, attempt, state, at_ms=at_ms)
        answered = self._done(market, await claim)
        if answered.driver.offer and answered.attempt > attempt:
            # The parcel on board takes the room for which the live offer was made.
            await self._offers.withdraw(market, answered.driver.offer, "engine")

    def reporting(self, market: str, usual_ms: int) -> Reporting:
        """Return the reporting interval of a new socket, which starts at ``usual_ms``."""
        policy = self._context.policy(market)
        malls = [
            (mall.lat, mall.lon) for mall in self._context.places.market(market).malls.values()
        ]
        return Reporting(usual_ms, policy.stale_after_s, malls, policy.max_radius_m)

    def barred(self, market: str, driver: Driver, now_ms: int) -> Barred | None:
        """Return why the driver is offered no jobs, whatever it wishes, or None."""
        found = barred(
            driver,
            now_ms,
            self._context.policy(market).stale_after_s * 1000,
            market_paused=MARKET in self._context.pauses.get(market, {}),
        )
        return Barred(*found) if found else None

    async def suspend(self, market: str, driver: str, reason: str) -> Answered:
        """See :meth:`mallard_engine.ports.Drivers.suspend`; a live offer is withdrawn."""
        answered = self._done(market, await self._drivers.suspend(market, driver, reason))
        if offer := answered.driver.offer:
            await self._offers.withdraw(market, offer, "operator")
            answered = replace(answered, driver=replace(answered.driver, offer=None))
        return answered

    async def register(
        self,
        market: str,
        driver: str,
        profile: DriverProfile | None,
        *,
        suspended: bool,
        actor: str,
    ) -> RegisteredDriver:
        """See :meth:`mallard_engine.ports.Register.put`; a live offer is withdrawn."""
        known, effects = await self._context.storage.register.put(
            market, driver, profile, suspended=suspended, actor=actor
        )
        self._apply_effects(market, effects)
        if suspended and (offer := known.driver.offer):
            await self._offers.withdraw(market, offer, "operator")
            known = replace(known, driver=replace(known.driver, offer=None))
        return known

    async def resume(self, market: str, driver: str) -> Answered:
        """See :meth:`mallard_engine.ports.Drivers.resume`."""
        return self._done(market, await self._drivers.resume(market, driver))

    def _done(self, market: str, answered: Answered) -> Answered:
        self._apply_effects(market, answered.effects)
        return answered
