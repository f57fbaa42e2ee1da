"""The ports of pushes: the streams that nodes read, and the sink that delivers them to sockets."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from mallard_engine.ports.effects import Push


@dataclass(frozen=True, slots=True)
class PushEntry:
    """A push read from the stream of a market; ``cursor`` is the position behind it."""

    market: str
    cursor: str
    push: Push


class PushSink(Protocol):
    """Delivers pushes to the sockets of this node."""

    def deliver(self, market: str, pushes: Sequence[Push]) -> None:
        """Deliver the pushes of this node's own transitions."""


class PushStream(Protocol):
    """The pushes for the drivers of this node.

    Those of its own transitions come with their replies, those of other nodes through a stream of
    each market. Each of the two keeps its order; a driver's ``seq`` gives the order of both.
    """

    def deliver_to(self, sink: PushSink, reply_lost: Callable[[str], None]) -> None:
        """Deliver the pushes of this node's own transitions as soon as their replies arrive.

        Args:
            sink: Receives them.
            reply_lost: Called with the market of a transition whose reply is ignored.
        """

    async def head(self, market: str) -> str:
        """Return the end of a market's stream.

        Replies to transitions that ran before have arrived when this returns.
        """

    async def read(self, cursors: Mapping[str, str], block_ms: int) -> Sequence[PushEntry]:
        """Return what follows each market's cursor, in order; wait up to ``block_ms``."""
