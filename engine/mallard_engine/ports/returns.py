"""The port of returns and of problems at the door."""

from collections.abc import Sequence
from typing import Protocol

from mallard_engine.core.model import Job, ReturnPlan
from mallard_engine.ports.deadlines import DueEntry
from mallard_engine.ports.drivers import Answered
from mallard_engine.ports.effects import Effects
from mallard_engine.ports.jobs import JobRef
from mallard_protocol.messages import Proof


class Returns(Protocol):
    """What happens at the customer's door, and the way back.

    ``plan`` is where the job would go back to; without one, the sweeper makes one at once.
    """

    async def undelivered(
        self,
        ref: JobRef,
        driver: str,
        *,
        kind: str,
        store: str,
        until_ms: int | None,
        text: str,
        attempt: int | None,
        at_ms: int | None,
        plan: ReturnPlan | None,
    ) -> Answered:
        """Record that nobody takes the parcels: a problem, and once a visit a delivery attempt.

        Raises:
            Refused: ``not_yours`` or ``stale_attempt``.
        """

    async def answer(
        self,
        ref: JobRef,
        problem: str,
        *,
        action: str,
        text: str,
        actor: str,
        plan: ReturnPlan | None,
    ) -> Effects:
        """Answer a problem and notify the driver. A repeated answer has no effect.

        Raises:
            NoSuchProblem: The job has no such problem.
            WrongState: The action does not fit the job's state.
        """

    async def returned(
        self,
        ref: JobRef,
        driver: str,
        attempt: int,
        *,
        at_ms: int | None,
        proof: Proof | None,
        reason: str,
        at_place: bool,
        plan: ReturnPlan | None,
    ) -> Answered:
        """End a job that goes back, as its driver reports.

        Args:
            ref: The job.
            driver: Its driver.
            attempt: The attempt under which the driver holds it.
            at_ms: When, by the driver's clock.
            proof: The code of the place, or a photo where nobody shows one.
            reason: The driver's reason, "" without one.
            at_place: Its last fix since ``returning`` is inside of the place. An earlier one that
                `note_at_place` has noted is as good.
            plan: Where it goes back to, if no place is stored with the job.

        Raises:
            Refused: as ``progress``, or ``no_position`` (the driver has not been there).
        """

    async def received(self, ref: JobRef, actor: str, reason: str = "") -> Effects:
        """End a job that goes back, as the shop that has received it reports.

        Raises:
            WrongState: The job does not go back.
            NoSuchJob: There is no such job.
        """

    async def show_codes(self, market: str, mall: str, store: str, jobs: Sequence[str]) -> None:
        """Note that a shop has been shown the codes of jobs that go back to it.

        From then on the driver must give the code: a photo does not replace it.
        """

    async def note_at_place(self, job: Job, mall: str) -> Effects:
        """Note that a fix of the job's holder lies inside of the place that it goes back to."""

    async def act_at_door(self, entry: DueEntry, attempt: int, plan: ReturnPlan | None) -> Effects:
        """Apply the order's rule to parcels that nobody takes, if that is due."""

    async def set_place(self, entry: DueEntry, attempt: int, plan: ReturnPlan) -> Effects:
        """Store where a job goes back to, with an alert if that has changed."""
