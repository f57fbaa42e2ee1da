"""A history made up for a simulation is what the scripts would have counted."""

import random

import pytest

from mallard_engine.core.matching.acceptance import CELLS, FULL, LENGTH, read_counts
from mallard_engine.simulation.offer_histories import drawn_history, with_answer


def test_history_has_the_format_and_rate_of_its_driver() -> None:
    history = drawn_history(400, 0.7, random.Random(1))
    assert len(history) == LENGTH
    read = [read_counts(history, part) for part in range(4)]
    assert read[0].all_accepted / 400 == pytest.approx(0.7, abs=0.06)
    assert read[0].all_accepted + read[0].all_refused == 400
    assert drawn_history(0, 0.7, random.Random(1)) == ""


def test_full_pair_is_halved() -> None:
    history = ""
    for _ in range(FULL + 1):
        history = with_answer(history, CELLS - 1, accepted=False, lapsed=True)
    read = read_counts(history, 3)
    assert (read.refused[2], read.lapsed, read.declined) == (FULL // 2, FULL // 2, 0)
