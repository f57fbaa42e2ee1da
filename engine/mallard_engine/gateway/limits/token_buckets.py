"""Token buckets of one node, in memory.

A bucket is stored as the time at which it will be full again (the generic cell rate algorithm): a
key costs one float, whatever its limit.
"""

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, NamedTuple

MAX_KEYS: Final = 20_000


class Level(NamedTuple):
    """The level of a bucket after a request.

    `wait_s` is the time until the bucket holds the cost, 0 if it was taken; `full_s` the time until
    the bucket is full.
    """

    wait_s: float
    left: int
    full_s: float


@dataclass(frozen=True, slots=True)
class Rate:
    """`per_s` requests per second, and up to `burst` at once. A `per_s` of 0 means no limit."""

    per_s: float
    burst: int


class Buckets:
    """The buckets of one kind, by key.

    Beyond `max_keys` the least recently used bucket is dropped, which grants its key at most one
    burst.
    """

    def __init__(self, rate: Rate, max_keys: int = MAX_KEYS) -> None:
        self.rate = rate
        self._max_keys = max_keys
        # By key: when the bucket is full again.
        self._full_at: OrderedDict[object, float] = OrderedDict()

    def __len__(self) -> int:
        """Number of buckets."""
        return len(self._full_at)

    def look(self, key: object, now_s: float, cost: float = 1.0) -> Level:
        """Return what `take` would, without taking anything."""
        return self._level(max(self._full_at.get(key, now_s), now_s) - now_s, cost)

    def take(self, key: object, now_s: float, cost: float = 1.0) -> Level:
        """Take `cost` if the bucket holds it."""
        level = self.look(key, now_s, cost)
        if not level.wait_s:
            self._set(key, now_s + level.full_s)
        return level

    def owe(self, key: object, now_s: float, cost: float) -> None:
        """Take `cost` whether the bucket holds it or not: later requests wait for the rest."""
        full_at_s = max(self._full_at.get(key, now_s), now_s)
        self._set(key, full_at_s + cost / self.rate.per_s)

    def _set(self, key: object, full_at_s: float) -> None:
        self._full_at[key] = full_at_s
        self._full_at.move_to_end(key)
        if len(self._full_at) > self._max_keys:
            self._full_at.popitem(last=False)

    def _level(self, full_s: float, cost: float) -> Level:
        per_s, burst = self.rate.per_s, self.rate.burst
        after_s = full_s + cost / per_s
        # A cost above the burst takes the whole bucket.
        wait_s = after_s - max(burst, cost) / per_s
        if wait_s > 1e-9:
            return Level(wait_s, max(0, math.floor(burst - full_s * per_s)), full_s)
        return Level(0.0, max(0, math.floor(burst - after_s * per_s + 1e-6)), after_s)
