"""Bugs in how a node takes its drivers back, each with the story that finds it.

See `test_planted_bugs.py`.
"""

from tests.properties.mallard import Mallard
from tests.properties.planted.planting import Planted, Story


def _reap_frozen_node(mallard: Mallard) -> None:
    """`n1` stops for a while, and `n2` reaps its drivers."""
    mallard.a_day_begins([])
    mallard.node_dies("n1")
    mallard.time_passes(1_500, reports=False)
    mallard.reap("n1")


def frozen_node_returns(mallard: Mallard) -> None:
    _reap_frozen_node(mallard)
    mallard.node_beats("n1")


def driver_moved_before_its_node_returns(mallard: Mallard) -> None:
    _reap_frozen_node(mallard)
    at = mallard.sockets["d0"]
    mallard.hello("d0", "n2")
    mallard.sockets["d0"] = at
    mallard.node_beats("n1")


def driver_moved_and_left_before_its_node_returns(mallard: Mallard) -> None:
    _reap_frozen_node(mallard)
    at = mallard.sockets["d0"]
    mallard.hello("d0", "n2")
    mallard.disconnect("d0")
    mallard.sockets["d0"] = at
    mallard.node_beats("n1")


def node_returns_after_the_resume_time(mallard: Mallard) -> None:
    _reap_frozen_node(mallard)
    mallard.time_passes(mallard.model.resume_ms + 1, reports=False)
    mallard.node_beats("n1")


def expired_lease_is_reported_twice(mallard: Mallard) -> None:
    _reap_frozen_node(mallard)
    mallard.node_beats("n1")
    mallard.time_passes(500)
    mallard.node_beats("n1")


def frozen_node_is_not_reaped(mallard: Mallard) -> None:
    mallard.a_day_begins([])
    mallard.node_dies("n1")
    mallard.time_passes(1_500, reports=False)
    mallard.node_beats("n1")


def all_leases_expire(mallard: Mallard) -> None:
    mallard.a_day_begins([])
    for node in ("n1", "n2"):
        mallard.node_dies(node)
    mallard.time_passes(5_000, reports=False)
    mallard.node_beats("n1")


def _taken_back(name: str, old: str, new: str, story: Story) -> Planted:
    return Planted(name, "take_back", ((old, new),), story)


PLANTED_IN_TAKE_BACKS = (
    _taken_back(
        "take-back ignores the epoch",
        "if not is_ours and (rec.epoch",
        "if false and (rec.epoch",
        driver_moved_before_its_node_returns,
    ),
    _taken_back(
        "older socket replaces a closed newer one",
        "(rec.epoch > own.epoch or",
        "(",
        driver_moved_and_left_before_its_node_returns,
    ),
    _taken_back(
        "driver taken back is not in the index",
        "  save_driver(own.driver, rec)\n  return is_ours",
        "  redis.call('HSET', K.drivers, own.driver, cmsgpack.pack(rec))\n  return is_ours",
        frozen_node_returns,
    ),
    _taken_back(
        "wish is kept after the resume time",
        "    resume_wish(rec)\n",
        "",
        node_returns_after_the_resume_time,
    ),
    Planted(
        "each beat starts a new lease",
        "beat",
        (("if not since or not lease or tonumber(lease) <= now then", "if true then"),),
        expired_lease_is_reported_twice,
    ),
    Planted(
        "expired lease is not reported",
        "beat",
        (("or tonumber(lease) <= now then", "then"),),
        frozen_node_is_not_reaped,
    ),
    Planted(
        "node with a new lease reports others as dead",
        "beat",
        (("if now - since >= arg.lease_ms then", "if true then"),),
        all_leases_expire,
    ),
)
