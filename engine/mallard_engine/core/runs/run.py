"""Runs: what pooling is told and what it answers, and when a held job must be let go."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import NamedTuple, Protocol

from mallard_engine.core.model import HeldJob, Need, Vehicle, Waiting


class RunFigures(Protocol):
    """What pooling weighs; see ``RunCosts`` in the configuration for units and bounds."""

    @property
    def potential(self) -> float:
        """The share of a job's own way that must be saved for it to join a run."""
        ...

    @property
    def delay(self) -> float:
        """What a second that a customer waits for the others' stops costs."""
        ...

    @property
    def plan(self) -> str:
        """``by_driver``: runs around each driver; ``by_deadline``: they leave when they must."""
        ...

    @property
    def patient(self) -> float:
        """The share that a job with time must save, where runs leave by their deadlines."""
        ...

    @property
    def patient_s(self) -> float:
        """How much time that is; with less, the share falls to ``potential``."""
        ...

    @property
    def close(self) -> float:
        """A full run leaves at once if its way is no more than this share of its jobs' own."""
        ...

    @property
    def back(self) -> float:
        """The share of the way back to the mall that counts."""
        ...

    @property
    def late(self) -> float:
        """What a second after the deadline costs, where deadlines are soft."""
        ...

    @property
    def deadlines(self) -> str:
        """``hard``: nobody joins a run that makes another late; ``soft``: lateness costs."""
        ...


class RunPolicy(Protocol):
    """What pooling needs of a market's policy; see ``MarketPolicy`` for units and bounds."""

    @property
    def unreachable_s(self) -> float:
        """How long one who did not acknowledge is not asked again."""
        ...

    @property
    def max_run_jobs(self) -> int:
        """How many jobs a run has at the most."""
        ...

    @property
    def store_dwell_s(self) -> float:
        """The time at each store."""
        ...

    @property
    def dropoff_dwell_s(self) -> float:
        """The time at the door."""
        ...

    @property
    def hold_max_s(self) -> float:
        """How long a job that is ready is held for company at the most."""
        ...

    @property
    def hold_margin_s(self) -> float:
        """How long before it must leave a held job is released."""
        ...

    @property
    def run(self) -> RunFigures:
        """What pooling weighs."""
        ...


class Room(NamedTuple):
    """A driver who could take a run: what it can carry, in how many seconds it is at the mall, and
    in how many it must have handed over the last parcel. ``carried``: what it is on its way to
    collect there already."""

    driver: str
    vehicle: Vehicle
    there_s: float
    until_s: float = inf
    carried: tuple[HeldJob, ...] = ()


@dataclass(frozen=True, slots=True)
class Run:
    """Jobs of one mall for one driver, in the order of their drop-offs.

    ``gate``: where its driver parks. ``collect_s``: from parking to having all parcels. ``done_s``:
    from then, by way of the gate, until each is handed over, in that order. ``alone_s``: what their
    ways would be one at a time, there and back as far as that counts; ``way_s``: what the run's is
    (of an add-on: what it adds). ``why``: ``due``, ``full``, ``free`` (nothing is held) or
    ``add_on``."""

    driver: str
    jobs: tuple[Waiting, ...]
    collect_s: float
    done_s: tuple[float, ...]
    way_s: float
    alone_s: float
    why: str
    gate: str = ""

    @property
    def saved_s(self) -> float:
        """The way that is saved by going together."""
        return self.alone_s - self.way_s


@dataclass(frozen=True, slots=True)
class Pooled:
    """The runs that should leave now, in the order of the drivers given, and until when the other
    jobs are held (epoch ms, by job). Who is in neither waits for a driver."""

    runs: tuple[Run, ...]
    held: Mapping[str, int]


def hold_until_ms(need: Need, there_ms: int, policy: RunPolicy) -> int:
    """Until when a job may be held, if it must be collected by ``there_ms``: the margin before
    that, and no longer after it is ready than the market says."""
    latest_ms = there_ms - int(policy.hold_margin_s * 1000)
    return min(latest_ms, need.ready_ms + int(policy.hold_max_s * 1000))
