"""The connections that a URL names: to one server, to the master of a service, or to a cluster.

| URL | Connections |
|---|---|
| `redis://`, `rediss://`, `unix://` | one, to this server; a name may lead to another later |
| `redis+sentinel://HOST:PORT,…/SERVICE` | one, to the master that the Sentinels name |
| `redis+cluster://HOST:PORT,…` | one to each primary |

`rediss+sentinel` and `rediss+cluster` are the same with TLS.
"""

from typing import Final, Unpack

from mallard_engine.storage.client.address import Address, Way
from mallard_engine.storage.client.client import Link, LinkOptions
from mallard_engine.storage.client.cluster import ClusterLink
from mallard_engine.storage.client.named import NamedWay, is_name
from mallard_engine.storage.client.sentinel import SentinelWay
from mallard_engine.storage.client.topology import ClusterMap

StoreLink = Link | ClusterLink

# How often an idle connection is pinged. With Sentinels more often (the default of a `Link`), as
# each beat also asks them for failovers.
_HEARTBEAT_S: Final = 0.5
# Nothing waits for an idle connection for commands that block: a ping only keeps it open.
_TAIL_HEARTBEAT_S: Final = 5.0
# Where each beat also asks whether the server's name leads elsewhere.
_NAMED_TAIL_HEARTBEAT_S: Final = 1.0


class Store:
    """The Redis that a URL names. Raises `ValueError` for a URL that cannot be used."""

    def __init__(self, url: str) -> None:
        scheme = url.partition("://")[0]
        self._way: Way | ClusterMap
        if scheme in {"redis+cluster", "rediss+cluster"}:
            self._way = ClusterMap.parse(url)
        elif scheme in {"redis+sentinel", "rediss+sentinel"}:
            self._way = SentinelWay.parse(url)
        elif "+" in scheme:
            raise ValueError(
                f"{scheme}:// is not a supported scheme: see redis_url in the settings"
            )
        else:
            server = Address.parse(url)
            self._way = NamedWay(server) if is_name(server) else server

    @property
    def is_cluster(self) -> bool:
        """Whether keys are spread over several servers by their slots."""
        return isinstance(self._way, ClusterMap)

    def __str__(self) -> str:
        """Return its address without secrets, for messages and logs."""
        return str(self._way)

    def link(self, **options: Unpack[LinkOptions]) -> StoreLink:
        """Return a connection for calls, not connected yet."""
        if isinstance(self._way, ClusterMap):
            return ClusterLink(self._way, **self._beating(options, _HEARTBEAT_S))
        return Link(self._way, **self._beating(options, _HEARTBEAT_S))

    def tail(self, **options: Unpack[LinkOptions]) -> StoreLink:
        """Return a connection for commands that block."""
        is_named = isinstance(self._way, NamedWay)
        every_s = _NAMED_TAIL_HEARTBEAT_S if is_named else _TAIL_HEARTBEAT_S
        options = self._beating(options, every_s)
        if isinstance(self._way, ClusterMap):
            return ClusterLink(self._way, per_slot=True, **options)
        return Link(self._way, **options)

    def _beating(self, options: LinkOptions, every_s: float) -> LinkOptions:
        if isinstance(self._way, SentinelWay):
            return options
        return {"heartbeat_s": every_s, **options}
