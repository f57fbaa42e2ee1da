"""The port of policies that operators set while the market runs."""

from collections.abc import Sequence
from typing import Protocol

from mallard_engine.core.policy.override import PolicyOverride
from mallard_engine.ports.effects import Effects


class StaleVersion(Exception):
    """The policy has another version than the caller expects."""

    def __init__(self, version: int) -> None:
        super().__init__(f"the policy has version {version}")
        self.version = version


class Policies(Protocol):
    """What operators have set of each market's policy, by version."""

    async def current(self, market: str, known: int = -1) -> PolicyOverride | None:
        """Return the current version; None if it is the known one."""

    async def put(
        self, market: str, override: PolicyOverride, expected: int | None
    ) -> tuple[PolicyOverride, Effects]:
        """Store the next version.

        Args:
            market: The market.
            override: What is set, and by whom; its version and time are ignored.
            expected: The version that it replaces; None: any.

        Raises:
            StaleVersion: The current version is another one.
        """

    async def note_applied(self, market: str, node: str, version: int) -> None:
        """Note that a node uses a version."""

    async def behind(self, market: str, version: int) -> Sequence[str]:
        """Return the live nodes that do not use this version or a later one yet."""
