"""Whether the store can be written, judged by its answers to the scripts that write.

Every node runs such a script at least twice a second (the lease's heartbeat), so a store that
refuses writes is noticed, and noticed to have recovered, within that time.
"""

from collections.abc import Callable

import structlog

from mallard_engine.logs import RateLimitedLog
from mallard_engine.storage.client.errors import LinkReplyError, StoreNotReady, StoreOutOfMemory

_log = structlog.get_logger(__name__)
_refusals = RateLimitedLog(_log, interval_s=10.0)
# Redis explains itself at length; the beginning says it.
_MAX_REASON_CHARS = 160


class StoreHealth:
    """The last answer to a write. `on_refusal` is called with the code of each refusal."""

    def __init__(self, on_refusal: Callable[[str], None] | None = None) -> None:
        self._on_refusal = on_refusal
        self._problem: str | None = None

    @property
    def problem(self) -> str | None:
        """Why the store refuses all writes; None while it takes them."""
        return self._problem

    def wrote(self) -> None:
        """The store has just run a script that writes."""
        if self._problem is not None:
            self._problem = None
            _log.info("the store takes writes again")

    def refused(self, error: LinkReplyError) -> None:
        """The store has refused a script because of its own condition."""
        if not isinstance(error, StoreNotReady | StoreOutOfMemory):
            return
        if self._on_refusal is not None:
            self._on_refusal(error.code)
        reason = str(error)[:_MAX_REASON_CHARS]
        unready = isinstance(error, StoreNotReady) and error.condition.unready
        if unready:
            self._problem = f"the store refuses writes: {reason}"
        _refusals.error(
            "the store refuses writes" if unready else "the store refuses some writes",
            code=error.code,
            reason=reason,
        )
