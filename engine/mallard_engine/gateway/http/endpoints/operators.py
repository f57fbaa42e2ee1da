"""Operators: list and suspend drivers; assign, unassign and close jobs."""

from typing import Final

from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

from mallard_engine.contract.reading.bodies import decode_json_body
from mallard_engine.core.model import Driver, Job
from mallard_engine.dispatch.transfers import NothingOnBoard, NotOnBoard
from mallard_engine.gateway.auth.tokens import Principal
from mallard_engine.gateway.http.endpoints.driver_path import driver_of, market_of
from mallard_engine.gateway.http.endpoints.jobs.access import job_of, ref_of, shown
from mallard_engine.gateway.http.parameters import metres, point
from mallard_engine.gateway.http.problems import HttpProblem, invalid_fields
from mallard_engine.gateway.http.request_parsing import JsonResponse, read_body
from mallard_engine.gateway.http.routing import Handler
from mallard_engine.gateway.http.views.drivers import driver_view
from mallard_engine.gateway.http.views.rows import views_of
from mallard_engine.gateway.services import Services
from mallard_engine.ports import NoSuchDriver, TransferOpen
from mallard_protocol.codes import ProblemCode
from mallard_protocol.lifecycle import JobState
from mallard_protocol.resources import (
    AssignRequest,
    CloseRequest,
    DriverList,
    DriverView,
    FieldError,
    SuspendRequest,
    TransferRequest,
    UnassignRequest,
)

MAX_DRIVERS: Final = 1000
# Covers any metro area from its centre.
_DEFAULT_RADIUS_M: Final = 100_000.0
_MAX_RADIUS_M: Final = 500_000.0


class OperatorsApi:
    """Handlers that only operators may call."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._store = services.store
        self._dispatcher = services.dispatcher

    def handlers(self) -> dict[str, Handler]:
        """Return the handlers by the operation's name."""
        return {
            "listDrivers": self.drivers,
            "suspendDriver": self.suspend,
            "resumeDriver": self.resume,
            "transferJobs": self.transfer,
            "assignJob": self.assign,
            "unassignJob": self.unassign,
            "closeJob": self.close,
        }

    async def drivers(self, request: Request, _principal: Principal) -> Response:
        """Return the drivers nearest to a point, at most `MAX_DRIVERS`.

        The defaults cover the whole market: its centroid, and `_DEFAULT_RADIUS_M`.
        """
        market = market_of(request, self._services)
        centroid = market.area.centroid
        lat, lon = point(request, "near") or (centroid.y, centroid.x)
        radius_m = metres(request, "radius_m", high=_MAX_RADIUS_M, default=_DEFAULT_RADIUS_M)
        found = await self._store.drivers.near(market.id, lat, lon, radius_m, MAX_DRIVERS)
        views = views_of(found, lambda it: self._view(market.id, it), lambda it: it.id)
        return JsonResponse(DriverList(views))

    async def suspend(self, request: Request, _principal: Principal) -> Response:
        """Take a driver out of matching until resumed."""
        body = decode_json_body(await read_body(request), SuspendRequest)
        market, driver = driver_of(request, self._services)
        answered = await self._dispatcher.drivers.suspend(market, driver, body.reason)
        return JsonResponse(self._view(market, answered.driver))

    async def resume(self, request: Request, _principal: Principal) -> Response:
        """Make a suspended driver available to matching again."""
        market, driver = driver_of(request, self._services)
        answered = await self._dispatcher.drivers.resume(market, driver)
        return JsonResponse(self._view(market, answered.driver))

    async def transfer(self, request: Request, principal: Principal) -> Response:
        """Hand the parcels that a driver has on board over to another driver."""
        body = decode_json_body(await read_body(request) or b"{}", TransferRequest)
        market, first = driver_of(request, self._services)
        at = None if body.at is UNSET else (body.at.lat, body.at.lon)
        if at is not None and not self._services.places.in_area(market, *at):
            raise invalid_fields(FieldError("/at", "outside the market's area"))
        # A missing first driver is 404; a missing second one is a wrong field.
        await self._store.drivers.snapshot(market, first)
        try:
            job = await self._dispatcher.transfers.begin(
                market,
                first,
                jobs=None if body.jobs is UNSET else body.jobs,
                driver=None if body.driver is UNSET else body.driver,
                at=at,
                actor=principal.sub,
            )
        except NoSuchDriver as error:
            raise invalid_fields(FieldError("/driver", "unknown driver")) from error
        except NotOnBoard as refused:
            detail = "the driver does not have it on board"
            raise invalid_fields(FieldError(f"/jobs/{refused.place}", detail)) from refused
        except NothingOnBoard:
            raise HttpProblem(ProblemCode.WRONG_STATE, "the driver has nothing on board") from None
        except TransferOpen as other:
            detail = f"a job is part of the transfer {other.transfer}"
            raise HttpProblem(ProblemCode.WRONG_STATE, detail) from None
        response = await shown(request, job, principal, self._services)
        response.headers["Location"] = f"/v1/jobs/{job.id}"
        return response

    async def assign(self, request: Request, principal: Principal) -> Response:
        """Assign a job to a driver."""
        body = decode_json_body(await read_body(request), AssignRequest)
        job = await job_of(request, principal, self._store)
        try:
            await self._dispatcher.orders.assign(ref_of(job), body.driver, principal.sub)
        except NoSuchDriver as error:
            raise invalid_fields(FieldError("/driver", "unknown driver")) from error
        return await self._current(request, job, principal)

    async def unassign(self, request: Request, principal: Principal) -> Response:
        """Take a job from its driver and search for another one."""
        body = decode_json_body(await read_body(request), UnassignRequest)
        job = await job_of(request, principal, self._store)
        await self._dispatcher.orders.unassign(ref_of(job), job.attempt, principal.sub, body.reason)
        return await self._current(request, job, principal)

    async def close(self, request: Request, principal: Principal) -> Response:
        """End a job that is on board, in a state that the operator names."""
        body = decode_json_body(await read_body(request), CloseRequest)
        job = await job_of(request, principal, self._store)
        state = JobState(body.state)
        await self._dispatcher.orders.close(ref_of(job), state, principal.sub, body.reason)
        return await self._current(request, job, principal)

    def _view(self, market: str, driver: Driver) -> DriverView:
        barred = self._dispatcher.drivers.barred(market, driver, self._store.now_ms())
        return driver_view(driver, barred)

    async def _current(self, request: Request, job: Job, principal: Principal) -> Response:
        return await shown(request, await self._store.jobs.get(job.id), principal, self._services)
