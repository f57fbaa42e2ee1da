"""An endpoint of webhooks, and which events it gets."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, NamedTuple

from mallard_engine.core.market_events import MarketEvent
from mallard_protocol.codes import Role
from mallard_protocol.events import EventType

# Delivered only if the endpoint names it: it may occur every few seconds.
_ONLY_IF_NAMED: Final = frozenset({EventType.DRIVER_MOVED})


class Secret(NamedTuple):
    """A signing secret, ``whsec_…``. ``until_ms``: when it ends; 0: it is the newest."""

    text: str
    until_ms: int = 0


class Disabled(NamedTuple):
    """Since when and why an endpoint gets no events. ``oldest_ms``: of what waited then; 0: none.

    ``reason``: a `DisabledReason`.
    """

    at_ms: int
    reason: str
    oldest_ms: int = 0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint.

    Attributes:
        id: Its id.
        owner: The subject whose endpoint it is.
        service: The order service whose events it gets; None: it is an operator's.
        url: Where its events are posted.
        types: The types that it gets; empty: all.
        markets: The markets whose events it gets; empty: all.
        description: Its owner's words.
        secrets: The secrets that sign, the newest first.
        created_ms: When it was made.
        updated_ms: When it was last changed by its owner.
        since_ms: It gets what was recorded from then on.
        disabled: Why it gets no events now; None: it does.
        failing_ms: Its first failure since its last success; 0: none.
        waiting: How many deliveries wait.
        missed_ms: What was recorded before had left the stream when it was read; 0: nothing.
        granted_ms: When the token was issued by which its owner last changed it, or when an
            operator enabled it. A revocation of tokens up to then disables it.
    """

    id: str
    owner: str
    service: str | None
    url: str
    types: tuple[str, ...]
    markets: tuple[str, ...]
    description: str
    secrets: tuple[Secret, ...]
    created_ms: int
    updated_ms: int
    since_ms: int = 0
    disabled: Disabled | None = None
    failing_ms: int = 0
    waiting: int = 0
    missed_ms: int = 0
    granted_ms: int = 0

    @property
    def role(self) -> Role:
        """The role of its owner's tokens."""
        return Role.OPERATOR if self.service is None else Role.ORDERS

    def reaches(self, market: str) -> bool:
        """Whether it gets events of this market."""
        return not self.markets or market in self.markets

    def wants(self, event: MarketEvent) -> bool:
        """Whether it gets an event, if its owner may read it."""
        kind = event.type
        if kind is None or self.disabled is not None or not self.reaches(event.market):
            return False
        return kind in self.types if self.types else kind not in _ONLY_IF_NAMED

    def succeeds(self, now_ms: int, within_ms: int) -> bool:
        """Whether it has not gone without a success for so long."""
        return not self.failing_ms or now_ms - self.failing_ms < within_ms

    def signs_with(self, now_ms: int) -> tuple[str, ...]:
        """Return the secrets that are valid now, the newest first."""
        return tuple(it.text for it in self.secrets if not it.until_ms or it.until_ms > now_ms)


def rotated(secrets: Collection[Secret], text: str, until_ms: int) -> tuple[Secret, ...]:
    """Return the secrets after a rotation: the new one, and the newest before it until then."""
    newest = next(iter(secrets))
    return Secret(text), Secret(newest.text, until_ms)
