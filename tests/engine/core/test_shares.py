"""Rendezvous hashing: every node computes the same owner of a market."""

from collections import Counter

from mallard_engine.core.shares import owner, share

MARKETS = [f"market-{number}" for number in range(1_000)]
NODES = [f"node-{number}" for number in range(10)]


def test_owner_of_a_market_ignores_the_order_of_nodes() -> None:
    shares = {node: share(MARKETS, node, NODES) for node in NODES}
    assert sorted(market for mine in shares.values() for market in mine) == sorted(MARKETS)
    assert all(market in shares[owner(market, list(reversed(NODES)))] for market in MARKETS)


def test_shares_are_about_even() -> None:
    counts = Counter(owner(market, NODES) for market in MARKETS)
    assert 60 < min(counts.values()) <= max(counts.values()) < 140


def test_death_of_a_node_moves_only_its_markets() -> None:
    left = NODES[1:]
    moved = {market for market in MARKETS if owner(market, NODES) != owner(market, left)}
    assert moved == share(MARKETS, NODES[0], NODES)


def test_node_that_is_alone_or_unknown_does_everything() -> None:
    assert share(MARKETS, "a", ["a"]) == share(MARKETS, "a", ["b", "c"]) == frozenset(MARKETS)
