"""What operators have set for each market, as this node knows it.

The scripts refuse what a pause forbids, so a pause is in force on every node as soon as it is
stored. A node reads the pauses once a second so that its rounds do not plan in vain, views show
them, and a resumed market starts its rounds.
"""

from mallard_engine.core.model import Need
from mallard_engine.core.operator_records import Alert, DeadLetter
from mallard_engine.core.pauses import Pauses
from mallard_engine.core.places.mall import Mall
from mallard_engine.dispatch.context import ApplyEffects, Context
from mallard_engine.dispatch.rounds.round_scheduler import RoundScheduler
from mallard_engine.ports import Paused


class MarketControls:
    """Executes operators' commands on markets and follows those of other nodes."""

    def __init__(
        self, context: Context, rounds: RoundScheduler, apply_effects: ApplyEffects
    ) -> None:
        self._context = context
        self._controls = context.storage.controls
        self._rounds = rounds
        self._apply_effects = apply_effects

    def pauses(self, market: str) -> Pauses:
        """Return the pauses of a market as they were read last."""
        return self._context.pauses.get(market, {})

    def is_paused(self, mall: Mall, need: Need) -> bool:
        """Whether such a job would not be offered."""
        return self._context.is_paused(mall, need)

    async def refresh(self, market: str) -> None:
        """Read the pauses of a market. Starts its rounds if one has ended."""
        pauses = await self._controls.pauses(market)
        known = self.pauses(market)
        if pauses == known:
            return
        self._context.pauses[market] = pauses
        if known.keys() - pauses.keys():
            self._rounds.wake_all(market, driver=True)

    async def acknowledge(self, market: str, alert: str, actor: str) -> Alert:
        """See :meth:`mallard_engine.ports.Alerts.acknowledge`."""
        acknowledged, effects = await self._context.storage.alerts.acknowledge(market, alert, actor)
        self._apply_effects(market, effects)
        return acknowledged

    async def retry(self, market: str, letter: str, actor: str) -> DeadLetter:
        """See :meth:`mallard_engine.ports.DeadLetters.retry`. Starts a round of the job."""
        retried, effects = await self._context.storage.dead_letters.retry(market, letter, actor)
        self._apply_effects(market, effects)
        return retried

    async def set_pause(
        self, market: str, mall: str, store: str, *, paused: bool, actor: str, reason: str
    ) -> Paused:
        """See :meth:`mallard_engine.ports.Controls.set_pause`."""
        outcome = await self._controls.set_pause(
            market, mall, store, paused=paused, actor=actor, reason=reason
        )
        self._apply_effects(market, outcome.effects)
        await self.refresh(market)
        return outcome
