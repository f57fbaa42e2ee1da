"""Drivers: their positions, devices and held jobs."""

from dataclasses import dataclass, field
from typing import NamedTuple

from mallard_engine.core.model.load import Vehicle
from mallard_protocol.lifecycle import DriverState, Wish, shown_state

_UNSTATED = Vehicle()


@dataclass(frozen=True, slots=True)
class Device:
    """The push address of a driver app, to wake it when it has no socket.

    `token`: at most 4,096 characters, kept out of logs.
    """

    kind: str
    token: str = field(repr=False)


class Position(NamedTuple):
    """The last accepted fix. `received_ms` is by Redis' clock, `at_ms` by the driver app's.

    A tuple for speed, as every search reads the positions of all drivers that it finds.
    """

    lat: float
    lon: float
    acc_m: float
    at_ms: int
    received_ms: int


@dataclass(frozen=True, slots=True)
class HeldJob:
    """A job that a driver holds, and the attempt under which it was accepted.

    The other fields are set only in markets with runs (`max_run_jobs` over 1): drop-off, deadline
    and size; `there`: the driver has arrived at the mall, so no job is added to the run. They stay
    unset for jobs that were accepted before the market had runs. Of a driver on its way, `stores`
    are those that it visits for the job, `ready_ms` is when its parcels are ready, and `gate` is
    where the driver parks; unset in records of earlier versions, and `gate` without an offer.
    """

    job: str
    attempt: int
    mall: str
    there: bool = False
    lat: float = 0.0
    lon: float = 0.0
    deadline_ms: int = 0
    weight_g: int = 0
    volume_l: float = 0.0
    # An express job: its driver gets no other until it ends.
    alone: bool = False
    # For how many jobs it counts: a transfer needs the room of all that it carries.
    jobs: int = 1
    stores: tuple[str, ...] = ()
    ready_ms: int = 0
    gate: str = ""

    @property
    def has_place(self) -> bool:
        """Whether drop-off, deadline and size are known."""
        return self.deadline_ms > 0


# Without slots, so that the record parser takes missing fields from the class. With slots it would
# look up each field of a new object in vain, which is four fifths of the time of parsing a driver.
@dataclass(frozen=True, kw_only=True)
class Driver:
    """A driver's record. `epoch` counts its sockets and fences late closes."""

    id: str
    wish: Wish
    until_ms: int | None = None
    offer: str | None = None
    jobs: tuple[HeldJob, ...] = ()
    epoch: int = 0
    node: str = ""
    connected: bool = False
    lost_ms: int = 0
    cool_until_ms: int = 0
    suspended: bool = False
    # The operator's reason.
    suspended_for: str = ""
    # The end of its block has reset its wish.
    block_over: bool = False
    unreachable: bool = False
    seq: int = 0
    # What its sources allow (`core.vehicles`). Its equipment includes the qualifications.
    vehicle: Vehicle = _UNSTATED
    qualifications: tuple[str, ...] = ()
    device: Device | None = None
    # When it last said hello.
    hello_ms: int = 0
    # Declined and expired offers as of `declines_ms`; `history`: see `acceptance`.
    declines: float = 0.0
    declines_ms: int = 0
    free_since_ms: int = 0
    # The mall that it is on its way to, from which it may be offered one more job.
    coming: str | None = None
    history: str = ""
    # If the market weighs earnings: the start of its block, jobs delivered since, and their pay.
    block_ms: int = 0
    done: int = 0
    earned_minor: int = 0
    position: Position | None = None

    @property
    def shown(self) -> DriverState:
        """The state as driver apps and operators see it."""
        return shown_state(
            wish=self.wish,
            connected=self.connected,
            offered=self.offer is not None,
            jobs=len(self.jobs),
        )
