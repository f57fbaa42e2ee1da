"""Data of pooling: its drivers, runs and result, and until when a job may be held."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

from mallard_engine.core.model import HeldJob, Need, Vehicle, Waiting
from mallard_engine.core.pickup.store_tour import Tour
from mallard_engine.core.policy import PoolingPolicy


class RunDriver(NamedTuple):
    """A driver who could take a run.

    `there_s`: seconds until it is at the mall; `until_s`: seconds until its last drop-off must be
    done; `carried`: jobs that it is already on its way to collect at this mall; `gate_s`: how much
    later it is at the gate that is farthest for it; `gate`: where it parks, if it is on its way
    there (`there_s` is then to that gate).
    """

    driver: str
    vehicle: Vehicle
    there_s: float
    until_s: float = inf
    carried: tuple[HeldJob, ...] = ()
    gate_s: float = 0.0
    gate: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """Jobs of one mall for one driver, in the order of their drop-offs.

    `gate`: where the driver parks. `collect_s`: from parking until all parcels are in hand.
    `done_s`: from then until each job is dropped off, in order. `alone_s`: the round trips of the
    jobs one at a time, with the counted share of the trips back; `route_s`: the run's route (of an
    add-on: what it adds). `why`: `due`, `full`, `free` (one of its jobs may not be held), `add_on`.
    `tour`: the driver's tour of the stores; None for an add-on, of whose run it is unknown.
    """

    driver: str
    jobs: tuple[Waiting, ...]
    collect_s: float
    done_s: tuple[float, ...]
    route_s: float
    alone_s: float
    why: str
    gate: str = ""
    tour: Tour | None = None

    @property
    def saved_s(self) -> float:
        """The travel time saved by pooling."""
        return self.alone_s - self.route_s


@dataclass(frozen=True, slots=True)
class Pooled:
    """The result of pooling.

    `runs`: the runs that leave now, in the order of the given drivers. `held`: until when other
    jobs are held (epoch ms, by job). A job in neither waits for a driver.
    """

    runs: tuple[Run, ...]
    held: Mapping[str, int]


def hold_until_ms(need: Need, there_ms: int, policy: PoolingPolicy) -> int:
    """Return until when a job may be held (epoch ms); 0 if its service level does not allow it.

    It is the policy's margin before `there_ms`, when its driver must be at the mall, and at most
    `hold_max_s` after the job is ready.
    """
    if not policy.may_hold(need):
        return 0
    latest_ms = there_ms - int(policy.hold_margin_s * 1000)
    return min(latest_ms, need.ready_ms + int(policy.hold_max_s * 1000))
