"""Runs the robots on one node at a time.

The nodes share a role in the storage that one of them has, for as long as it renews it. A node that
dies loses it after `ROLE_TTL_MS`, and another one's robots continue: they are the same drivers, so
the engine gives them the jobs that they hold. Two nodes that both believe to have the role do no
harm, as the newer socket of a driver wins.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Final

import structlog

from mallard_engine.ports import Leases, StoreUnavailable
from mallard_engine.tasks import without_end
from mallard_protocol.codes import SANDBOX_MARKET

_log = structlog.get_logger(__name__)
ROLE: Final = "robots"
ROLE_TTL_MS: Final = 3_000
_RENEW_S: Final = 0.75


class RobotService:
    """See the module.

    Args:
        leases: the port of roles.
        node: the name of this node.
        work: lets the robots work at the node of this address; called whenever the node has the
            role and they do not work.
    """

    def __init__(
        self, leases: Leases, node: str, work: Callable[[str], Coroutine[None, None, None]]
    ) -> None:
        self._leases = leases
        self._node = node
        self._work = work
        self._robots: asyncio.Task[None] | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def is_working(self) -> bool:
        """Whether the robots of this node work."""
        return self._robots is not None and not self._robots.done()

    def start(self, url: str) -> None:
        """Begin to compete for the role. `url`: the address of this node."""
        self._task = asyncio.create_task(
            without_end(partial(self._compete, url), "sandbox"), name="sandbox"
        )

    async def stop(self) -> None:
        """Stop the robots and give up the role."""
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if self._robots is not None:
            await self._stop_robots(self._robots)
            with contextlib.suppress(StoreUnavailable):  # it ends by itself
                await self._leases.hold_role(SANDBOX_MARKET, ROLE, self._node, 0)

    async def _compete(self, url: str) -> None:
        clock = asyncio.get_running_loop().time
        until_s = 0.0
        while True:
            asked_s = clock()
            try:
                if await self._leases.hold_role(SANDBOX_MARKET, ROLE, self._node, ROLE_TTL_MS):
                    until_s = asked_s + ROLE_TTL_MS / 1000
                else:
                    until_s = 0.0
            except StoreUnavailable:
                pass  # the role lasts until it has expired
            await self._adjust(url, has_role=clock() < until_s)
            await asyncio.sleep(_RENEW_S)

    async def _adjust(self, url: str, *, has_role: bool) -> None:
        robots = self._robots
        if robots is not None and (robots.done() or not has_role):
            await self._stop_robots(robots)
        if has_role and self._robots is None:
            _log.info("the robots of the sandbox work on this node", node=self._node)
            self._robots = asyncio.create_task(self._work(url), name="robots")

    async def _stop_robots(self, robots: asyncio.Task[None]) -> None:
        robots.cancel()
        (outcome,) = await asyncio.gather(robots, return_exceptions=True)
        if isinstance(outcome, Exception):
            _log.warning("the robots of the sandbox start again", reason=repr(outcome))
        self._robots = None
