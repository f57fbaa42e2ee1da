"""The client of an operator: `OperatorClient`, an `OrderClient` with further calls."""

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, Unpack

from msgspec import UNSET

from mallard_client.control_calls import AlertStateName, ControlCalls, RoleName
from mallard_client.http.transport import ClientOptions
from mallard_client.orders.client import OrderClient
from mallard_client.orders.requests import OperatorCalls
from mallard_protocol.control import (
    AlertList,
    AlertView,
    AuditPage,
    DeadLetterList,
    DeadLetterView,
    NodeView,
    PauseView,
    PolicyView,
    Revoked,
)
from mallard_protocol.resources import (
    CloseRequest,
    DriverProfile,
    DriverView,
    Job,
    MeetingPointRequest,
    RegisteredDriver,
    TransferRequest,
)

__all__ = ["OperatorClient"]


class OperatorClient(OrderClient):
    """An operator's client; an async context manager. `token` is of the role ``operator``."""

    def __init__(
        self, base_url: str | Sequence[str], token: str, **options: Unpack[ClientOptions]
    ) -> None:
        super().__init__(base_url, token, **options)
        self._operator_calls = OperatorCalls(self._caller, time.monotonic)
        self._control_calls = ControlCalls(self._caller)

    async def assign(self, job: str, driver: str) -> Job:
        """Give a job that is not on board yet to a driver."""
        return await self._run(self._operator_calls.assign(job, driver))

    async def unassign(self, job: str, reason: str) -> Job:
        """Take a job that is not on board yet from its driver."""
        return await self._run(self._operator_calls.unassign(job, reason))

    async def close_job(
        self, job: str, state: Literal["returned", "delivered", "lost"], reason: str
    ) -> Job:
        """End a job that is on board as `returned`, `delivered` or `lost`."""
        return await self._run(self._operator_calls.close_job(job, CloseRequest(state, reason)))

    async def drivers(
        self,
        market: str,
        *,
        near: tuple[float, float] | None = None,
        radius_m: int | None = None,
    ) -> tuple[DriverView, ...]:
        """Return the drivers of a market, or those within `radius_m` of `near` (lat, lon)."""
        point = None if near is None else f"{near[0]},{near[1]}"
        answer = await self._run(self._operator_calls.drivers(market, point, radius_m))
        return answer.items

    async def transfer(
        self,
        market: str,
        driver: str,
        *,
        jobs: Sequence[str] | None = None,
        to: str | None = None,
        at: tuple[float, float] | None = None,
    ) -> Job:
        """Hand the parcels that a driver has on board over to another driver; return the transfer.

        Args:
            market: The market.
            driver: Who has them.
            jobs: Which of its jobs; None: all on board.
            to: Who gets them; None: the best driver who has room.
            at: Where the two meet (lat, lon); None: the driver's last position.
        """
        request = TransferRequest(
            jobs=UNSET if jobs is None else tuple(jobs),
            driver=UNSET if to is None else to,
            at=UNSET if at is None else MeetingPointRequest(*at),
        )
        return await self._run(self._operator_calls.transfer(market, driver, request))

    async def driver(self, market: str, driver: str) -> RegisteredDriver:
        """Return one driver: its entry in the register and its state."""
        return await self._run(self._operator_calls.driver(market, driver))

    async def put_driver(
        self, market: str, driver: str, profile: DriverProfile
    ) -> RegisteredDriver:
        """Replace a driver's entry in the register; ``DriverProfile()`` erases it.

        What the profile leaves out is no longer registered; a missing ``status`` is ``active``.
        """
        return await self._run(self._operator_calls.put_driver(market, driver, profile))

    async def suspend(self, market: str, driver: str, reason: str) -> DriverView:
        """Suspend a driver: it gets no offers."""
        return await self._run(self._operator_calls.suspend(market, driver, reason))

    async def resume(self, market: str, driver: str) -> DriverView:
        """Resume a suspended driver."""
        return await self._run(self._operator_calls.resume(market, driver))

    async def pause(
        self,
        market: str,
        *,
        mall: str | None = None,
        store: str | None = None,
        reason: str | None = None,
    ) -> PauseView:
        """Pause matching in a market, at a mall, or at a shop of it; offers and runs go on."""
        return await self._run(self._control_calls.pause("pause", market, mall, store, reason))

    async def unpause(
        self,
        market: str,
        *,
        mall: str | None = None,
        store: str | None = None,
        reason: str | None = None,
    ) -> PauseView:
        """End a pause."""
        return await self._run(self._control_calls.pause("resume", market, mall, store, reason))

    async def revoke_tokens(self, sub: str, role: RoleName, market: str | None = None) -> Revoked:
        """Refuse the tokens of a subject that were issued up to now; later ones work."""
        return await self._run(self._control_calls.revoke(sub, role, market))

    async def alerts(
        self,
        *,
        state: AlertStateName | None = None,
        market: str | None = None,
        cursor: str | None = None,
    ) -> AlertList:
        """Return a page of alerts, newest first."""
        return await self._run(self._control_calls.alerts(state, market, cursor))

    async def acknowledge(self, alert: str) -> AlertView:
        """Acknowledge an alert; again changes nothing."""
        return await self._run(self._control_calls.acknowledge(alert))

    async def dead_letters(
        self, *, market: str | None = None, cursor: str | None = None
    ) -> DeadLetterList:
        """Return a page of the work that was given up, newest first."""
        return await self._run(self._control_calls.dead_letters(market, cursor))

    async def retry(self, letter: str) -> DeadLetterView:
        """Try again what was given up."""
        return await self._run(self._control_calls.retry(letter))

    async def policy(self, market: str) -> PolicyView:
        """Return what is set of a market's policy, and all figures in force."""
        return await self._run(self._control_calls.policy(market))

    async def put_policy(
        self,
        market: str,
        values: Mapping[str, Any],
        *,
        preset: str | None = None,
        version: int | None = None,
    ) -> PolicyView:
        """Replace what is set of a market's policy, if it still has this version (None: any).

        It returns once all live nodes use it. Nothing set: the configuration counts alone.
        """
        return await self._run(self._control_calls.put_policy(market, preset, values, version))

    async def nodes(self) -> tuple[NodeView, ...]:
        """Return the nodes of the deployment, oldest first."""
        answer = await self._run(self._control_calls.nodes())
        return answer.items

    async def drain(self, node: str) -> NodeView:
        """Ask a node to hand its drivers over and to stop; again changes nothing."""
        return await self._run(self._control_calls.drain(node))

    async def audit(
        self,
        *,
        actor: str | None = None,
        since: datetime | None = None,
        market: str | None = None,
        cursor: str | None = None,
    ) -> AuditPage:
        """Return a page of operators' calls, newest first: who did what."""
        return await self._run(self._control_calls.audit(actor, since, market, cursor))
