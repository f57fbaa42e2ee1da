"""Offer histories of simulated drivers: how their offers of former days ended."""

import random

from mallard_engine.core.matching.acceptance import CELLS, FULL, LENGTH


def with_answer(history: str, cell: int, *, accepted: bool, lapsed: bool = False) -> str:
    """Return the history after one more offer, as `lib/history.lua` counts it."""
    counts = bytearray(history.encode("latin-1") or LENGTH)
    _count(counts, cell, second=not accepted)
    if not accepted:
        _count(counts, CELLS, second=lapsed)
    return counts.decode("latin-1")


def drawn_history(offers: int, acceptance: float, rng: random.Random) -> str:
    """Draw the history of `offers` former offers at any place and hour; empty for 0.

    The driver accepts with the given probability and lets half of the others lapse.
    """
    history = ""
    for _ in range(offers):
        accepted = rng.random() < acceptance
        lapsed = rng.random() < 0.5
        history = with_answer(history, rng.randrange(CELLS), accepted=accepted, lapsed=lapsed)
    return history


def _count(counts: bytearray, pair: int, *, second: bool) -> None:
    counts[2 * pair + second] += 1
    if counts[2 * pair] + counts[2 * pair + 1] > FULL:
        counts[2 * pair] //= 2
        counts[2 * pair + 1] //= 2
