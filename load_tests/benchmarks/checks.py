"""The checks of `make bench-quick`: counts, and ratios of two values of the same run.

A count is the maximum. A ratio is that of the two contestants' best repetitions, as other load on
the machine can only increase a time; the spread of the pairs' ratios is shown beside it. The limit
of a ratio is about twice the measured value, so that only a change of the code exceeds it.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from load_tests.benchmarks.contestants import Contestant
from load_tests.benchmarks.line.measure import AT_ONCE
from load_tests.benchmarks.pages.ratios import Spread, spread
from load_tests.benchmarks.scaling.markets import RESTS_S, idle_cost
from load_tests.benchmarks.scaling.nodes import best
from load_tests.benchmarks.scaling.nodes import in_turn as cycles_of
from load_tests.benchmarks.system_checks import cycle_cpu, position_cpu

_REPETITIONS: Final = 5
_MATCHES: Final = 60
_CALLS: Final = 3_000
_ROUNDS: Final = 4
_BATCH: Final = 256
_SCALED_S: Final = 5.0
_SCALED_DRIVERS: Final = 200
_IDLE_MARKETS: Final = 100
# Nodes without drivers share the markets for about ten seconds; then one of them maintains all.
# Both are measured, but not the change, which costs some looks more, once.
_AWAKE_AFTER_S: Final = 4.0
_IDLE_S: Final = 4.0
# The number of drivers, all of which report.
DRIVERS: Final = 5_000


class Limit(NamedTuple):
    """A limit: the name in the table, the maximum, and what the ratio is to."""

    name: str
    at_most: float
    why: str = ""


# The limits.
LIMITS: Final[Mapping[str, Limit]] = {
    "match_scripts": Limit("store calls from a wake to its offer", 2, "candidates, offer"),
    "match_calls": Limit("store calls of a match in all", 2, "explain goes with the offer"),
    "batch_calls": Limit("store calls of a batch of positions", 1, "one script"),
    "match_redis": Limit("Redis time of a match / a GEOSEARCH of 256 drivers", 0.8),
    "position_redis": Limit("Redis time of a position / GEOADD + HSET", 8),
    "position_cpu": Limit("engine CPU of a position / a bare sink", 4),
    "cycle_cpu": Limit("engine CPU of a full cycle / the minimal program", 6),
    "reads_1": Limit("reads of pushes a cycle, one node", 0.5, "none is written"),
    "reads_2": Limit("reads of pushes a cycle, two nodes", 1.5, "its own drivers'"),
    "nodes_cpu": Limit("engine CPU of a cycle, two nodes / one", 2),
    "idle_scripts": Limit("scripts a second, 100 idle markets", 25, "one look for all"),
    "idle_looks": Limit("looks at 100 idle markets, three nodes / one", 1.3, "shared out"),
    "rest_looks": Limit("the same at rest", 1.3, "one node for all"),
    "idle_wakes": Limit("timers of 500 idle sockets in a ping interval", 60, "in slots"),
    "call_1": Limit("client CPU of a call / redis-py, one at a time", 0.75),
    "call_32": Limit("client CPU of a call / redis-py, 32 at once", 0.35),
}


@dataclass(frozen=True, slots=True)
class Check:
    """A measured value beside its limit, with its spread."""

    limit: Limit
    seen: float
    varied: Spread

    @property
    def holds(self) -> bool:
        """Whether the value is within the limit."""
        return self.seen <= self.limit.at_most


class Field(NamedTuple):
    """The contestants: the engine and its peers."""

    ours: Contestant
    redis_py: Contestant
    variadic: Contestant


def match_checks(field: Field) -> Iterator[Check]:
    """Check a match: calls by the real code, and Redis's own time."""
    found = [field.ours.ask("match_cost", times=_MATCHES) for _ in range(_REPETITIONS)]
    yield _count("match_scripts", [one["scripts"] for one in found])
    yield _count("match_calls", [one["calls"] for one in found])
    yield _ratio("match_redis", [(one["redis_us"], one["search_us"]) for one in found])


def position_checks(field: Field) -> Iterator[Check]:
    """Check positions in batches of 256."""
    counted = field.ours.ask("report_calls")
    yield _count("batch_calls", [counted["scripts"] / math.ceil(counted["fixes"] / _BATCH)])
    pairs = [
        _ask_both(
            field.ours,
            field.variadic,
            "redis_command_us",
            "report",
            rounds=_ROUNDS,
            drivers=DRIVERS,
        )
        for _ in range(_REPETITIONS)
    ]
    yield _ratio("position_redis", pairs)


def call_checks(field: Field) -> Iterator[Check]:
    """Check the connection to Redis against redis-py's pool."""
    for at_once in AT_ONCE:
        pairs = [
            _ask_both(field.ours, field.redis_py, "us", "call", at_once=at_once, calls=_CALLS)
            for _ in range(_REPETITIONS)
        ]
        yield _ratio(f"call_{at_once}", pairs)


def system_checks(_: Field) -> Iterator[Check]:
    """Check whole systems over sockets, each with its own drivers."""
    yield _ratio("position_cpu", [position_cpu(_silent)])
    yield _ratio("cycle_cpu", [cycle_cpu(_silent)])


def scaling_checks(_: Field) -> Iterator[Check]:
    """Check what a second node and idle markets cost."""
    found = cycles_of((1, 2), 1, drivers=_SCALED_DRIVERS, at_once=16, seconds=_SCALED_S)
    one, two = (best(found[count]) for count in (1, 2))
    yield _count("reads_1", [one.reads])
    yield _count("reads_2", [two.reads])
    yield _ratio("nodes_cpu", [(two.engine, one.engine)])
    for name, settles_s in (("idle_looks", _AWAKE_AFTER_S), ("rest_looks", RESTS_S)):
        alone, shared = (
            idle_cost(_IDLE_MARKETS, nodes, _IDLE_S, settles_s=settles_s) for nodes in (1, 3)
        )
        if name == "idle_looks":
            yield _count("idle_scripts", [alone.scripts])
        yield _ratio(name, [(shared.looks, alone.looks)])


def idle_checks(field: Field) -> Iterator[Check]:
    """Check how often idle sockets wake the event loop."""
    yield _count("idle_wakes", [field.ours.ask("idle_wakes")["wakes"] for _ in range(2)])


Part: TypeAlias = Callable[[Field], Iterator[Check]]

# The checks in order.
ALL: Final[Sequence[Part]] = (
    match_checks,
    position_checks,
    call_checks,
    system_checks,
    scaling_checks,
    idle_checks,
)


def _silent(line: str) -> None:
    """The table says it all."""


def _ask_both(
    ours: Contestant, theirs: Contestant, key: str, do: str, **arguments: object
) -> tuple[float, float]:
    return ours.ask(do, **arguments)[key], theirs.ask(do, **arguments)[key]


def _count(name: str, values: Sequence[float]) -> Check:
    return Check(LIMITS[name], max(values), spread(values))


def _ratio(name: str, pairs: Sequence[tuple[float, float]]) -> Check:
    best = min(ours for ours, _ in pairs) / min(theirs for _, theirs in pairs)
    return Check(LIMITS[name], best, spread([ours / theirs for ours, theirs in pairs]))
