"""A fleet of simulated driver apps on real sockets."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from mallard_client.errors import Stopped
from mallard_engine.workload.fleet_driver import FleetDriver, Habits
from mallard_engine.workload.fleet_tally import FleetTally
from mallard_engine.workload.road import Point
from mallard_protocol.codes import SUBPROTOCOL_JSON, SUBPROTOCOL_MSGPACK
from mallard_protocol.messages import Vehicle

__all__ = ["DriverProfile", "Fleet", "FleetDriver", "FleetTally", "Habits"]

# One driver in ten uses JSON, as real fleets include older apps.
_JSON_EVERY = 10


@dataclass(frozen=True, slots=True)
class DriverProfile:
    """A driver to simulate: its name, home, token and vehicle."""

    name: str
    home: Point
    token: str
    vehicle: Vehicle | None = None


class Fleet:
    """Simulated drivers that come online within `arrive_within_s` and work until `stop`.

    Args:
        urls: The nodes (``ws://…``); the drivers start at each in turn.
        seed: Makes the random decisions repeatable; their timing still depends on the engine.
        new_driver: Makes a driver, with the arguments of `FleetDriver`.
    """

    def __init__(
        self,
        urls: Sequence[str],
        profiles: Iterable[DriverProfile],
        *,
        habits: Habits,
        seed: int,
        arrive_within_s: float = 2.0,
        new_driver: Callable[..., FleetDriver] = FleetDriver,
    ) -> None:
        self.tally = FleetTally()
        self._arrive_within_s = arrive_within_s
        self._rng = random.Random(seed)
        self._tasks: list[asyncio.Task[None]] = []
        self.drivers = [
            new_driver(
                profile.name,
                [*urls[number % len(urls) :], *urls[: number % len(urls)]],
                profile.token,
                home=profile.home,
                habits=habits,
                tally=self.tally,
                rng=random.Random(f"{seed} {profile.name}"),
                vehicle=profile.vehicle,
                subprotocol=SUBPROTOCOL_MSGPACK if number % _JSON_EVERY else SUBPROTOCOL_JSON,
            )
            for number, profile in enumerate(profiles)
        ]

    @property
    def connected(self) -> int:
        """How many drivers have an open socket."""
        return sum(driver.client.connected for driver in self.drivers)

    def states(self) -> Counter[str]:
        """Count the drivers by the state that their apps show."""
        return Counter(
            driver.client.state if driver.client.connected else "no socket"
            for driver in self.drivers
        )

    def at(self, url: str) -> list[FleetDriver]:
        """Return the drivers that are connected to this node."""
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

    async def _run(self, driver: FleetDriver, arrive_after_s: float) -> None:
        await asyncio.sleep(arrive_after_s)
        try:
            await driver.run()
        except* Stopped:
            self.tally.counts["stopped"] += 1
