"""The client of an operator: `OperatorClient`, an `OrderClient` with further calls."""

import time
from collections.abc import Sequence
from typing import Literal, Unpack

from msgspec import UNSET

from mallard_client.http.transport import ClientOptions
from mallard_client.orders.client import OrderClient
from mallard_client.orders.requests import OperatorCalls
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
