"""Offers: what waits, who is near, what a round found."""

from dataclasses import dataclass, field
from typing import NamedTuple

from mallard_engine.core.model.drivers import Driver, Position
from mallard_engine.core.model.jobs import Asked
from mallard_engine.core.model.load import Need


@dataclass(frozen=True, slots=True)
class Waiting:
    """A queued job as `candidates` reads it."""

    job: str
    attempt: int
    need: Need
    asked: tuple[Asked, ...]
    card: bytes
    held_until_ms: int = 0

    @property
    def service(self) -> str:
        """The order service, for the round robin between services."""
        return self.need.service


class Near(NamedTuple):
    """A driver near a mall. `distance_m`: straight line to the mall's centre."""

    driver: Driver
    position: Position
    distance_m: float


@dataclass(frozen=True, slots=True)
class OfferedJob:
    """One job of an offer: its card, and when it would be collected and dropped off (epoch ms).

    `pay_minor`: the driver's pay if it has risen since the card was made; `done`: the stores of the
    card at which nothing is left to collect.
    """

    job: str
    attempt: int
    card: bytes
    eta_pickup_ms: int
    eta_dropoff_ms: int
    pay_minor: int | None = None
    done: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LiveOffer:
    """A live offer; times in epoch ms, `ack_by_ms` 0 once acknowledged.

    `jobs`: one, or a run in the order of the drop-offs; `attempt`: the highest of theirs; `add_on`:
    the driver holds jobs already and is asked for one more on the way.
    """

    offer: str
    driver: str
    mall: str
    gate: str
    attempt: int
    jobs: tuple[OfferedJob, ...]
    eta_s: int
    distance_m: int
    eta_pickup_ms: int
    eta_dropoff_ms: int
    expires_ms: int
    ack_by_ms: int
    add_on: bool = False


class Term(NamedTuple):
    """One addend of a cost in seconds. A tuple for speed, as a round builds hundreds."""

    name: str
    seconds: float


class RankedDriver(NamedTuple):
    """One candidate of a round: eligible with a cost, or not with the reason. A tuple for speed.

    `cell`: the cell of its history in which its answer counts; None if no history is recorded.
    `ask_by_ms`: asked later, it could not collect before the mall closes or the job expires; 0: no
    such limit.
    """

    driver: str
    eligible: bool
    why_not: str | None
    cost_s: float | None
    terms: tuple[Term, ...]
    eta_s: int
    distance_m: int
    gate: str
    eta_pickup_ms: int = 0
    eta_dropoff_ms: int = 0
    cell: int | None = None
    ask_by_ms: int = 0


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """The record of a job's last round, stored for `explain`.

    In markets with runs, `run`: the jobs of the run in the order of their drop-offs; `why`: why it
    left then (see `mallard_engine.core.runs.run.Run`); `held_until_ms`: the job is held until then
    so that it can share a run. `policy`: the version of the market's policy (`PolicyOverride`).
    """

    job: str
    round: int
    at_ms: int
    radius_m: int
    capped: bool
    candidates: tuple[RankedDriver, ...] = field(default=())
    run: tuple[str, ...] = ()
    why: str = ""
    held_until_ms: int = 0
    policy: int = 0
