"""Sends orders at random times, whether or not the engine keeps up: an open Poisson stream."""

import asyncio
import random
import time
from dataclasses import dataclass, field

from mallard_client.errors import ClientError
from mallard_client.orders.client import OrderClient
from mallard_engine.workload.demand import Demand


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
    """Sends orders at a mean `rate` per second for `seconds`."""

    def __init__(
        self, client: OrderClient, demand: Demand, *, rate: float, seconds: float, seed: int
    ) -> None:
        self.orders = Orders()
        self._client = client
        self._demand = demand
        self._rate = rate
        self._seconds = seconds
        self._rng = random.Random(f"orders {seed}")  # noqa: S311 - a simulation's chance

    async def run(self) -> None:
        """Send all orders and wait for the last answer."""
        started_s = time.monotonic()
        due_s = started_s
        number = 0
        async with asyncio.TaskGroup() as submissions:
            while (due_s := due_s + self._rng.expovariate(self._rate)) < started_s + self._seconds:
                await asyncio.sleep(max(0.0, due_s - time.monotonic()))
                number += 1
                submissions.create_task(self._submit(number, due_s))

    async def _submit(self, number: int, due_s: float) -> None:
        self.orders.under_way += 1
        try:
            job = await self._client.submit(self._demand.job(number, self._rng))
        except ClientError as error:
            reason = str(error)
            self.orders.refused[reason] = self.orders.refused.get(reason, 0) + 1
        else:
            # From when the order was due, so that a late sender cannot hide latency.
            self.orders.sent_s[job.id] = due_s
            self.orders.answer_ms.append((time.monotonic() - due_s) * 1000)
        finally:
            self.orders.under_way -= 1
