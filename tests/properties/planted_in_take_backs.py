"""Bugs planted in how a node takes its drivers back, each with the story that finds it.

See `test_planted_bugs.py`.
"""

from tests.properties.mallard import Mallard
from tests.properties.planting import Planted, Story


def _frozen(mallard: Mallard) -> None:
    """`n1` stops for a while, and `n2` takes its drivers out."""
    mallard.a_day_begins([])
    mallard.node_dies("n1")
    mallard.time_passes(1_500, reports=False)
    mallard.reap("n1")


def a_frozen_node_is_back(mallard: Mallard) -> None:
    _frozen(mallard)
    mallard.node_beats("n1")


def a_driver_is_on_another_node_when_its_own_is_back(mallard: Mallard) -> None:
    _frozen(mallard)
    at = mallard.sockets["d0"]
    mallard.hello("d0", "n2")
    mallard.sockets["d0"] = at
    mallard.node_beats("n1")


def a_driver_has_left_another_node_when_its_own_is_back(mallard: Mallard) -> None:
    _frozen(mallard)
    at = mallard.sockets["d0"]
    mallard.hello("d0", "n2")
    mallard.disconnect("d0")
    mallard.sockets["d0"] = at
    mallard.node_beats("n1")


def a_node_is_back_after_long(mallard: Mallard) -> None:
    _frozen(mallard)
    mallard.time_passes(mallard.model.resume_ms + 1, reports=False)
    mallard.node_beats("n1")


def a_lapse_is_told_twice(mallard: Mallard) -> None:
    _frozen(mallard)
    mallard.node_beats("n1")
    mallard.time_passes(500)
    mallard.node_beats("n1")


def a_node_is_frozen_and_not_reaped(mallard: Mallard) -> None:
    mallard.a_day_begins([])
    mallard.node_dies("n1")
    mallard.time_passes(1_500, reports=False)
    mallard.node_beats("n1")


def a_whole_market_was_without_its_store(mallard: Mallard) -> None:
    mallard.a_day_begins([])
    for node in ("n1", "n2"):
        mallard.node_dies(node)
    mallard.time_passes(5_000, reports=False)
    mallard.node_beats("n1")


def _taken_back(name: str, old: str, new: str, story: Story) -> Planted:
    return Planted(name, "take_back", ((old, new),), story)


PLANTED_IN_TAKE_BACKS = (
    _taken_back(
        "no epoch fence",
        "if not is_ours and (rec.epoch",
        "if false and (rec.epoch",
        a_driver_is_on_another_node_when_its_own_is_back,
    ),
    _taken_back(
        "a socket that is gone gives way to an older one",
        "(rec.epoch > own.epoch or",
        "(",
        a_driver_has_left_another_node_when_its_own_is_back,
    ),
    _taken_back(
        "taken back and not into the index",
        "  save_driver(own.driver, rec)\n  return is_ours",
        "  redis.call('HSET', K.drivers, own.driver, cmsgpack.pack(rec))\n  return is_ours",
        a_frozen_node_is_back,
    ),
    _taken_back(
        "the wish outlives its time",
        "    resume_wish(rec)\n",
        "",
        a_node_is_back_after_long,
    ),
    Planted(
        "a lease begins anew with each beat",
        "beat",
        (("if not since or not lease or tonumber(lease) <= now then", "if true then"),),
        a_lapse_is_told_twice,
    ),
    Planted(
        "an expiry is never pushed",
        "beat",
        (("or tonumber(lease) <= now then", "then"),),
        a_node_is_frozen_and_not_reaped,
    ),
    Planted(
        "who beats first takes the others for dead",
        "beat",
        (("if now - since >= arg.lease_ms then", "if true then"),),
        a_whole_market_was_without_its_store,
    ),
)
