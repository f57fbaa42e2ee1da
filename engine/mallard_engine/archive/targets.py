"""Where the archive writes to."""

from collections.abc import Sequence
from typing import Protocol

from mallard_engine.archive.document import ArchivedJob


class TargetUnavailable(Exception):
    """A target could not be written, and the batch does not count as archived. One line."""


class Target(Protocol):
    """A durable place for documents. Writing a document twice has the effect of writing it once."""

    async def open(self) -> None:
        """Prepare to write. Raises `TargetUnavailable`."""

    async def write(self, documents: Sequence[ArchivedJob]) -> None:
        """Write documents so that they survive a crash. Raises `TargetUnavailable`."""

    async def close(self) -> None:
        """Let go of what is open."""
