"""Whether the storage can be written, judged by the replies to scripts that write.

Every node runs such a script at least twice a second (the heartbeat): a refusal of writes, and its
end, are detected within that time.
"""

from collections.abc import Callable

import structlog

from mallard_engine.logs import RateLimitedLog
from mallard_engine.storage.client.errors import LinkReplyError, StoreNotReady, StoreOutOfMemory

_log = structlog.get_logger(__name__)
_refusals = RateLimitedLog(_log, interval_s=10.0)
# The beginning of Redis's message is enough.
_MAX_REASON_CHARS = 160


class StoreHealth:
    """The result of the last write. `on_refusal` is called with the code of each refusal."""

    def __init__(self, on_refusal: Callable[[str], None] | None = None) -> None:
        self._on_refusal = on_refusal
        self._problem: str | None = None

    @property
    def problem(self) -> str | None:
        """Why the server refuses all writes; None while it accepts them."""
        return self._problem

    def wrote(self) -> None:
        """Note that a script that writes has succeeded."""
        if self._problem is not None:
            self._problem = None
            _log.info("the store accepts writes again")

    def refused(self, error: LinkReplyError) -> None:
        """Note that the server refused a script because of its own condition."""
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
