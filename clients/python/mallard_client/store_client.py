"""Clients of a shop's counter: `StoreClient` with asyncio and `StoreClientSync` without.

    with StoreClientSync(url, token, "chandler-fashion-center", "lego") as counter:
        for pickup in counter.pickups():
            counter.ready(pickup.id)
        counter.hand_over(job, code_that_the_driver_shows)

All calls may be repeated; they are, and fail, as those of an order service
(`mallard_client.orders.client`).
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import datetime
from typing import TypeVar, Unpack

from msgspec import UNSET, Struct

from mallard_client.http.request import Caller, Steps, path_of
from mallard_client.http.transport import AsyncShell, ClientOptions, SyncShell
from mallard_protocol.counter import (
    HandoverRequest,
    PickupReport,
    ShopHours,
    ShopHoursRequest,
    ShopPickup,
    ShopPickupList,
    ShopReturn,
    ShopReturnList,
)

T = TypeVar("T")

__all__ = ["StoreClient", "StoreClientSync"]


class StoreCalls:
    """Every call of a shop's counter, as steps without I/O."""

    def __init__(self, caller: Caller, mall: str, store: str) -> None:
        self._caller = caller
        self._shop = ["stores", mall, store]

    def pickups(self, limit: int | None, cursor: str | None) -> Steps[ShopPickupList]:
        """``GET …/pickups``: one page."""
        return self._get("pickups", ShopPickupList, limit, cursor)

    def report(self, job: str, report: PickupReport) -> Steps[ShopPickup]:
        """``POST …/pickups/{job}``."""
        return self._post(["pickups", job], ShopPickup, report)

    def hand_over(self, job: str, code: str, parcels: int | None) -> Steps[ShopPickup]:
        """``POST …/pickups/{job}/handover``."""
        body = HandoverRequest(code, UNSET if parcels is None else parcels)
        return self._post(["pickups", job, "handover"], ShopPickup, body)

    def hours(self, closed_until: datetime | None) -> Steps[ShopHours]:
        """``POST …/hours``."""
        until = UNSET if closed_until is None else closed_until
        return self._post(["hours"], ShopHours, ShopHoursRequest(until))

    def returns(self, limit: int | None, cursor: str | None) -> Steps[ShopReturnList]:
        """``GET …/returns``: one page."""
        return self._get("returns", ShopReturnList, limit, cursor)

    def receive(self, job: str) -> Steps[ShopReturn]:
        """``POST …/returns/{job}``."""
        return self._post(["returns", job], ShopReturn, None)

    def _get(self, kind: str, answer: type[T], limit: int | None, cursor: str | None) -> Steps[T]:
        params = {"limit": limit, "cursor": cursor}
        return self._caller.call("GET", path_of(*self._shop, kind), answer, params=params)

    def _post(self, path: list[str], answer: type[T], body: Struct | None) -> Steps[T]:
        return self._caller.call("POST", path_of(*self._shop, *path), answer, body=body)


class StoreClient(AsyncShell):
    """A shop's client; an async context manager. `token` is of the role ``store`` for this shop."""

    def __init__(
        self,
        base_url: str | Sequence[str],
        token: str,
        mall: str,
        store: str,
        **options: Unpack[ClientOptions],
    ) -> None:
        super().__init__(base_url, token, **options)
        self._calls = StoreCalls(self._caller, mall, store)

    async def pickups_page(
        self, *, limit: int | None = None, cursor: str | None = None
    ) -> ShopPickupList:
        """Return a page of the shop's jobs, newest first."""
        return await self._run(self._calls.pickups(limit, cursor))

    def pickups(self) -> AsyncIterator[ShopPickup]:
        """Iterate over the shop's jobs that are open or were collected today, newest first."""
        return self._all(lambda cursor: self._calls.pickups(None, cursor))

    async def ready(self, job: str, ready_at: datetime | None = None) -> ShopPickup:
        """Say that the parcels of a job are ready, or when they will be."""
        return await self._run(self._calls.report(job, _ready(ready_at)))

    async def short(self, job: str, parcels: int) -> ShopPickup:
        """Report how many parcels of a job are there, if not all."""
        return await self._run(self._calls.report(job, PickupReport("short", parcels)))

    async def missing(self, job: str) -> ShopPickup:
        """Say that no parcel of a job is there."""
        return await self._run(self._calls.report(job, PickupReport("missing")))

    async def hand_over(self, job: str, code: str, parcels: int | None = None) -> ShopPickup:
        """Hand over all parcels, or a number of them, against the code that the driver shows."""
        return await self._run(self._calls.hand_over(job, code, parcels))

    async def close_until(self, closed_until: datetime) -> ShopHours:
        """Close the shop until then; a later call replaces an earlier one."""
        return await self._run(self._calls.hours(closed_until))

    async def open(self) -> ShopHours:
        """Open the shop again."""
        return await self._run(self._calls.hours(None))

    async def returns_page(
        self, *, limit: int | None = None, cursor: str | None = None
    ) -> ShopReturnList:
        """Return a page of the jobs that come back to the shop, newest first."""
        return await self._run(self._calls.returns(limit, cursor))

    def returns(self) -> AsyncIterator[ShopReturn]:
        """Iterate over the jobs that come back to the shop, newest first."""
        return self._all(lambda cursor: self._calls.returns(None, cursor))

    async def receive(self, job: str) -> ShopReturn:
        """Say that the parcels of a job have come back: it ends as ``returned``."""
        return await self._run(self._calls.receive(job))


class StoreClientSync(SyncShell):
    """`StoreClient` without asyncio: the same calls, a plain context manager."""

    def __init__(
        self,
        base_url: str | Sequence[str],
        token: str,
        mall: str,
        store: str,
        **options: Unpack[ClientOptions],
    ) -> None:
        super().__init__(base_url, token, **options)
        self._calls = StoreCalls(self._caller, mall, store)

    def pickups_page(
        self, *, limit: int | None = None, cursor: str | None = None
    ) -> ShopPickupList:
        """As `StoreClient.pickups_page`."""
        return self._run(self._calls.pickups(limit, cursor))

    def pickups(self) -> Iterator[ShopPickup]:
        """As `StoreClient.pickups`."""
        return self._all(lambda cursor: self._calls.pickups(None, cursor))

    def ready(self, job: str, ready_at: datetime | None = None) -> ShopPickup:
        """As `StoreClient.ready`."""
        return self._run(self._calls.report(job, _ready(ready_at)))

    def short(self, job: str, parcels: int) -> ShopPickup:
        """As `StoreClient.short`."""
        return self._run(self._calls.report(job, PickupReport("short", parcels)))

    def missing(self, job: str) -> ShopPickup:
        """As `StoreClient.missing`."""
        return self._run(self._calls.report(job, PickupReport("missing")))

    def hand_over(self, job: str, code: str, parcels: int | None = None) -> ShopPickup:
        """As `StoreClient.hand_over`."""
        return self._run(self._calls.hand_over(job, code, parcels))

    def close_until(self, closed_until: datetime) -> ShopHours:
        """As `StoreClient.close_until`."""
        return self._run(self._calls.hours(closed_until))

    def open(self) -> ShopHours:
        """As `StoreClient.open`."""
        return self._run(self._calls.hours(None))

    def returns_page(
        self, *, limit: int | None = None, cursor: str | None = None
    ) -> ShopReturnList:
        """As `StoreClient.returns_page`."""
        return self._run(self._calls.returns(limit, cursor))

    def returns(self) -> Iterator[ShopReturn]:
        """As `StoreClient.returns`."""
        return self._all(lambda cursor: self._calls.returns(None, cursor))

    def receive(self, job: str) -> ShopReturn:
        """As `StoreClient.receive`."""
        return self._run(self._calls.receive(job))


def _ready(ready_at: datetime | None) -> PickupReport:
    return PickupReport("ready", UNSET, UNSET if ready_at is None else ready_at)
