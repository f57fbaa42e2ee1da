"""The port of drivers: sockets, positions, wishes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from mallard_engine.core.model import Device, Driver, Job, LiveOffer, Vehicle
from mallard_engine.core.vehicles import DriverClaims, StatedVehicle
from mallard_engine.ports.effects import Effects
from mallard_protocol.lifecycle import Wish


@dataclass(frozen=True, slots=True)
class Hello:
    """A driver's socket is registered."""

    driver: Driver
    effects: Effects

    @property
    def epoch(self) -> int:
        """Fences the end of this socket."""
        return self.driver.epoch

    @property
    def seq(self) -> int:
        """The number of the last push to the driver."""
        return self.driver.seq


@dataclass(frozen=True, slots=True)
class DriverSnapshot:
    """A driver, its live offer and its jobs, at ``now_ms``.

    ``transfers``: the open transfers that carry some of the jobs, by id. ``aliases``: the names of
    the drivers who come for these, by id, where the register or the token gives one.
    """

    now_ms: int
    driver: Driver
    offer: LiveOffer | None
    jobs: tuple[Job, ...]
    transfers: Mapping[str, Job] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)

    def transfer_of(self, job: Job) -> Job | None:
        """Return the open transfer that carries a job."""
        return self.transfers.get(job.transfer_job)


@dataclass(frozen=True, slots=True)
class Answered:
    """A driver's request was executed, now or by an earlier, equal one."""

    driver: Driver
    effects: Effects
    jobs: tuple[Job, ...] = ()
    job_state: str = ""
    attempt: int = 0
    # False if it repeated an earlier request.
    is_new: bool = True

    def took_custody(self, job: str, attempt: int) -> bool:
        """Whether a claim under `attempt` has given the driver the job at a later one."""
        return any(held.job == job and held.attempt > attempt for held in self.driver.jobs)


class DriverFix(NamedTuple):
    """One position on its way into the storage.

    ``at_ms`` is the device's time. ``fault`` is the verdict where it is known before the storage is
    asked: ``malformed``, or ``outside`` of the market. A tuple, as there are thousands a second.
    """

    driver: str
    at_ms: int
    lat: float
    lon: float
    acc_m: float = 0.0
    heading_deg: float | None = None
    speed_mps: float | None = None
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Recorded:
    """The verdict on each fix of a batch, in order.

    ``ok``, ``old``, ``future``, ``impossible``, ``outside``, ``malformed``, or ``unknown`` (there
    is no such driver).
    """

    verdicts: tuple[str, ...]
    effects: Effects


@dataclass(frozen=True, slots=True)
class OwnDriver:
    """A driver whose socket this node holds. ``fix`` came ``age_ms`` ago.

    ``vehicle``: as its hello stated it; ``claims``: those of its token.
    """

    driver: str
    epoch: int
    wish: Wish
    until_ms: int | None = None
    vehicle: StatedVehicle | Vehicle | None = None
    fix: DriverFix | None = None
    age_ms: int = 0
    device: Device | None = None
    claims: DriverClaims | None = None


@dataclass(frozen=True, slots=True)
class TakenBack:
    """The result for a driver that its node takes back.

    ``verdict``: ``kept`` (it had not been taken out), ``back``, or ``lost`` to a newer hello.
    """

    verdict: str
    driver: Driver


class Drivers(Protocol):
    """Drivers of all markets: their sockets, states and positions."""

    async def hello(
        self,
        market: str,
        driver: str,
        *,
        node: str,
        vehicle: StatedVehicle | Vehicle | None,
        fix: DriverFix | None,
        device: Device | None = None,
        claims: DriverClaims | None = None,
    ) -> Hello:
        """Register a driver's socket and replace an older one.

        Args:
            market: The driver's market.
            driver: The driver.
            node: The node that holds the socket.
            vehicle: As the app states it; None keeps what it stated last. It narrows the vehicle
                that the register or the token states.
            fix: The driver's position; ``at_ms`` 0 stands for now.
            device: None keeps the device that is stored.
            claims: What the driver's token states.

        Raises:
            StoreFull: The driver holds no job and has no live offer.
        """

    async def set_device(self, market: str, driver: str, epoch: int, device: Device) -> None:
        """Store the device token of an open socket. Has no effect for an outdated epoch."""

    async def set_claims(
        self, market: str, driver: str, epoch: int, claims: DriverClaims | None
    ) -> Effects:
        """Store what a fresh token of an open socket states. No effect for an outdated epoch."""

    async def disconnect(
        self, market: str, node: str, closed: Sequence[tuple[str, int]]
    ) -> Effects:
        """Take drivers of this node out of matching.

        ``closed`` holds (driver, epoch) pairs; those with an outdated epoch are ignored.
        """

    async def take_back(
        self, market: str, node: str, drivers: Sequence[OwnDriver], *, rewound: bool
    ) -> tuple[Sequence[TakenBack], Effects]:
        """Register the sockets that this node still holds again; fenced by their epochs.

        Args:
            market: Their market.
            node: This node.
            drivers: At most 256.
            rewound: The storage has lost writes.
        """

    async def held(self, market: str, node: str) -> Mapping[str, int]:
        """Return the drivers whose sockets are stored as held by a node, with their epochs."""

    async def snapshot(self, market: str, driver: str) -> DriverSnapshot:
        """Return the driver with its live offer and its jobs.

        Raises:
            NoSuchDriver: The market has no such driver.
        """

    async def alive(self, market: str, driver: str) -> Answered:
        """Note a request of a driver without a socket. Restarts its time limits for absence.

        Raises:
            NoSuchDriver: The market has no such driver.
        """

    async def seen(self, market: str, driver: str) -> Effects:
        """Return an unreachable driver to matching, after a frame from it."""

    async def push_state(self, market: str, driver: str, why: str) -> Effects:
        """Push the driver's state to its socket. ``why`` is a ``StateWhy``."""

    async def status(self, market: str, driver: str, wish: Wish, until_ms: int | None) -> Answered:
        """Set what the driver wishes, until ``until_ms`` (epoch ms) if given.

        Raises:
            Refused: ``no_position``, ``holds_jobs``, or ``bad_field`` (``until_ms`` is in the
            past). OfferLive: The wish is to go offline, and a live offer must be declined first.
        """

    async def record_positions(self, market: str, fixes: Sequence[DriverFix]) -> Recorded:
        """Record at most 256 fixes; those of one driver must be oldest first."""

    async def suspend(self, market: str, driver: str, reason: str) -> Answered:
        """Take the driver out of matching until it is resumed.

        Raises:
            NoSuchDriver: The market has no such driver.
        """

    async def resume(self, market: str, driver: str) -> Answered:
        """End a suspension.

        Raises:
            NoSuchDriver: The market has no such driver.
        """

    async def near(
        self, market: str, lat: float, lon: float, radius_m: float, limit: int
    ) -> Sequence[Driver]:
        """Return drivers whose last position lies in the circle, nearest first, in any state.

        Reads every position of the market: for operators only.
        """

    async def sample(self, market: str, limit: int) -> Sequence[Driver]:
        """Return at most ``limit`` random drivers of the market, without their positions."""

    async def any_free(self, market: str, drivers: Sequence[str]) -> bool:
        """Return whether at least one of the drivers may be offered a job."""

    async def dwells(self, market: str) -> Mapping[str, bytes]:
        """Return the dwell sketches by mall/store (`DwellSketch`). Off the hot path."""
