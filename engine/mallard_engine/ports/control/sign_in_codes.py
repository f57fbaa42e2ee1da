"""The port of one-time codes."""

from typing import Protocol


class SignInCodes(Protocol):
    """What one-time codes stand for, by a name that does not reveal the code."""

    async def keep(self, name: str, sealed: bytes, ttl_ms: int) -> None:
        """Keep what a code stands for."""

    async def take(self, name: str) -> bytes | None:
        """Return what a code stands for and forget it; None if there is no such code."""
