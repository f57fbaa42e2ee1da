"""Publishes this node's state, and reads once a second whether an operator wants it to drain.

Leases say which nodes are alive in a market; presence says what an operator wants to know of them.
A node that cannot reach Redis keeps working, and operators see it as lost.
"""

from collections.abc import Callable
from importlib import metadata
from typing import Final

import structlog

from mallard_engine.gateway.socket.hub import Hub
from mallard_engine.ports import NodeReport, Nodes, StoreUnavailable
from mallard_engine.tasks import turn

_log = structlog.get_logger(__name__)

_ANNOUNCE_S: Final = 1.0


class Presence:
    """This node among the nodes of the deployment.

    Args:
        nodes: the port.
        node: this node's id.
        hub: its sessions.
        is_leaving: whether it drains.
        now_ms: the storage's clock.
    """

    def __init__(
        self,
        nodes: Nodes,
        node: str,
        hub: Hub,
        is_leaving: Callable[[], bool],
        now_ms: Callable[[], int],
    ) -> None:
        self._nodes = nodes
        self._node = node
        self._hub = hub
        self._is_leaving = is_leaving
        self._now_ms = now_ms
        self._started_ms = 0
        self._was_asked = False
        self._version = metadata.version("mallard-engine")
        # Where the node listens, as an operator may reach it. Set by its server.
        self.address = ""
        # Starts the drain; called once. Set by the server.
        self.on_drain: Callable[[], None] = lambda: None

    async def follow(self) -> None:
        """Announce the node again and again."""
        self._started_ms = self._started_ms or self._now_ms()
        while True:
            try:
                await self.announce()
            except StoreUnavailable as error:
                _log.debug("node not announced: storage unavailable", error=str(error))
            await turn(_ANNOUNCE_S)

    async def announce(self, *, has_stopped: bool = False) -> None:
        """Announce the node, and start its drain if an operator wants that."""
        request = await self._nodes.announce(self._report(), has_stopped=has_stopped)
        if request is None or has_stopped or self._was_asked:
            return
        self._was_asked = True
        if not self._is_leaving():
            _log.info("an operator drains the node", node=self._node, by=request.actor)
            self.on_drain()

    async def stop(self) -> None:
        """Say that the node has stopped, if it had started."""
        if self._started_ms:
            try:
                await self.announce(has_stopped=True)
            except StoreUnavailable:
                _log.warning("end of the node not announced: storage unavailable")

    def _report(self) -> NodeReport:
        return NodeReport(
            id=self._node,
            address=self.address,
            version=self._version,
            started_ms=self._started_ms,
            drivers=self._hub.drivers(),
            is_leaving=self._is_leaving(),
        )
