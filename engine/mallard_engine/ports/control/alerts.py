"""The ports of alerts and of dead letters."""

from collections.abc import Sequence
from typing import Protocol

from mallard_engine.core.operator_records import Alert, DeadLetter
from mallard_engine.ports.effects import Effects
from mallard_engine.ports.jobs import JobRef


class NoSuchAlert(Exception):
    """There is no such alert."""


class NoSuchLetter(Exception):
    """There is no such dead letter, or it was retried or has ended."""


class Alerts(Protocol):
    """Alerts, which transitions raise; a bounded number of a market's last days is kept."""

    async def list(self, market: str, state: str) -> Sequence[str]:
        """Return the ids of the alerts in this state (`open`, `acknowledged`, empty: all)."""

    async def read(self, market: str, alerts: Sequence[str]) -> Sequence[Alert]:
        """Return these alerts; those that are gone are left out."""

    async def acknowledge(self, market: str, alert: str, actor: str) -> tuple[Alert, Effects]:
        """Acknowledge an alert; a repeat keeps the first operator.

        Raises:
            NoSuchAlert: There is no such alert.
        """

    async def forget(self, market: str) -> int:
        """Delete alerts whose retention has ended, up to a limit; return how many."""


class DeadLetters(Protocol):
    """Work that was given up, by its kind."""

    async def list(self, market: str) -> Sequence[DeadLetter]:
        """Return the dead letters of a market."""

    async def bury(self, ref: JobRef, attempt: int, rounds: int, error: str) -> Effects | None:
        """Make a queued job a dead letter, or end it if it has expired; None: it has moved on.

        Until it is retried it waits as a `scheduled` job.
        """

    async def retry(self, market: str, letter: str, actor: str) -> tuple[DeadLetter, Effects]:
        """Queue the job of a dead letter again.

        Raises:
            NoSuchLetter: There is no such dead letter.
        """
