"""The port of the audit log."""

from collections.abc import Sequence
from typing import Protocol

from mallard_engine.core.operator_calls import OperatorCall


class AuditLog(Protocol):
    """The calls of operators, of all markets."""

    async def note(self, call: OperatorCall) -> None:
        """Store a call, or replace it once its outcome is known."""

    async def before(
        self, at_ms: int, call: str, since_ms: int, limit: int
    ) -> Sequence[OperatorCall]:
        """Return the newest calls before one (its time and id) and not before ``since_ms``."""
