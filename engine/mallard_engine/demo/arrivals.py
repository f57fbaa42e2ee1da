"""Sends orders at random times, whether or not the engine keeps up: an open Poisson stream."""

import asyncio
import random
import time
from dataclasses import dataclass, field

from mallard_client.errors import ClientError
from mallard_client.orders.client import OrderClient
from mallard_engine.workload.bad_day.fleet_people import FleetPeople
from mallard_engine.workload.demand import Demand, order_name


@dataclass(slots=True)
class Orders:
    """The accepted and refused orders of a run.

    Attributes:
        sent_s: When each accepted job's POST was due, by `time.monotonic`.
        answer_ms: The latencies of the 201 answers.
        refused: The number of failed submissions by reason.
        under_way: The number of submissions without an answer yet.
    """

    sent_s: dict[str, float] = field(default_factory=dict)
    answer_ms: list[float] = field(default_factory=list)
    refused: dict[str, int] = field(default_factory=dict)
    under_way: int = 0


class Arrivals:
    """Sends orders at a mean `rate` per second for `seconds`.

    With `people` the orders have the events of a bad day, and some come together in a storm.
    """

    def __init__(
        self,
        client: OrderClient,
        demand: Demand,
        *,
        rate: float,
        seconds: float,
        seed: int,
        people: FleetPeople | None = None,
    ) -> None:
        self.orders = Orders()
        self._client = client
        self._demand = demand
        self._rate = rate
        self._seconds = seconds
        self._people = people
        self._rng = random.Random(f"orders {seed}")  # noqa: S311 - a simulation's chance

    async def run(self) -> None:
        """Send all orders and wait for the last answer."""
        started_s = time.monotonic()
        async with asyncio.TaskGroup() as submissions:
            for due_s, number in self._due_times(started_s):
                await asyncio.sleep(max(0.0, due_s - time.monotonic()))
                submissions.create_task(self._submit(number, due_s))

    def _due_times(self, started_s: float) -> list[tuple[float, int]]:
        """Return when each order is due, and its number."""
        times: list[tuple[float, int]] = []
        due_s = started_s
        while (due_s := due_s + self._rng.expovariate(self._rate)) < started_s + self._seconds:
            times.append((due_s, len(times) + 1))
        if self._people is None:
            return times
        storm_s = started_s + self._seconds / 2
        return sorted(
            (storm_s if self._people.in_storm(order_name(number)) else due_s, number)
            for due_s, number in times
        )

    async def _submit(self, number: int, due_s: float) -> None:
        self.orders.under_way += 1
        try:
            request = self._demand.job(number, self._rng)
            if self._people is not None:
                request = self._people.prepared(request)
            job = await self._client.submit(request)
        except ClientError as error:
            reason = str(error)
            self.orders.refused[reason] = self.orders.refused.get(reason, 0) + 1
        else:
            # From when the order was due, so that a late sender cannot hide latency.
            self.orders.sent_s[job.id] = due_s
            if self._people is not None:
                self._people.placed(job)
            self.orders.answer_ms.append((time.monotonic() - due_s) * 1000)
        finally:
            self.orders.under_way -= 1
