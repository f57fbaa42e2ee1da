"""Polls the nodes, the driver apps and the orders, and updates the screen."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Sequence
from typing import Final

import httpx2

from mallard_engine.demo.arrivals import Orders
from mallard_engine.demo.metric_readings import MetricReadings
from mallard_engine.demo.screen import Screen, Snapshot
from mallard_engine.workload.fleet import Fleet
from mallard_engine.workload.fleet_tally import percentile
from mallard_engine.workload.nodes import Node
from mallard_protocol.lifecycle import TERMINAL

_POLL_EVERY_S: Final = 1.0
_SCRAPE_WITHIN_S: Final = 2.0
_RATES_OVER_S: Final = 5.0
_BEFORE_DRAINING: Final = ("starting", "arrivals")


class Monitor:
    """The current state of the run, updated by `run`. The owner sets `phase`."""

    def __init__(
        self,
        screen: Screen,
        nodes: Sequence[Node],
        fleet: Fleet,
        orders: Orders,
        expected: int,
    ) -> None:
        self.phase = "starting"
        self.metrics = MetricReadings(())
        self._screen = screen
        self._nodes = nodes
        self._fleet = fleet
        self._orders = orders
        self._expected = expected
        self._started_s = time.monotonic()
        self._totals: deque[tuple[float, int, int]] = deque()
        self._http = httpx2.AsyncClient(timeout=_SCRAPE_WITHIN_S)
        # The last metrics of each node; those of a killed node are kept.
        self._metrics = dict.fromkeys((node.name for node in nodes), "")

    @property
    def open_jobs(self) -> int:
        """The number of orders and transfers that had not ended at the last poll."""
        ended = sum(self.metrics.jobs[state] for state in TERMINAL)
        begun = len(self._orders.sent_s) + self.metrics.transfers
        return begun + self._orders.under_way - ended

    def seen_ms(self) -> list[float]:
        """Return each offered job's latency from the order's due time to the first app."""
        first_s = self._fleet.tally.first_offer_s
        sent_s = self._orders.sent_s
        return [(first_s[job] - sent_s[job]) * 1000 for job in sent_s if job in first_s]

    async def run(self) -> None:
        """Poll and update the screen until cancelled."""
        while True:
            await self.poll()
            await asyncio.sleep(_POLL_EVERY_S)

    async def poll(self) -> None:
        """Poll and update the screen once."""
        await asyncio.gather(*(self._scrape(node) for node in self._nodes if not node.killed))
        self.metrics = MetricReadings(self._metrics.values())
        self._screen.show(self._snapshot())

    async def close(self) -> None:
        """Close the connections to the nodes."""
        await self._http.aclose()

    async def _scrape(self, node: Node) -> None:
        with contextlib.suppress(httpx2.TransportError):
            self._metrics[node.name] = (await self._http.get(f"{node.url}/metrics")).text

    def _snapshot(self) -> Snapshot:
        now_s = time.monotonic()
        offers_per_s, reassigned_per_s = self._rates(now_s)
        seen_ms = self.seen_ms()
        submitted = len(self._orders.sent_s)
        return Snapshot(
            phase=self.phase,
            elapsed_s=now_s - self._started_s,
            submitted=submitted,
            expected=max(self._expected if self.phase in _BEFORE_DRAINING else 0, submitted),
            metrics=self.metrics,
            drivers=self._fleet.states(),
            offers_per_s=offers_per_s,
            reassigned_per_s=reassigned_per_s,
            seen_ms=(
                percentile(seen_ms, 0.5),
                percentile(seen_ms, 0.95),
                percentile(seen_ms, 0.99),
            ),
        )

    def _rates(self, now_s: float) -> tuple[float, float]:
        """Return offers and reassignments per second over the last 5 s."""
        self._totals.append((now_s, self.metrics.offers["offered"], self.metrics.reassigned))
        while now_s - self._totals[0][0] > _RATES_OVER_S:
            self._totals.popleft()
        first_s, offers, reassigned = self._totals[0]
        over_s = now_s - first_s
        if over_s <= 0:
            return 0.0, 0.0
        _, offers_now, reassigned_now = self._totals[-1]
        return (offers_now - offers) / over_s, (reassigned_now - reassigned) / over_s
