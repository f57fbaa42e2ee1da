"""The port of operators' pauses."""

from dataclasses import dataclass
from typing import Protocol

from mallard_engine.core.pauses import Pause, Pauses
from mallard_engine.ports.effects import Effects


@dataclass(frozen=True, slots=True)
class Paused:
    """A place after an operator's call: whether that changed it, and its pause if it is paused."""

    changed: bool
    pause: Pause | None
    effects: Effects


class Controls(Protocol):
    """What operators set for a market."""

    async def pauses(self, market: str) -> Pauses:
        """Return where matching is paused."""

    async def announce_changed(self, market: str) -> None:
        """Have all nodes read what operators have set of a market."""

    async def set_pause(
        self, market: str, mall: str, store: str, *, paused: bool, actor: str, reason: str
    ) -> Paused:
        """Pause or resume matching; once it returns, no node makes an offer there.

        Args:
            market: The market.
            mall: Its mall; empty: the whole market.
            store: A shop of the mall; empty: the whole mall.
            paused: Whether it is paused from now on.
            actor: The operator.
            reason: Why; may be empty.
        """
