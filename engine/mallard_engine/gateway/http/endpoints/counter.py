"""The counter of a shop: what a token of role `store` may call.

The token names the shop. A path of another shop is reported as missing, as any other route is.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

from mallard_engine.contract.reading.bodies import decode_json_body
from mallard_engine.core.job_ids import is_job_id, is_ulid, ulid_of_job
from mallard_engine.core.model import Job
from mallard_engine.core.places.opening_hours import day_start_ms
from mallard_engine.gateway.auth.tokens import Principal, Shop
from mallard_engine.gateway.http.driver_names import random_name
from mallard_engine.gateway.http.endpoints.jobs.access import ref_of
from mallard_engine.gateway.http.parameters import bad_request, whole_number
from mallard_engine.gateway.http.problems import HttpProblem, invalid_fields, not_found
from mallard_engine.gateway.http.request_parsing import JsonResponse, read_body
from mallard_engine.gateway.http.routing import Handler
from mallard_engine.gateway.http.views.jobs import pickup_view
from mallard_engine.gateway.http.views.rows import views_of
from mallard_engine.gateway.orders.complete_order import order_of
from mallard_engine.gateway.orders.ready_time import MAX_TRIES, change_ready
from mallard_engine.gateway.services import Services
from mallard_engine.gateway.timestamps import Moment, epoch_ms, utc
from mallard_engine.ports import NoSuchJob
from mallard_protocol.codes import MAX_PAGE, ProblemCode
from mallard_protocol.counter import (
    HandoverRequest,
    PickupDriver,
    PickupEta,
    PickupReport,
    ShopHours,
    ShopHoursRequest,
    ShopPickup,
    ShopPickupList,
    ShopReturn,
    ShopReturnList,
)
from mallard_protocol.lifecycle import JobState, ShopState
from mallard_protocol.resources import FieldError

_DEFAULT_PAGE: Final = 50
_PARCELS_OF: Final = {
    "ready": "`ready` means all parcels; for fewer say `short`: the order's number is",
    "short": "`short` needs how many parcels are there: more than none, and fewer than all",
    "missing": "`missing` means that no parcel is there",
}


class CounterApi:
    """Handlers that the counter of a shop may call."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._store = services.store
        self._shops = services.dispatcher.shops

    def handlers(self) -> dict[str, Handler]:
        """Return the handlers by the operation's name."""
        return {
            "listPickups": self.pickups,
            "reportPickup": self.report,
            "handOverParcels": self.hand_over,
            "listReturns": self.returns,
            "receiveReturn": self.receive,
            "setShopHours": self.hours,
        }

    async def pickups(self, request: Request, principal: Principal) -> Response:
        """Return a page of the shop's jobs that are open or were collected today."""
        shop = self._shop(request, principal)
        limit = whole_number(request, "limit", low=1, high=MAX_PAGE, default=_DEFAULT_PAGE)
        mall = self._services.places.mall(shop.mall)
        page = await self._store.shops.pickups(
            mall.market,
            *shop,
            since_ms=day_start_ms(mall.hours, self._store.now_ms()),
            limit=limit,
            cursor=_job_before(request, mall.market),
        )
        drivers = await self._drivers(mall.market, shop, page.jobs)
        closed = await self._closed(mall.market, shop)
        items = views_of(
            page.jobs, lambda it: _pickup_view(it, shop, drivers, closed), lambda it: it.id
        )
        cursor = page.next_cursor and ulid_of_job(page.next_cursor)
        return JsonResponse(ShopPickupList(items, cursor))

    async def report(self, request: Request, principal: Principal) -> Response:
        """Store what the shop has of a job's parcels, and do what the order says of that."""
        shop = self._shop(request, principal)
        asked = decode_json_body(await read_body(request), PickupReport)
        job = await self._job(request, shop)
        check_report(asked, ordered_of(job, shop.store))
        if asked.state == "ready":
            await self._ready(request, shop, asked)
        else:
            parcels = asked.parcels if asked.state == "short" else None
            await self._shops.says(
                ref_of(job), shop.store, ShopState(asked.state), parcels or None, actor_of(shop)
            )
        return await self._current(job, shop)

    async def _ready(self, request: Request, shop: Shop, asked: PickupReport) -> None:
        now_ms = self._store.now_ms()
        ready_at = utc(now_ms) if asked.ready_at is UNSET else asked.ready_at
        for _ in range(MAX_TRIES):
            job = await self._job(request, shop)
            # A repeat without a time does not move the time that has passed.
            known = next(it for it in order_of(job).pickup.stores if it.store == shop.store)
            if asked.ready_at is UNSET and known.ready_ms <= now_ms:
                ready_at = known.ready_at
            if await change_ready(self._services, job, shop.store, ready_at, actor_of(shop)):
                await self._services.dispatcher.orders.lift_hold(
                    shop.mall, shop.store, epoch_ms(ready_at)
                )
                return
        raise HttpProblem(ProblemCode.STORE_UNAVAILABLE, "the job is being changed: try again")

    async def hand_over(self, request: Request, principal: Principal) -> Response:
        """Hand over parcels against the code that the driver shows."""
        shop = self._shop(request, principal)
        asked = decode_json_body(await read_body(request), HandoverRequest)
        job = await self._job(request, shop)
        parcels = None if asked.parcels is UNSET else asked.parcels
        ordered = ordered_of(job, shop.store)
        if parcels is not None and parcels > ordered:
            raise too_many(ordered)
        await self._shops.hand_over(job, shop.store, asked.code, parcels, actor_of(shop))
        return await self._current(job, shop)

    async def returns(self, request: Request, principal: Principal) -> Response:
        """Return a page of the jobs that come back to the shop.

        From then on their drivers must type the code that the shop is shown.
        """
        shop = self._shop(request, principal)
        limit = whole_number(request, "limit", low=1, high=MAX_PAGE, default=_DEFAULT_PAGE)
        market = self._services.places.mall(shop.mall).market
        cursor = _job_before(request, market)
        page = await self._store.shops.returns(market, *shop, limit=limit, cursor=cursor)
        await self._store.returns.show_codes(market, *shop, [job.id for job in page.jobs])
        drivers = await self._drivers(market, shop, page.jobs)
        items = views_of(page.jobs, lambda it: _return_view(it, drivers), lambda it: it.id)
        after = page.next_cursor and ulid_of_job(page.next_cursor)
        return JsonResponse(ShopReturnList(items, after))

    async def receive(self, request: Request, principal: Principal) -> Response:
        """End a job whose parcels have come back to the shop."""
        shop = self._shop(request, principal)
        job = await self._read(request)
        place = job.return_to
        if place is None or (place.mall, place.store) != shop:
            raise NoSuchJob(job.id)
        await self._services.dispatcher.orders.received(ref_of(job), actor_of(shop))
        job = await self._store.jobs.get(job.id)
        drivers = await self._drivers(job.market, shop, [job])
        return JsonResponse(_return_view(job, drivers))

    async def hours(self, request: Request, principal: Principal) -> Response:
        """Close the shop until a time, or open it again."""
        shop = self._shop(request, principal)
        asked = decode_json_body(await read_body(request), ShopHoursRequest)
        until_ms = 0 if asked.closed_until is UNSET else epoch_ms(asked.closed_until)
        await self._shops.set_hours(shop.mall, shop.store, until_ms, actor_of(shop))
        is_closed = until_ms > self._store.now_ms()
        return JsonResponse(ShopHours(Moment.at_ms(until_ms) if is_closed else None))

    async def _job(self, request: Request, shop: Shop) -> Job:
        """Return the job of the path. Raises `NoSuchJob` unless it has parcels at the shop."""
        job = await self._read(request)
        if job.mall != shop.mall or shop.store not in job.need.stores:
            raise NoSuchJob(job.id)
        return job

    async def _read(self, request: Request) -> Job:
        job_id = request.path_params["job"]
        if not is_job_id(job_id):
            raise NoSuchJob(job_id)
        return await self._store.jobs.get(job_id)

    async def _current(self, job: Job, shop: Shop) -> Response:
        job = await self._store.jobs.get(job.id)
        drivers = await self._drivers(job.market, shop, [job])
        closed = await self._closed(job.market, shop)
        return JsonResponse(_pickup_view(job, shop, drivers, closed))

    async def _closed(self, market: str, shop: Shop) -> frozenset[str]:
        """Return the shop if its counter has closed it."""
        hold = (await self._store.jobs.holds(market)).get("/".join(shop))
        is_closed = hold is not None and hold.own_word_ms > self._store.now_ms()
        return frozenset({shop.store} if is_closed else ())

    async def _drivers(
        self, market: str, shop: Shop, jobs: Sequence[Job]
    ) -> Mapping[str, PickupDriver]:
        """Return what the shop is shown of the jobs' drivers, by their ids."""
        drivers = sorted({job.driver for job in jobs if job.driver})
        if not drivers:
            return {}
        vehicles = await self._store.shops.vehicles(market, drivers)
        names = {driver: random_name() for driver in drivers}
        # Each shop has names of its own, as each service has: no service's name has a slash.
        aliases = await self._store.register.aliases(market, "/".join(shop), names)
        return {it: PickupDriver(aliases[it], vehicles.get(it)) for it in drivers}

    def _shop(self, request: Request, principal: Principal) -> Shop:
        """Return the shop of the path. Raises 404 unless it is the token's and is served here."""
        shop = Shop(request.path_params["mall"], request.path_params["store"])
        mall = self._services.places.malls.get(shop.mall)
        if (
            shop != principal.shop
            or mall is None
            or shop.store not in mall.stores
            or principal.market not in {None, mall.market}
        ):
            raise not_found("shop")
        return shop


def _job_before(request: Request, market: str) -> str | None:
    """Return the job at which the page before has ended; None for the first page."""
    cursor = request.query_params.get("cursor")
    if not cursor:
        return None
    if not is_ulid(cursor):
        raise bad_request("cursor is not a next_cursor of an earlier page")
    return f"job_{market}.{cursor}"


def ordered_of(job: Job, store: str) -> int:
    """Return how many parcels the order has at the shop."""
    return sum(it.parcels for it in order_of(job).pickup.stores if it.store == store)


def too_many(ordered: int) -> HttpProblem:
    """Return the 422 for more parcels than ordered."""
    return invalid_fields(FieldError("/parcels", f"the order has {ordered} there"))


def check_report(asked: PickupReport, ordered: int) -> None:
    """Raise 422 unless the fields of a shop's report agree with each other and with the order."""
    parcels = None if asked.parcels is UNSET else asked.parcels
    if parcels is not None and parcels > ordered:
        raise too_many(ordered)
    expected = {
        "ready": parcels in {None, ordered},
        "short": parcels is not None and 0 < parcels < ordered,
        "missing": parcels in {None, 0},
    }
    if not expected[asked.state]:
        raise invalid_fields(FieldError("/parcels", f"{_PARCELS_OF[asked.state]} of {ordered}"))
    if asked.state != "ready" and asked.ready_at is not UNSET:
        raise invalid_fields(FieldError("/ready_at", "only `ready` has a time"))


def _pickup_view(
    job: Job, shop: Shop, drivers: Mapping[str, PickupDriver], closed: frozenset[str]
) -> ShopPickup:
    """Return a job as far as it concerns the shop."""
    order = order_of(job)
    at_ms = job.eta_pickup_ms
    stores = pickup_view(job, order, closed).stores
    return ShopPickup(
        id=job.id,
        state=job.state.value,
        stores=tuple(it for it in stores if it.store == shop.store),
        driver=drivers[job.driver] if job.driver else None,
        eta=PickupEta(None if at_ms is None else Moment.at_ms(at_ms)),
        external_id=order.external_id,
    )


def _return_view(job: Job, drivers: Mapping[str, PickupDriver]) -> ShopReturn:
    """Return a job that comes back, as far as it concerns the place."""
    return ShopReturn(
        id=job.id,
        state=job.state.value,
        parcels=sum(shop.collected for shop in job.shops) or order_of(job).parcels.count,
        code=job.return_code if job.state is JobState.RETURNING else None,
        driver=drivers[job.driver] if job.driver else None,
        external_id=order_of(job).external_id,
    )


def actor_of(shop: Shop) -> str:
    """Return the name under which timelines and events show what the shop did.

    No id has a slash, so that it is never taken for a driver or a service.
    """
    return f"store/{shop.store}"
