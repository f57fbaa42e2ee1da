"""Where a job is: for its order service, and by the customer's link."""

from starlette.requests import Request
from starlette.responses import Response

from mallard_engine.gateway.auth.tokens import Principal
from mallard_engine.gateway.http.endpoints.jobs.access import job_of
from mallard_engine.gateway.http.problems import not_found
from mallard_engine.gateway.http.request_parsing import JsonResponse
from mallard_engine.gateway.http.routing import Handler, PublicHandler
from mallard_engine.gateway.services import Services
from mallard_engine.gateway.tracking import is_over, is_token, tracking_of


class TrackingApi:
    """Handlers of tracking."""

    def __init__(self, services: Services) -> None:
        self._store = services.store

    def handlers(self) -> dict[str, Handler]:
        """Return the handlers by the operation's name."""
        return {"getTracking": self.read, "endTracking": self.end}

    def public_handlers(self) -> dict[str, PublicHandler]:
        """Return the handlers of operations without a token."""
        return {"trackJob": self.track}

    async def read(self, request: Request, principal: Principal) -> Response:
        """Return where a job is."""
        job = await job_of(request, principal, self._store)
        return JsonResponse(await tracking_of(self._store, job))

    async def end(self, request: Request, principal: Principal) -> Response:
        """End tracking by the customer's link."""
        job = await job_of(request, principal, self._store)
        await self._store.jobs.end_tracking(job.id)
        return Response(status_code=204)

    async def track(self, request: Request) -> Response:
        """Return where the job of a link is. A browser's address may have any query."""
        token = request.path_params["token"]
        job = await self._store.jobs.tracked(token) if is_token(token) else None
        if job is None or is_over(job, self._store.now_ms()):
            raise not_found("tracked job")
        return JsonResponse(await tracking_of(self._store, job))
