"""Commands on offers: a driver answers one, or the engine withdraws it."""

from mallard_engine.dispatch.context import ApplyEffects, Context, count_round
from mallard_engine.dispatch.drivers.plans import DriverPlans
from mallard_engine.ports import Answered, Effects
from mallard_protocol.lifecycle import Outcome


class OfferCommands:
    """Executes commands on offers and applies their effects."""

    def __init__(self, context: Context, plans: DriverPlans, apply_effects: ApplyEffects) -> None:
        self._context = context
        self._offers = context.storage.offers
        self._plans = plans
        self._apply_effects = apply_effects

    async def ack(self, market: str, driver: str, offer: str) -> None:
        """See :meth:`mallard_engine.ports.Offers.ack`."""
        self._apply_effects(market, await self._offers.ack(market, driver, offer))

    async def accept(self, market: str, driver: str, offer: str) -> Answered:
        """See :meth:`mallard_engine.ports.Offers.accept`."""
        answered = self._done(market, await self._offers.accept(market, driver, offer))
        self._plans.upcoming.accepted(market, answered.driver, answered.jobs)
        self._plans.etas.accepted(market, answered)
        self._plans.live.holds(market, answered.driver, answered.jobs)
        self._plans.arrivals.look_again(market, driver)
        self._context.metrics.offer(Outcome.ACCEPTED.value)
        count_round(self._context.metrics, answered.effects)
        return answered

    async def decline(self, market: str, driver: str, offer: str, reason: str) -> Answered:
        """See :meth:`mallard_engine.ports.Offers.decline`."""
        answered = self._done(market, await self._offers.decline(market, driver, offer, reason))
        self._context.metrics.offer(Outcome.DECLINED.value)
        count_round(self._context.metrics, answered.effects)
        return answered

    async def withdraw(self, market: str, offer: str, actor: str) -> None:
        """Withdraw a live offer; its jobs return to the queue."""
        ref = await self._offers.first_job(market, offer)
        effects = await self._offers.withdraw(ref, offer, actor) if ref else Effects()
        if effects.pushes:
            self._context.metrics.offer(Outcome.WITHDRAWN.value)
            count_round(self._context.metrics, effects)
        self._apply_effects(market, effects)

    def _done(self, market: str, answered: Answered) -> Answered:
        self._apply_effects(market, answered.effects)
        return answered
