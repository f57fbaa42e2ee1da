"""What operators have set for each market, as this node knows it.

The scripts refuse what a pause forbids, so a pause is in force on every node as soon as it is
stored. A node learns of changes within a second (`NodeLeases`) so that its rounds do not plan in
vain, views show them, and a resumed market starts its rounds.

A policy is in force once every node has read it and says so. The call that puts it waits for that,
so that what its caller does afterwards finds the new policy everywhere.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import structlog

from mallard_engine.core.model import Need
from mallard_engine.core.operator_records import Alert, DeadLetter
from mallard_engine.core.pauses import Pauses
from mallard_engine.core.places.mall import Mall
from mallard_engine.core.policy.override import PolicyOverride
from mallard_engine.dispatch.context import ApplyEffects, Context
from mallard_engine.dispatch.rounds.round_scheduler import RoundScheduler
from mallard_engine.ports import Paused

_log = structlog.get_logger(__name__)

# How long a call that changes a policy waits for the other nodes.
_ASKS: Final = 50
_ASK_S: Final = 0.1

UsePolicy = Callable[[str, PolicyOverride], Awaitable[None]]


async def _ignore(_market: str, _override: PolicyOverride) -> None:
    """Ignore a policy of operators: a simulation uses those of its scenario."""


class MarketControls:
    """Executes operators' commands on markets and follows those of other nodes."""

    def __init__(
        self, context: Context, node: str, rounds: RoundScheduler, apply_effects: ApplyEffects
    ) -> None:
        self._context = context
        self._controls = context.storage.controls
        self._rounds = rounds
        self._apply_effects = apply_effects
        self._node = node
        # By market: the policy that operators have set, as this node uses it.
        self._overrides: dict[str, PolicyOverride] = {}
        # By market: the version of which the storage knows that this node uses it.
        self._noted: dict[str, int] = {}
        # Makes this node use a policy. Set by the node.
        self.use_policy: UsePolicy = _ignore

    def policy(self, market: str) -> PolicyOverride:
        """Return what operators have set of the market's policy."""
        return self._overrides.get(market, PolicyOverride())

    @property
    def policies(self) -> Mapping[str, PolicyOverride]:
        """What operators have set, by market."""
        return self._overrides

    async def put_policy(
        self, market: str, override: PolicyOverride, expected: int | None
    ) -> PolicyOverride:
        """See :meth:`mallard_engine.ports.Policies.put`. Waits until all live nodes use it."""
        policies = self._context.storage.policies
        stored, effects = await policies.put(market, override, expected)
        self._apply_effects(market, effects)
        await self._follow_policy(market)
        for _ in range(_ASKS):
            behind = await policies.behind(market, stored.version)
            if not behind:
                return stored
            await asyncio.sleep(_ASK_S)
        _log.warning("nodes do not use a new policy yet", market=market, nodes=behind)
        return stored

    async def _follow_policy(self, market: str) -> None:
        policies = self._context.storage.policies
        override = await policies.current(market, self.policy(market).version)
        if override is not None:
            self._overrides[market] = override
            await self.use_policy(market, override)
        version = self.policy(market).version
        if self._noted.get(market, 0) != version:  # also after an attempt that failed
            await policies.note_applied(market, self._node, version)
            self._noted[market] = version

    def pauses(self, market: str) -> Pauses:
        """Return the pauses of a market as they were read last."""
        return self._context.pauses.get(market, {})

    def is_paused(self, mall: Mall, need: Need) -> bool:
        """Whether such a job would not be offered."""
        return self._context.is_paused(mall, need)

    async def refresh(self, market: str) -> None:
        """Read what operators have set of a market. Starts its rounds if a pause has ended."""
        await self._follow_policy(market)
        await self._follow_pauses(market)

    async def look_again(self, market: str) -> None:
        """Read what operators have set for a market; announce what no node has announced."""
        before = self.policy(market), self.pauses(market)
        await self.refresh(market)
        if (self.policy(market), self.pauses(market)) != before:
            await self._controls.announce_changed(market)

    async def _follow_pauses(self, market: str) -> None:
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
        await self._follow_pauses(market)
        return outcome
