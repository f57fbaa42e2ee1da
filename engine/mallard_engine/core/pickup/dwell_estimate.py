"""Dwell times at stores: a quantile sketch of observed stays, and the estimates from it.

A stay lasts from the arrival at the mall until the parcel is in hand: the walk from the gate and
the service time at the counter. A store's sketch counts stays in `BUCKETS` buckets, each `RATIO`
times as long as the one before, as in DDSketch (Masson et al. 2019). It is halved when it holds
`FULL` stays, so it represents the last hundred or two. `storage/lua/lib/dwell.lua` writes it.

The relative error of a quantile is at most `ERROR` between `LEAST_MS` and `MOST_MS`; below, the
error is at most half of `LEAST_MS`, and longer stays count as `MOST_MS`. Halving rounds the
cumulative sums down, so it moves no rank by a whole stay, however often it happens.
"""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import ceil, log
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from mallard_engine.core.places.mall import Mall

BUCKETS = 72
LEAST_MS = 15_000
RATIO = 1.1
FULL = 200
MOST_MS = LEAST_MS * RATIO ** (BUCKETS - 1)
ERROR = (RATIO - 1) / (RATIO + 1)

_Array = NDArray[np.float64]


def _middle_ms(bucket: int) -> float:
    """Return the value with the same relative error to both ends of the bucket."""
    if bucket == 0:
        return LEAST_MS / 2
    end_ms = LEAST_MS * RATIO**bucket
    return end_ms * (1 - ERROR)


_MIDDLES_MS = tuple(map(_middle_ms, range(BUCKETS)))
_MIDDLES_S: _Array = np.array(_MIDDLES_MS) / 1000


def bucket_of(ms: int) -> int:
    """Return the bucket of a stay: the first whose upper end is not exceeded."""
    if ms <= LEAST_MS:
        return 0
    return min(ceil(log(ms / LEAST_MS) / log(RATIO)), BUCKETS - 1)


@dataclass(frozen=True, slots=True)
class DwellSketch:
    """One store's stays by bucket, at most `FULL` in all."""

    counts: tuple[int, ...] = (0,) * BUCKETS

    @classmethod
    def parse(cls, packed: bytes) -> Self:
        """Read the stored form: one byte for the total, then one a bucket; else an empty sketch."""
        if len(packed) != BUCKETS + 1 or sum(packed[1:]) != packed[0]:
            return cls()
        return cls(tuple(packed[1:]))

    def pack(self) -> bytes:
        """Return the stored form."""
        return bytes((self.seen, *self.counts))

    @property
    def seen(self) -> int:
        """The number of stays in the sketch."""
        return sum(self.counts)

    def with_stay(self, ms: int) -> "DwellSketch":
        """Return the sketch with one more stay, as the script counts it: tests compare the two."""
        counts = list(self.counts if self.seen < FULL else self._halved())
        counts[bucket_of(ms)] += 1
        return DwellSketch(tuple(counts))

    def _halved(self) -> list[int]:
        """Return half of each count; remainders carry over to the next bucket."""
        sums = [0, *(total // 2 for total in accumulate(self.counts))]
        return [after - before for before, after in pairwise(sums)]

    def quantile_ms(self, q: float) -> float:
        """Return the quantile `q` of the stays, 0 < q ≤ 1.

        Raises:
            ValueError: The sketch is empty.
        """
        sums = tuple(accumulate(self.counts))
        if not sums[-1]:
            raise ValueError("no stay has been seen")
        return _MIDDLES_MS[bisect_left(sums, max(ceil(q * sums[-1]), 1))]


class MallDwell(NamedTuple):
    """The estimates for one mall.

    `service_s`: service time at the counter by store, for stores with enough stays. `median_s`,
    `p90_s`: of all stays of the mall; None while there are too few.
    """

    service_s: Mapping[str, float]
    median_s: float | None
    p90_s: float | None


def estimate_dwell(mall: Mall, sketches: Mapping[str, DwellSketch], enough: int) -> MallDwell:
    """Estimate a mall's service times from its stores' sketches.

    A store's service time is the median of its stays less the walk from the gate, which the tour
    adds again; a single stay of hours does not move it. A store with fewer than `enough` stays
    gets the mall's median, unless its places file gives a service time.
    """
    known = {store: sketches[store] for store in mall.stores if store in sketches}
    counts: _Array = np.array([sketch.counts for sketch in known.values()], dtype=np.float64)
    if not known or counts.sum() < max(enough, 1):
        return MallDwell({}, None, None)
    walks: _Array = np.array([mall.stores[store].walk_s for store in known], dtype=np.float64)
    stays = np.broadcast_to(_MIDDLES_S, counts.shape)
    of_mall = max(_quantile(stays - walks[:, None], counts, 0.5), 0.0)
    without_own = [name for name, store in mall.stores.items() if store.handover_s is None]
    service_s = dict.fromkeys(without_own, of_mall)
    for store, sketch in known.items():
        if sketch.seen >= enough:
            walk_s = mall.stores[store].walk_s
            service_s[store] = max(sketch.quantile_ms(0.5) / 1000 - walk_s, 0.0)
    return MallDwell(service_s, _quantile(stays, counts, 0.5), _quantile(stays, counts, 0.9))


def _quantile(values: _Array, counts: _Array, q: float) -> float:
    """Return the quantile `q` of values that occur `counts` times."""
    order = np.argsort(values, axis=None, kind="stable")
    sums = np.cumsum(counts.ravel()[order])
    at = int(np.searchsorted(sums, max(ceil(q * float(sums[-1])), 1)))
    return float(values.ravel()[order[at]])
