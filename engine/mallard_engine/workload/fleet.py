"""A fleet of simulated driver apps over real sockets."""

import asyncio
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mallard_client.errors import Stopped
from mallard_engine.workload.fleet_tally import Tally
from mallard_engine.workload.road import Point
from mallard_engine.workload.simulated_driver import Habits, SimulatedDriver
from mallard_protocol.codes import SUBPROTOCOL_JSON, SUBPROTOCOL_MSGPACK
from mallard_protocol.messages import Vehicle

__all__ = ["Fleet", "Habits", "Recruit", "SimulatedDriver", "Tally"]

# One driver in so many speaks JSON, as real fleets include some old apps.
_JSON_EVERY = 10


@dataclass(frozen=True, slots=True)
class Recruit:
    """A driver to simulate: its name, home, token and vehicle."""

    name: str
    home: Point
    token: str
    vehicle: Vehicle | None = None


class Fleet:
    """Simulated drivers who come online within `arrive_within_s` and work until `stop`.

    `urls`: engines (``ws://…``); each driver starts at another one. The same `seed` gives the same
    habits; what happens to the drivers still depends on the engine.
    """

    def __init__(
        self,
        urls: Sequence[str],
        recruits: Iterable[Recruit],
        *,
        habits: Habits,
        seed: int,
        arrive_within_s: float = 2.0,
    ) -> None:
        self.tally = Tally()
        self._arrive_within_s = arrive_within_s
        self._rng = random.Random(seed)
        self._tasks: list[asyncio.Task[None]] = []
        self.drivers = [
            SimulatedDriver(
                recruit.name,
                [*urls[number % len(urls) :], *urls[: number % len(urls)]],
                recruit.token,
                home=recruit.home,
                habits=habits,
                tally=self.tally,
                rng=random.Random(f"{seed} {recruit.name}"),
                vehicle=recruit.vehicle,
                subprotocol=SUBPROTOCOL_MSGPACK if number % _JSON_EVERY else SUBPROTOCOL_JSON,
            )
            for number, recruit in enumerate(recruits)
        ]

    @property
    def connected(self) -> int:
        """How many have an open socket."""
        return sum(driver.client.connected for driver in self.drivers)

    def states(self) -> Counter[str]:
        """The drivers by the state that their apps show."""
        return Counter(
            driver.client.state if driver.client.connected else "no socket"
            for driver in self.drivers
        )

    def at(self, url: str) -> list[SimulatedDriver]:
        """The drivers whose open socket is at this engine."""
        return [d for d in self.drivers if d.client.connected and d.client.url == url]

    def start(self) -> None:
        """Start all drivers."""
        self._tasks = [
            asyncio.create_task(self._run(driver, self._rng.uniform(0, self._arrive_within_s)))
            for driver in self.drivers
        ]

    async def stop(self) -> None:
        """Stop all drivers. Raises the error of a driver that failed."""
        for task in self._tasks:
            task.cancel()
        outcomes = await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome

    async def _run(self, driver: SimulatedDriver, arrive_after_s: float) -> None:
        await asyncio.sleep(arrive_after_s)
        try:
            await driver.run()
        except* Stopped:
            self.tally.counts["stopped"] += 1
