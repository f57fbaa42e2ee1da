"""Which tokens have been revoked: those of one subject and role that were issued up to a moment.

Every node reads the revocations once a second. A token without `iat` counts as old. A revocation
for one market concerns every token that reaches this market, also one that reaches others.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping

import structlog

from mallard_engine.gateway.auth.tokens import Principal, Tokens
from mallard_engine.ports import Revocation, Revocations, StoreUnavailable
from mallard_engine.tasks import turn
from mallard_protocol.codes import Role

_log = structlog.get_logger(__name__)

# How long a revocation may be unknown to another node.
_READ_S = 1.0


class RevokedTokens:
    """The revocations of a deployment, as this node knows them.

    Args:
        stored: the port.
        tokens: what checks tokens; it refuses revoked ones.
    """

    def __init__(self, stored: Revocations, tokens: Tokens) -> None:
        self._stored = stored
        self._version = -1
        self._until_ms: Mapping[tuple[str, str], Mapping[str, int]] = {}
        # Called after the revocations have changed: sockets and streams whose token is revoked end.
        self.on_change: list[Callable[[], None]] = []
        # Called on every node with the revocations that it has not been called with: webhooks of
        # these subjects are to be disabled. Called again if it fails.
        self.on_subjects: list[Callable[[Collection[Revocation]], Awaitable[None]]] = []
        self._entries: frozenset[Revocation] = frozenset()
        self._unhandled: frozenset[Revocation] = frozenset()
        tokens.is_revoked = self.covers

    @property
    def are_known(self) -> bool:
        """Whether they have been read. A cluster's server may be away when a node starts."""
        return self._version >= 0

    def covers(self, principal: Principal) -> bool:
        """Whether the token of this subject has been revoked."""
        if not self._until_ms:
            return False
        until_ms = self._until_ms.get((principal.role.value, principal.sub))
        return until_ms is not None and any(
            principal.issued_ms <= at_ms and (not market or principal.reaches(market))
            for market, at_ms in until_ms.items()
        )

    async def revoke(self, sub: str, role: Role, market: str) -> int:
        """Revoke the tokens issued up to now; return that moment (epoch ms).

        Args:
            sub: the subject.
            role: the tokens' role.
            market: only tokens that reach this market; empty: all.
        """
        at_ms = await self._stored.revoke(sub, role.value, market)
        await self.refresh()
        return at_ms

    async def refresh(self) -> None:
        """Read the revocations if they have changed, and act on them.

        Raises:
            StoreUnavailable: what was read is in force; the next call does the rest.
        """
        changed = await self._stored.read(self._version)
        if changed is not None:
            self._version, entries = changed
            self._until_ms = _by_subject(entries)
            self._unhandled |= frozenset(entries) - self._entries
            self._entries = frozenset(entries)
            for callback in self.on_change:
                callback()
        if unhandled := self._unhandled:
            for act in self.on_subjects:
                await act(unhandled)
            self._unhandled -= unhandled

    async def follow(self) -> None:
        """Read the revocations again and again. They stay as they are without Redis."""
        while True:
            await turn(_READ_S)
            try:
                await self.refresh()
            except StoreUnavailable as error:
                _log.debug("revocations not read: storage unavailable", error=str(error))


def _by_subject(
    entries: tuple[Revocation, ...],
) -> dict[tuple[str, str], dict[str, int]]:
    found: dict[tuple[str, str], dict[str, int]] = {}
    for entry in entries:
        found.setdefault((entry.role, entry.sub), {})[entry.market] = entry.until_ms
    return found
