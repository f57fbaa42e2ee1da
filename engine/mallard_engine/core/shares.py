"""Which of several nodes does a market's maintenance, by rendezvous hashing.

Every node computes the same owner from the same names. If a node comes or goes, only the markets
that it gets or had change their owner. (Thaler and Ravishankar, "Using name-based mappings to
increase hit rates", 1998.)
"""

from collections.abc import Collection, Iterable
from hashlib import blake2b


def owner(market: str, nodes: Collection[str]) -> str:
    """Return the node of a market. Raises `ValueError` without nodes."""
    return max(nodes, key=lambda node: (_weight(market, node), node))


def share(markets: Iterable[str], node: str, nodes: Collection[str]) -> frozenset[str]:
    """Return the markets of a node; all of them if it is alone, or not among the nodes."""
    if node not in nodes or len(nodes) == 1:
        return frozenset(markets)
    return frozenset(market for market in markets if owner(market, nodes) == node)


def _weight(market: str, node: str) -> bytes:
    return blake2b(f"{market}/{node}".encode(), digest_size=8).digest()
