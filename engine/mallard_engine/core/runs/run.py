"""Runs: what pooling is told and what it answers, and when a held job must be let go."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

from mallard_engine.core.model import HeldJob, Need, Vehicle, Waiting
from mallard_engine.core.policy import PoolingPolicy


class RunDriver(NamedTuple):
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


def hold_until_ms(need: Need, there_ms: int, policy: PoolingPolicy) -> int:
    """Until when a job may be held, if it must be collected by ``there_ms``: the margin before
    that, and no longer after it is ready than the market says."""
    latest_ms = there_ms - int(policy.hold_margin_s * 1000)
    return min(latest_ms, need.ready_ms + int(policy.hold_max_s * 1000))
