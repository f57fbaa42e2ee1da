"""The port of transfers of parcels between drivers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from mallard_engine.core.model import Job, Need
from mallard_engine.ports.deadlines import DueEntry
from mallard_engine.ports.drivers import Answered
from mallard_engine.ports.effects import Effects
from mallard_engine.ports.jobs import JobRef
from mallard_protocol.messages import Proof


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferPlan:
    """A transfer to begin: the parcels that a driver hands over to another one.

    Attributes:
        job: The id of the job that it makes.
        mall: The meeting place (`mallard_engine.core.places.meeting`).
        first: The driver who hands over.
        carries: The jobs to hand over; empty: none is made.
        held: All jobs of that driver, as they were read. If they have changed, nothing is written.
        need: What the second driver's vehicle must have room for, and the times.
        card: What a driver may see of it before accepting.
        code: What the second driver must give, to prove that the two have met.
        actor: Who asked for it.
        driver: The second driver, if an operator named one.
        pauses: False: nothing is to be handed over after all; the driver continues.
    """

    job: str
    mall: str
    first: str
    carries: tuple[Job, ...]
    held: tuple[Job, ...]
    need: Need
    card: bytes
    code: str
    actor: str
    driver: str | None = None
    pauses: bool = True


class Transfers(Protocol):
    """Parcels on board that go from one driver to another."""

    async def begin(self, market: str, plan: TransferPlan) -> Effects | None:
        """Pause the first driver, queue its jobs that are not on board, and make the transfer.

        Returns:
            None if the driver's jobs have changed since they were read.

        Raises:
            NoSuchDriver: The market has no such driver.
            DriverUnavailable: The second driver cannot take them now.
            TransferOpen: One of the jobs is part of another transfer.
        """

    async def take_over(
        self,
        ref: JobRef,
        driver: str,
        attempt: int,
        *,
        at_ms: int | None,
        proof: Proof | None,
        jobs: Sequence[str] | None,
    ) -> Answered:
        """Note that the second driver has the parcels (``jobs``, None: all) and knows the code.

        ``jobs`` of the answer: those that it has got.

        Raises:
            Refused: ``not_yours``, ``stale_attempt``, ``wrong_state``, ``proof_needed``,
            ``wrong_code``, or ``bad_field`` (it does not carry one of the jobs).
        """

    async def settle(self, entry: DueEntry) -> Effects:
        """End a transfer that carries no job; notify the first driver of changes."""
