"""What a market's batch round reads: every queued job, and the free drivers around."""

from collections.abc import Sequence

from mallard_engine.ports import FreeDrivers, MarketQueue
from mallard_engine.storage.calls import Calls
from mallard_engine.storage.records import read_holds, read_market_waiting
from mallard_engine.storage.round_calls import near_of, with_holds


class BatchCalls(Calls):
    """The batch side of :class:`mallard_engine.ports.Store`. Both calls only read."""

    async def queue_of(self, market: str, limit: int, named: Sequence[str] = ()) -> MarketQueue:
        """See :meth:`mallard_engine.ports.Store.queue_of`."""
        keys = self._keys[market]
        names = [keys.key("waiting"), keys.key("holds")]
        args = {"limit": limit, "cursor": self._seen_up_to.get(market, "0"), "named": named}
        now, total, packed, holds, cursor = await self._plain("waiting_jobs", names, args)
        self._heard(now)
        self._seen_up_to[market] = cursor.decode()
        held = {store: hold.until_ms for store, hold in read_holds(holds).items()}
        jobs = []
        # A job that is named may have come with the others, too.
        for job, value in dict(zip(packed[::2], packed[1::2], strict=True)).items():
            mall, waiting = read_market_waiting(job.decode(), value)
            jobs.append((mall, with_holds(waiting, mall, held)))
        # A hash has no order: by priority and age, as in a mall's own queue.
        jobs.sort(key=lambda at: (-at[1].need.priority, at[1].need.created_ms, at[1].job))
        return MarketQueue(now, tuple(jobs), total)

    async def free_around(
        self,
        market: str,
        points: Sequence[tuple[float, float]],
        *,
        radius_m: float,
        max_radius_m: float,
        drivers: int,
        most: int,
        malls: Sequence[str] = (),
    ) -> FreeDrivers:
        """See :meth:`mallard_engine.ports.Store.free_around`."""
        keys = self._keys[market]
        names = ("drivers", "positions", "idle", "nodes", "coming")
        now, ids, records, positions, nodes, coming, places = await self._plain(
            "around",
            list(map(keys.key, names)),
            {
                "points": points,
                "radius_m": radius_m,
                "max_radius_m": max_radius_m,
                "drivers": drivers,
                "most": most,
                "malls": malls,
                "coming": self._most_coming[market] if malls else 0,
            },
        )
        self._heard(now)
        # From several malls at once: no one distance is theirs.
        near = near_of(records, positions, [0.0] * len(ids), nodes)
        bound = near_of(coming, places, [0.0] * len(coming), nodes)
        return FreeDrivers(now, tuple(near), tuple(bound))
