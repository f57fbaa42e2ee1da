"""How long drivers stay at a store: a sketch of the spans of those who came, and what it says.

A stay is from the arrival at the mall until the parcel is in hand: the walk in and the time at the
counter. A store's sketch counts its stays in `BUCKETS` spans of time, each `RATIO` as long as the
one before, as in DDSketch (Masson et al. 2019). It is halved when it holds `FULL`, so it remembers
the last hundred or two and forgets what was before. ``store/lua/lib/dwell.lua`` writes it.

A quantile's span is off by `ERROR` at most between `LEAST_MS` and `MOST_MS` (below: by half of
`LEAST_MS`; above, all are as `MOST_MS`). Halving keeps the sums up to each bucket, rounded down: so
by forgetting no rank is off by a whole stay, however often it happens.
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
    """The span whose relative error is the same to both ends of the bucket."""
    if bucket == 0:
        return LEAST_MS / 2
    end_ms = LEAST_MS * RATIO**bucket
    return end_ms * (1 - ERROR)


_MIDDLES_MS = tuple(map(_middle_ms, range(BUCKETS)))
_MIDDLES_S: _Array = np.array(_MIDDLES_MS) / 1000


def bucket_of(ms: int) -> int:
    """The bucket of a stay: the first whose end it does not pass."""
    if ms <= LEAST_MS:
        return 0
    return min(ceil(log(ms / LEAST_MS) / log(RATIO)), BUCKETS - 1)


@dataclass(frozen=True, slots=True)
class DwellSketch:
    """One store's stays, by bucket. At most `FULL` in all."""

    counts: tuple[int, ...] = (0,) * BUCKETS

    @classmethod
    def parse(cls, packed: bytes) -> Self:
        """From the stored form: a byte for all stays, then one a bucket. Another form: none."""
        if len(packed) != BUCKETS + 1 or sum(packed[1:]) != packed[0]:
            return cls()
        return cls(tuple(packed[1:]))

    def pack(self) -> bytes:
        """The stored form."""
        return bytes((self.seen, *self.counts))

    @property
    def seen(self) -> int:
        """How many stays it remembers."""
        return sum(self.counts)

    def with_stay(self, ms: int) -> "DwellSketch":
        """The sketch after one more stay."""
        counts = list(self.counts if self.seen < FULL else self._halved())
        counts[bucket_of(ms)] += 1
        return DwellSketch(tuple(counts))

    def _halved(self) -> list[int]:
        """Half of each, what is left over of one being the next one's."""
        sums = [0, *(total // 2 for total in accumulate(self.counts))]
        return [after - before for before, after in pairwise(sums)]

    def quantile_ms(self, q: float) -> float:
        """The span that the part ``q`` of the stays, 0 < q ≤ 1, did not pass.

        :raises ValueError: if there was none
        """
        sums = tuple(accumulate(self.counts))
        if not sums[-1]:
            raise ValueError("no stay has been seen")
        return _MIDDLES_MS[bisect_left(sums, max(ceil(q * sums[-1]), 1))]


class MallDwell(NamedTuple):
    """What was learnt of a mall. ``service_s``: seconds at the counter by store, of those of which
    enough is known. ``median_s``, ``p90_s``: of all stays; None while too few were seen."""

    service_s: Mapping[str, float]
    median_s: float | None
    p90_s: float | None


def estimate_dwell(mall: Mall, sketches: Mapping[str, DwellSketch], enough: int) -> MallDwell:
    """What the sketches of a mall's stores say, from ``enough`` stays on.

    Half of all drivers are through sooner than a store's time, so one who stays for hours moves
    nothing. The walk from the gate is taken off: the way through the stores reckons with it. A
    store that too few have been at takes what the mall's stores take, if that is known and its
    places file does not tell its own figure.
    """
    known = {store: sketches[store] for store in mall.stores if store in sketches}
    counts: _Array = np.array([sketch.counts for sketch in known.values()], dtype=np.float64)
    if not known or counts.sum() < max(enough, 1):
        return MallDwell({}, None, None)
    walks: _Array = np.array([mall.stores[store].walk_s for store in known], dtype=np.float64)
    stays = np.broadcast_to(_MIDDLES_S, counts.shape)
    of_mall = max(_quantile(stays - walks[:, None], counts, 0.5), 0.0)
    untold = [name for name, store in mall.stores.items() if store.handover_s is None]
    service_s = dict.fromkeys(untold, of_mall)
    for store, sketch in known.items():
        if sketch.seen >= enough:
            walk_s = mall.stores[store].walk_s
            service_s[store] = max(sketch.quantile_ms(0.5) / 1000 - walk_s, 0.0)
    return MallDwell(service_s, _quantile(stays, counts, 0.5), _quantile(stays, counts, 0.9))


def _quantile(values: _Array, counts: _Array, q: float) -> float:
    """The value that the part ``q`` of all does not pass, each being there so often."""
    order = np.argsort(values, axis=None, kind="stable")
    sums = np.cumsum(counts.ravel()[order])
    at = int(np.searchsorted(sums, max(ceil(q * float(sums[-1])), 1)))
    return float(values.ravel()[order[at]])
