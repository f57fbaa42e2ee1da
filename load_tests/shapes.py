"""The shapes of load tests as data: the rate over time, and the faults.

Moments are shares of the time in which orders arrive (0: the first second, 1: the last); rates are
shares of the peak rate. A `Timetable` is a shape stretched over the seconds of one run.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import merge
from itertools import pairwise
from typing import Final


@dataclass(frozen=True, slots=True)
class Shape:
    """`rate`: points (moment, share of the peak rate) that straight lines join, from 0 to 1.

    `flash_at`: when one mall's sale begins. `reconnect_at`: when all drivers lose their sockets at
    once. `restart_at`: when the next node is restarted. `decline_share`: how
    many offers are declined (None: as the options say).
    """

    help: str
    rate: tuple[tuple[float, float], ...] = ((0.0, 1.0), (1.0, 1.0))
    flash_at: float | None = None
    reconnect_at: tuple[float, ...] = ()
    restart_at: tuple[float, ...] = ()
    decline_share: float | None = None


SHAPES: Final = {
    "steady": Shape("the peak rate all the time"),
    "lunch-rush": Shape(
        "up steeply to the peak and down again",
        rate=((0.0, 0.25), (0.4, 1.0), (0.6, 1.0), (1.0, 0.25)),
    ),
    "evening-rush": Shape(
        "up fast, long at the peak, slowly down",
        rate=((0.0, 0.4), (0.15, 1.0), (0.7, 1.0), (1.0, 0.3)),
    ),
    "flash-sale": Shape("halfway, one mall gets --flash-jobs within a second", flash_at=0.5),
    "mass-reconnect": Shape("halfway, all drivers lose their sockets at once", reconnect_at=(0.5,)),
    "rolling-restart": Shape(
        "one node is restarted, then the other (see --on-restart)", restart_at=(0.2, 0.6)
    ),
    "half-decline": Shape("half the offers are declined", decline_share=0.5),
}

_FLASH_OVER_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Arrival:
    """An order: when it is due, in seconds of the run, and whether it belongs to the flash sale."""

    due_s: float
    flash: bool = False


@dataclass(frozen=True, slots=True)
class Timetable:
    """A shape over `seconds`, with `peak_rate` jobs a second and `flash_jobs` in the sale."""

    shape: Shape
    seconds: float
    peak_rate: float
    flash_jobs: int = 0

    @property
    def reconnect_s(self) -> tuple[float, ...]:
        """When all drivers lose their sockets, in seconds of the run."""
        return tuple(moment * self.seconds for moment in self.shape.reconnect_at)

    @property
    def restart_s(self) -> tuple[float, ...]:
        """When nodes are restarted, in seconds of the run."""
        return tuple(moment * self.seconds for moment in self.shape.restart_at)

    def rate(self, at_s: float) -> float:
        """Return the rate of jobs at a second of the run, without the flash sale; 0 outside it."""
        moment = at_s / self.seconds
        for (start, before), (end, after) in pairwise(self.shape.rate):
            if start <= moment <= end:
                share = before + (after - before) * (moment - start) / (end - start)
                return self.peak_rate * share
        return 0.0

    def arrivals(self, rng: random.Random, worker: int = 0, workers: int = 1) -> Iterator[Arrival]:
        """Yield the orders of one of `workers`, in time; all workers together make the timetable.

        The model is open: no order waits for the answer to another.
        """
        return merge(
            self._usual(rng, 1 / workers),
            self._flash(worker, workers),
            key=lambda arrival: arrival.due_s,
        )

    def _usual(self, rng: random.Random, share: float) -> Iterator[Arrival]:
        """Yield a Poisson stream with a changing rate, by thinning one with the peak rate.

        Lewis & Shedler, "Simulation of nonhomogeneous Poisson processes by thinning", 1979.
        """
        if self.peak_rate <= 0:
            return
        at_s = 0.0
        while (at_s := at_s + rng.expovariate(self.peak_rate * share)) < self.seconds:
            if rng.random() * self.peak_rate < self.rate(at_s):
                yield Arrival(at_s)

    def _flash(self, worker: int, workers: int) -> Iterator[Arrival]:
        """Yield the orders of the flash sale, spread evenly over one second."""
        if self.shape.flash_at is not None:
            begins_s = self.shape.flash_at * self.seconds
            for number in range(worker, self.flash_jobs, workers):
                yield Arrival(begins_s + _FLASH_OVER_S * number / self.flash_jobs, flash=True)
