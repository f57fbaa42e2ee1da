"""The shops, customers and order service of a bad day beside a fleet of simulated driver apps.

They act by the HTTP API, some seconds later. Events are chosen by the `external_id` of an order.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from mallard_client.errors import ClientError
from mallard_client.orders.client import OrderClient
from mallard_client.store_client import StoreClient
from mallard_engine.workload.bad_day.events import BadDay, BadEvent, parcels_there
from mallard_engine.workload.bad_day.ledger import Ledger
from mallard_protocol.codes import OnMissing
from mallard_protocol.resources import Job, JobRequest

PICKUP_CODE: Final = "4711"
# The least that an order may wait for missing parcels.
_HOLD_S: Final = 60
_FOUND_AFTER_S: Final = (2.0, 8.0)
_ANSWERED_AFTER_S: Final = (0.5, 2.0)
_CANCELLED_AFTER_S: Final = (0.5, 8.0)
_CLOSED_S: Final = 10.0
_NEVER_MS: Final = 2**53

# Returns the token of a shop's counter, from its mall and id.
ShopToken = Callable[[str, str], str]


class FleetPeople:
    """See the module.

    Args:
        orders: The order service's client.
        urls: The nodes.
        shop_token: Returns tokens of role ``store``.
    """

    def __init__(
        self, bad_day: BadDay, orders: OrderClient, urls: list[str], shop_token: ShopToken
    ) -> None:
        self.bad_day = bad_day
        self.ledger = Ledger()
        self._orders = orders
        self._urls = urls
        self._shop_token = shop_token
        self._tasks: list[asyncio.Task[None]] = []
        self._found: set[str] = set()
        self._at_home: set[str] = set()
        # Until when each shop is closed, by the loop's clock.
        self._closed_until_s: dict[tuple[str, str], float] = {}

    def prepared(self, request: JobRequest) -> JobRequest:
        """Return an order with what its event needs: a pickup code, or a second parcel."""
        event = self.event(str(request.external_id))
        (store,) = request.pickup.stores
        if event is BadEvent.WRONG_CODE:
            store = msgspec.structs.replace(store, pickup_code=PICKUP_CODE)
        if event is BadEvent.SHORT:
            store = msgspec.structs.replace(store, parcels=2)
        fails = (
            event is BadEvent.MISSING and self.bad_day.chance("fails", request.external_id) < 0.5
        )
        return msgspec.structs.replace(
            request,
            pickup=msgspec.structs.replace(request.pickup, stores=(store,)),
            parcels=msgspec.UNSET if event is BadEvent.SHORT else request.parcels,
            hold_s=_HOLD_S,
            on_missing=OnMissing.FAIL if fails else OnMissing.HOLD,
        )

    def placed(self, job: Job) -> None:
        """Note an accepted order; some are cancelled later."""
        order = str(job.external_id)
        self.know(job.id, order)
        if self.in_storm(order):
            self.happened(BadEvent.STORM)
        if self.event(order) is BadEvent.CANCELLED:
            self._later(_CANCELLED_AFTER_S, "cancel", order, lambda: self._cancel(job.id))

    def know(self, job: str, order: str) -> None:
        """Note an order that a driver has before the order service has its answer."""
        self.ledger.ordered(job, self.event(order), _NEVER_MS)

    def event(self, order: str) -> BadEvent | None:
        """Return the event of an order."""
        return self.bad_day.of_order(order)

    def happened(self, event: BadEvent) -> None:
        """Count an event that takes place."""
        self.ledger.happened[event] += 1

    def parcels(self, job: str, order: str, ordered: int) -> int:
        """Return how many parcels the counter has now."""
        return parcels_there(None if job in self._found else self.event(order), ordered)

    def closed_for_s(self, mall: str, store: str) -> float:
        """Return how long a shop stays closed; 0 if it is open."""
        return max(0.0, self._closed_until_s.get((mall, store), 0.0) - _now_s())

    def is_wrong_at_door(self, job: str) -> bool:
        """Return whether something is wrong at the door, and nobody has answered yet."""
        return job not in self._at_home

    def reported_missing(self, job: str, order: str, store: str) -> None:
        """Handle a report that parcels are missing; some shops find them later."""
        self.ledger.absent(job)
        if self.bad_day.comes_right(order):
            self._later(_FOUND_AFTER_S, "found", order, lambda: self._find(job, store))

    def reported_at_door(self, job: str, order: str) -> None:
        """Handle a report of a problem at the door; some customers answer."""
        if self.event(order) is not BadEvent.REFUSED and self.bad_day.comes_right(order):
            self._later(_ANSWERED_AFTER_S, "answered", order, lambda: self._answer(job))

    def in_storm(self, order: str) -> bool:
        """Return whether an order comes with the storm."""
        return self.bad_day.in_storm(order)

    async def close_shops(self, shops: dict[str, list[str]], over_s: float) -> None:
        """Close shops, and evacuate malls, at some time within `over_s`.

        Args:
            shops: The shops of each mall.
            over_s: How long orders arrive.
        """
        closing = []
        for mall, stores in shops.items():
            is_evacuated = self.bad_day.is_evacuated(mall)
            if is_evacuated:
                self.happened(BadEvent.EVACUATED)
            for store in stores:
                if is_evacuated or self.bad_day.closes(f"{mall}/{store}"):
                    name = mall if is_evacuated else f"{mall}/{store}"
                    at_s = self.bad_day.between(0.2 * over_s, 0.6 * over_s, "closes", name)
                    closing.append((at_s, mall, store, is_evacuated))
        started_s = _now_s()
        for at_s, mall, store, is_evacuated in sorted(closing):
            await asyncio.sleep(started_s + at_s - _now_s())
            await self._close(mall, store)
            if not is_evacuated:
                self.happened(BadEvent.CLOSED_SHOP)

    async def stop(self) -> None:
        """Cancel pending events.

        Raises:
            Exception: the first error of the events that have run.
        """
        for task in self._tasks:
            task.cancel()
        for outcome in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome

    async def _close(self, mall: str, store: str) -> None:
        until = datetime.now(UTC) + timedelta(seconds=_CLOSED_S)
        async with StoreClient(self._urls, self._shop_token(mall, store), mall, store) as till:
            await till.close_until(until)
        self._closed_until_s[mall, store] = _now_s() + _CLOSED_S

    async def _find(self, job: str, store: str) -> None:
        self._found.add(job)
        self.ledger.found(job)
        await self._orders.ready(job, store, datetime.now(UTC))

    async def _answer(self, job: str) -> None:
        problems = (await self._orders.get(job)).problems
        problem = next((it.id for it in problems if it.state == "open"), None)
        if problem is not None:
            await self._orders.answer(job, problem, "retry", "ring again")
            self._at_home.add(job)

    async def _cancel(self, job: str) -> None:
        await self._orders.cancel(job, "customer")
        self.happened(BadEvent.CANCELLED)

    def _later(
        self,
        bounds_s: tuple[float, float],
        what: str,
        order: str,
        act: Callable[[], Awaitable[Any]],
    ) -> None:
        async def wait() -> None:
            await asyncio.sleep(self.bad_day.between(*bounds_s, what, order))
            with contextlib.suppress(ClientError):  # the job has ended, or has gone on meanwhile
                await act()

        self._tasks.append(asyncio.create_task(wait()))


def _now_s() -> float:
    return time.monotonic()
