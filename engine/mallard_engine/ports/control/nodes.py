"""The port of the deployment's nodes: what each says of itself, and who is to drain."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


class NoSuchNode(Exception):
    """No such node is alive."""


@dataclass(frozen=True, slots=True)
class NodeReport:
    """What a node says of itself. ``drivers``: open sockets by market."""

    id: str
    address: str
    version: str
    started_ms: int
    drivers: Mapping[str, int]
    is_leaving: bool


@dataclass(frozen=True, slots=True)
class DrainRequest:
    """An operator wants a node to drain."""

    actor: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class KnownNode:
    """A node as the storage knows it.

    ``is_lost``: it has been silent for seconds without having announced a stop.
    """

    report: NodeReport
    seen_ms: int
    has_stopped: bool
    is_lost: bool
    drain: DrainRequest | None


class Nodes(Protocol):
    """The nodes of the deployment, of all markets."""

    async def announce(
        self, report: NodeReport, *, has_stopped: bool = False
    ) -> DrainRequest | None:
        """Store what a node says of itself; return whether it is to drain."""

    async def all(self) -> Sequence[KnownNode]:
        """Return the nodes that announced themselves within the last minutes, oldest first."""

    async def ask_drain(self, node: str, actor: str) -> DrainRequest:
        """Ask a node to drain; a repeat keeps the first request.

        Raises:
            NoSuchNode: It is unknown, has stopped or is lost.
        """
