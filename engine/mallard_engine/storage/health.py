"""Whether the storage can be written, judged by the replies to scripts that write.

Every node runs such a script at least once a second (the heartbeat), or at rest writes without one
and runs it after a refusal: a refusal of writes, and its end, are detected within that time.
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
    """The result of each server's last write. `on_refusal` is called with a refusal's code."""

    def __init__(self, on_refusal: Callable[[str], None] | None = None) -> None:
        self._on_refusal = on_refusal
        # By the connection to a server: why it refuses all writes.
        self.problems: dict[object, str] = {}

    def wrote(self, server: object) -> None:
        """Note that a script that writes has succeeded on a server."""
        if self.problems.pop(server, None) is not None:
            _log.info("the store accepts writes again")

    def refused(self, error: LinkReplyError, server: object) -> None:
        """Note that a server refused a script because of its own condition."""
        if not isinstance(error, StoreNotReady | StoreOutOfMemory):
            return
        if self._on_refusal is not None:
            self._on_refusal(error.code)
        reason = str(error)[:_MAX_REASON_CHARS]
        unready = isinstance(error, StoreNotReady) and error.condition.unready
        if unready:
            self.problems[server] = f"the store refuses writes: {reason}"
        _refusals.error(
            "the store refuses writes" if unready else "the store refuses some writes",
            error=error.code,  # a field `code` would be redacted
            reason=reason,
        )
