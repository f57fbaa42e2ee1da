"""The port of revoked tokens."""

from typing import NamedTuple, Protocol


class Revocation(NamedTuple):
    """Tokens that are refused: of this role and subject, issued up to a moment (epoch ms).

    ``market``: only those that reach it; empty: all.
    """

    role: str
    sub: str
    market: str
    until_ms: int


class Revocations(Protocol):
    """Revoked tokens, of all markets."""

    async def revoke(self, sub: str, role: str, market: str) -> int:
        """Revoke the tokens that were issued up to now; return that moment (epoch ms).

        Raises:
            StoreFull: There are too many revocations.
        """

    async def read(self, known: int) -> tuple[int, tuple[Revocation, ...]] | None:
        """Return the version of the revocations and all of them; None if ``known`` is current."""
