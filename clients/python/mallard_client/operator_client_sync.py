"""The client of an operator without asyncio: `OperatorClientSync`."""

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, Unpack

from msgspec import UNSET

from mallard_client.control_calls import AlertStateName, ControlCalls, RoleName
from mallard_client.http.transport import ClientOptions
from mallard_client.orders.client import OrderClientSync
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

__all__ = ["OperatorClientSync"]


class OperatorClientSync(OrderClientSync):
    """`OperatorClient` without asyncio: the same calls, a plain context manager."""

    def __init__(
        self, base_url: str | Sequence[str], token: str, **options: Unpack[ClientOptions]
    ) -> None:
        super().__init__(base_url, token, **options)
        self._operator_calls = OperatorCalls(self._caller, time.monotonic)
        self._control_calls = ControlCalls(self._caller)

    def assign(self, job: str, driver: str) -> Job:
        """As `OperatorClient.assign`."""
        return self._run(self._operator_calls.assign(job, driver))

    def unassign(self, job: str, reason: str) -> Job:
        """As `OperatorClient.unassign`."""
        return self._run(self._operator_calls.unassign(job, reason))

    def close_job(
        self, job: str, state: Literal["returned", "delivered", "lost"], reason: str
    ) -> Job:
        """As `OperatorClient.close_job`."""
        return self._run(self._operator_calls.close_job(job, CloseRequest(state, reason)))

    def drivers(
        self,
        market: str,
        *,
        near: tuple[float, float] | None = None,
        radius_m: int | None = None,
    ) -> tuple[DriverView, ...]:
        """As `OperatorClient.drivers`."""
        point = None if near is None else f"{near[0]},{near[1]}"
        answer = self._run(self._operator_calls.drivers(market, point, radius_m))
        return answer.items

    def transfer(
        self,
        market: str,
        driver: str,
        *,
        jobs: Sequence[str] | None = None,
        to: str | None = None,
        at: tuple[float, float] | None = None,
    ) -> Job:
        """As `OperatorClient.transfer`."""
        request = TransferRequest(
            jobs=UNSET if jobs is None else tuple(jobs),
            driver=UNSET if to is None else to,
            at=UNSET if at is None else MeetingPointRequest(*at),
        )
        return self._run(self._operator_calls.transfer(market, driver, request))

    def driver(self, market: str, driver: str) -> RegisteredDriver:
        """As `OperatorClient.driver`."""
        return self._run(self._operator_calls.driver(market, driver))

    def put_driver(self, market: str, driver: str, profile: DriverProfile) -> RegisteredDriver:
        """As `OperatorClient.put_driver`."""
        return self._run(self._operator_calls.put_driver(market, driver, profile))

    def suspend(self, market: str, driver: str, reason: str) -> DriverView:
        """As `OperatorClient.suspend`."""
        return self._run(self._operator_calls.suspend(market, driver, reason))

    def resume(self, market: str, driver: str) -> DriverView:
        """As `OperatorClient.resume`."""
        return self._run(self._operator_calls.resume(market, driver))

    def pause(
        self,
        market: str,
        *,
        mall: str | None = None,
        store: str | None = None,
        reason: str | None = None,
    ) -> PauseView:
        """As `OperatorClient.pause`."""
        return self._run(self._control_calls.pause("pause", market, mall, store, reason))

    def unpause(
        self,
        market: str,
        *,
        mall: str | None = None,
        store: str | None = None,
        reason: str | None = None,
    ) -> PauseView:
        """As `OperatorClient.unpause`."""
        return self._run(self._control_calls.pause("resume", market, mall, store, reason))

    def revoke_tokens(self, sub: str, role: RoleName, market: str | None = None) -> Revoked:
        """As `OperatorClient.revoke_tokens`."""
        return self._run(self._control_calls.revoke(sub, role, market))

    def alerts(
        self,
        *,
        state: AlertStateName | None = None,
        market: str | None = None,
        cursor: str | None = None,
    ) -> AlertList:
        """As `OperatorClient.alerts`."""
        return self._run(self._control_calls.alerts(state, market, cursor))

    def acknowledge(self, alert: str) -> AlertView:
        """As `OperatorClient.acknowledge`."""
        return self._run(self._control_calls.acknowledge(alert))

    def dead_letters(
        self, *, market: str | None = None, cursor: str | None = None
    ) -> DeadLetterList:
        """As `OperatorClient.dead_letters`."""
        return self._run(self._control_calls.dead_letters(market, cursor))

    def retry(self, letter: str) -> DeadLetterView:
        """As `OperatorClient.retry`."""
        return self._run(self._control_calls.retry(letter))

    def policy(self, market: str) -> PolicyView:
        """As `OperatorClient.policy`."""
        return self._run(self._control_calls.policy(market))

    def put_policy(
        self,
        market: str,
        values: Mapping[str, Any],
        *,
        preset: str | None = None,
        version: int | None = None,
    ) -> PolicyView:
        """As `OperatorClient.put_policy`."""
        return self._run(self._control_calls.put_policy(market, preset, values, version))

    def nodes(self) -> tuple[NodeView, ...]:
        """As `OperatorClient.nodes`."""
        answer = self._run(self._control_calls.nodes())
        return answer.items

    def drain(self, node: str) -> NodeView:
        """As `OperatorClient.drain`."""
        return self._run(self._control_calls.drain(node))

    def audit(
        self,
        *,
        actor: str | None = None,
        since: datetime | None = None,
        market: str | None = None,
        cursor: str | None = None,
    ) -> AuditPage:
        """As `OperatorClient.audit`."""
        return self._run(self._control_calls.audit(actor, since, market, cursor))
