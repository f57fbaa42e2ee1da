"""Caches service times of stores, learnt from dwell times, so that no round reads the storage."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping

from mallard_engine.core.pickup.dwell_estimate import DwellSketch, estimate_dwell
from mallard_engine.core.pickup.pickup_plan import ServiceTime
from mallard_engine.core.places.mall import Market
from mallard_engine.metrics import Metrics

_NOTHING: Mapping[tuple[str, str], float] = {}


class DwellCache:
    """The learnt service times of each market's stores, in seconds."""

    def __init__(self) -> None:
        self._seconds: dict[str, Mapping[tuple[str, str], float]] = {}

    def service_time(self, market: str, prior: ServiceTime) -> ServiceTime:
        """Return the market's service times: always the latest cached ones, else the prior."""
        known = self._seconds

        def seconds(mall: str, store: str) -> float:
            learnt_s = known.get(market, _NOTHING).get((mall, store))
            return prior(mall, store) if learnt_s is None else learnt_s

        return seconds

    async def learn(
        self, market: Market, kept: Mapping[str, bytes], enough: int, metrics: Metrics
    ) -> None:
        """Update the cache from a market's stored dwell sketches, by mall/store (`DwellSketch`).

        A store's sketch is used from ``enough`` stays on.
        """
        by_mall: defaultdict[str, dict[str, DwellSketch]] = defaultdict(dict)
        for name, packed in kept.items():
            mall_id, _, store = name.partition("/")
            by_mall[mall_id][store] = DwellSketch.parse(packed)
        seconds: dict[tuple[str, str], float] = {}
        for mall in market.malls.values():
            found = estimate_dwell(mall, by_mall[mall.id], enough)
            seconds |= {(mall.id, store): at_s for store, at_s in found.service_s.items()}
            if found.median_s is not None and found.p90_s is not None:
                metrics.dwell(market.id, mall.id, found.median_s, found.p90_s)
            await asyncio.sleep(0)  # yield after each mall: a market may have hundreds
        self._seconds[market.id] = seconds
