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
    """What a bucket holds after a request. ``wait_s``: until it holds what was asked; 0: it was
    taken. ``full_s``: until it is full again."""

    wait_s: float
    left: int
    full_s: float


@dataclass(frozen=True, slots=True)
class Rate:
    """So many a second, and up to ``burst`` at once. ``per_s`` 0: no limit."""

    per_s: float
    burst: int


class Buckets:
    """The buckets of one kind, by key. Of more than ``max_keys`` the one used longest ago is
    forgotten, and with it at most one burst."""

    def __init__(self, rate: Rate, max_keys: int = MAX_KEYS) -> None:
        self.rate = rate
        self._max_keys = max_keys
        # By key: when the bucket is full again.
        self._full_at: OrderedDict[object, float] = OrderedDict()

    def __len__(self) -> int:
        """How many buckets are not forgotten."""
        return len(self._full_at)

    def look(self, key: object, now_s: float, cost: float = 1.0) -> Level:
        """What `take` would say. Nothing is taken."""
        return self._level(max(self._full_at.get(key, now_s), now_s) - now_s, cost)

    def take(self, key: object, now_s: float, cost: float = 1.0) -> Level:
        """Take ``cost`` if the bucket holds it."""
        full_s = max(self._full_at.get(key, now_s), now_s) - now_s
        level = self._level(full_s, cost)
        if not level.wait_s:
            self._full_at[key] = now_s + level.full_s
            self._full_at.move_to_end(key)
            if len(self._full_at) > self._max_keys:
                self._full_at.popitem(last=False)
        return level

    def _level(self, full_s: float, cost: float) -> Level:
        per_s, burst = self.rate.per_s, self.rate.burst
        after_s = full_s + cost / per_s
        # One that asks for more than the bucket ever holds takes all of it.
        wait_s = after_s - max(burst, cost) / per_s
        if wait_s > 1e-9:
            return Level(wait_s, max(0, math.floor(burst - full_s * per_s)), full_s)
        return Level(0.0, max(0, math.floor(burst - after_s * per_s + 1e-6)), after_s)
