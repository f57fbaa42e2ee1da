"""Which replicas must have a write before it is safe from a failover.

A failover may promote a replica that others are ahead of: Sentinel compares offsets that are
seconds old, and during a planned failover the former master still takes writes and sends them to
its other replicas. So a replica counts for a while after it was
last in step, whether it lags, is silent or has disconnected. A new replica counts once it is in
step: until then nothing promotes it.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Final

# The host and port of a server.
Server = tuple[str, int]

# Sentinel promotes no replica whose offset it has not read within 5 s, and turns a master that it
# has replaced into a replica within 8 s.
COUNTS_S: Final = 10.0


@dataclass(slots=True)
class _Primary:
    """A primary, and when each of its replicas was last in step."""

    server: Server
    replicas: dict[Server, float] = field(default_factory=dict)


class Replicas:
    """The replicas of each primary. ``clock``: seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._primaries: list[_Primary] = []

    def wanted(self, primary: Server) -> Collection[Server]:
        """Return the replicas that must have what is written to a primary now."""
        since_s = self._clock() - COUNTS_S
        known = self._of(primary).replicas
        return {replica for replica, in_step_s in known.items() if in_step_s > since_s}

    def note(
        self, primary: Server, in_step: Collection[Server], connected: Collection[Server]
    ) -> None:
        """Note which replicas have everything that was written to a primary up to now.

        ``connected``: those that are connected to it and have once been in step.
        """
        now_s, known = self._clock(), self._of(primary).replicas
        for gone in [it for it in known if it not in connected]:
            if known[gone] <= now_s - COUNTS_S:
                del known[gone]
        for replica in connected:
            known.setdefault(replica, now_s)
        known.update(dict.fromkeys(in_step, now_s))

    def _of(self, server: Server) -> _Primary:
        """Return what is known of a primary; of one that was a replica, its former siblings."""
        for known in self._primaries:
            if known.server == server:
                return known
        known = next((it for it in self._primaries if server in it.replicas), _Primary(server))
        if known.server == server:
            self._primaries.append(known)
        known.replicas.pop(server, None)
        known.server = server
        return known
