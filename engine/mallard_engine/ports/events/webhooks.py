"""The port of webhooks: endpoints, what waits for each, and which node works on what."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from mallard_engine.core.event_ids import Place
from mallard_engine.core.market_events import MarketEvent
from mallard_engine.core.webhooks.endpoints import Disabled, Endpoint


class NoSuchWebhook(Exception):
    """There is no such endpoint."""


class TooManyWebhooks(Exception):
    """The owner has as many endpoints as it may."""


@dataclass(frozen=True, slots=True)
class Leased:
    """What a node works on until its next beat.

    ``version`` rises with each change of an endpoint. ``waiting``: deliveries that wait for these
    endpoints. ``unannounced``: endpoints whose disabling is not yet recorded as an event.
    """

    version: int
    endpoints: frozenset[str]
    markets: frozenset[str]
    unannounced: Sequence[str]
    waiting: int


@dataclass(frozen=True, slots=True)
class Endpoints:
    """All endpoints at a version."""

    version: int
    by_id: Mapping[str, Endpoint]


@dataclass(frozen=True, slots=True)
class WaitingDelivery:
    """A delivery that is due. ``failed``: attempts so far, the first of them at ``first_ms``."""

    endpoint: str
    name: str
    event: MarketEvent
    failed: int
    first_ms: int


@dataclass(frozen=True, slots=True)
class Attempt:
    """How an attempt ended, for the log of the endpoint."""

    event: str
    type: str
    attempt: int
    at_ms: int
    duration_ms: int
    outcome: str
    status: int | None = None
    error: str | None = None
    next_ms: int | None = None


class Webhooks(Protocol):
    """Endpoints of all markets. Deliveries wait here from the event to their success."""

    async def create(self, endpoint: Endpoint) -> Endpoint:
        """Store a new endpoint; it gets what is recorded from now on.

        Raises:
            TooManyWebhooks: its owner has too many.
        """

    async def update(
        self, was: Endpoint, endpoint: Endpoint, *, enable: bool = False
    ) -> Endpoint | None:
        """Replace an endpoint unless it has changed meanwhile, which returns None.

        ``enable``: it gets what is recorded from now on.

        Raises:
            NoSuchWebhook: it is gone.
        """

    async def delete(self, endpoint: Endpoint) -> None:
        """Delete an endpoint and what waits for it; again: nothing happens."""

    async def disable(self, endpoint: str, reason: str) -> None:
        """Give an endpoint no more events, and drop what waits for it."""

    async def get(self, endpoint: str) -> Endpoint:
        """Return an endpoint.

        Raises:
            NoSuchWebhook: there is none.
        """

    async def all(self) -> Endpoints:
        """Return all endpoints."""

    async def log(
        self, endpoint: str, cursor: str | None, limit: int
    ) -> tuple[Sequence[Attempt], str | None]:
        """Return attempts, newest first, and the cursor of the next page."""

    async def version(self) -> int:
        """Return the number that rises with each change of an endpoint."""

    async def beat(self, node: str, markets: Sequence[str]) -> Leased:
        """Renew the node's leases and take what no live node holds, a fair share of it."""

    async def leave(self, node: str) -> None:
        """Give up all leases of the node."""

    async def position(self, market: str) -> Place | None:
        """Return up to where the market's events have been queued."""

    async def queue(
        self,
        market: str,
        moved: tuple[Place | None, Place],
        events: Sequence[MarketEvent],
        wanted: Mapping[str, Sequence[int]],
        version: int,
    ) -> str:
        """Queue events for endpoints and move the market's position, in one step.

        Args:
            market: The market.
            moved: The position before and after.
            events: The events that any endpoint wants.
            wanted: By endpoint: the indexes of its events.
            version: Of the endpoints that the caller knows.

        Returns:
            ``ok``; ``stale``: the endpoints have changed; ``moved``: another node was faster.

        An endpoint that succeeds and for which many wait is behind from then on, see `behind`. One
        that does not succeed is disabled when too many wait.
        """

    async def behind(self) -> Sequence[tuple[str, str, Place]]:
        """Return the endpoints that are behind: endpoint, market, after which place to continue."""

    async def catch_up(
        self,
        endpoint: str,
        market: str,
        moved: tuple[Place, Place],
        events: Sequence[MarketEvent],
        missed_ms: int = 0,
    ) -> bool:
        """Queue the next events of an endpoint that is behind, and move it on.

        Args:
            endpoint: Its id.
            market: The market.
            moved: Its place in the market's events, before and after.
            events: Those that it gets.
            missed_ms: What was recorded before had left the stream unread; 0: nothing.

        Returns True if it is still behind and there is room for more.
        """

    async def begin_replay(self, endpoint: str, market: str, after: Place, to: Place) -> None:
        """Queue the events after a place up to another again, in steps; see `replays`."""

    async def replays(self) -> Sequence[tuple[str, str, Place, Place]]:
        """Return the unfinished replays: endpoint, market, after which place, up to which."""

    async def replay(
        self,
        endpoint: str,
        market: str,
        moved: tuple[Place, Place],
        to: Place,
        events: Sequence[MarketEvent],
    ) -> bool:
        """Queue events of a replay and move it on; at its end it is over.

        Returns False, and has no effect, if it was moved on by another node or is over.
        """

    async def take(
        self, slots: Mapping[str, int], most: int, hold_ms: int
    ) -> Sequence[WaitingDelivery]:
        """Return due deliveries and postpone them by ``hold_ms``.

        Nothing is popped: what its node does not settle falls due again.

        Args:
            slots: At most so many for each endpoint; the first endpoints come first.
            most: At most so many in total.
            hold_ms: The delay.
        """

    async def settle(
        self, waiting: WaitingDelivery, attempt: Attempt | None, *, is_gone: bool
    ) -> str:
        """Write how an attempt ended; None: there was nothing to send.

        ``is_gone``: the endpoint answered that it is gone. Returns why the endpoint was disabled by
        this, or an empty text.
        """

    async def announce_disabled(self, market: str, endpoint: Endpoint, why: Disabled) -> None:
        """Write the event that an endpoint is disabled."""

    async def announced(self, endpoint: str) -> None:
        """Note that the disabling of an endpoint is recorded as an event."""
