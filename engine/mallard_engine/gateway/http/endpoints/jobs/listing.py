"""Lists jobs, newest first, by merging the lists of the markets page by page.

Job ids sort by time in every market, so one ULID is a cursor into all of them: a page holds the
jobs that are older than it.
"""

import asyncio
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from mallard_engine.core.job_ids import first_ulid, is_ulid, ulid_of_job
from mallard_engine.core.model import Job
from mallard_engine.gateway.auth.tokens import Principal
from mallard_engine.gateway.http.driver_names import names_for
from mallard_engine.gateway.http.endpoints.jobs.access import owner_of
from mallard_engine.gateway.http.parameters import bad_request, instant_ms, is_id, whole_number
from mallard_engine.gateway.http.request_parsing import JsonResponse
from mallard_engine.gateway.http.views.jobs import job_view
from mallard_engine.gateway.http.views.rows import views_of
from mallard_engine.gateway.services import Services
from mallard_engine.gateway.transfers import open_transfer
from mallard_engine.ports import JobPage, JobQuery
from mallard_protocol import resources
from mallard_protocol.codes import MAX_PAGE, Role
from mallard_protocol.instants import EARLIEST_MS, LATEST_MS
from mallard_protocol.lifecycle import JobState

_DEFAULT_PAGE: Final = 50
# An id is created before its job is stored, by the node's last reading of Redis's clock.
_ID_MARGIN_MS: Final = 60_000


class JobList:
    """The handler of `listJobs`."""

    def __init__(self, services: Services) -> None:
        self._store = services.store
        self._markets = tuple(services.places.markets)
        self._public_url = services.public_url

    async def page(self, request: Request, principal: Principal) -> Response:
        """Return a page of the jobs that the principal may see, of one market or of all."""
        limit = whole_number(request, "limit", low=1, high=MAX_PAGE, default=_DEFAULT_PAGE)
        query = _query_of(request)
        newest = first_ulid(query.created_to_ms + _ID_MARGIN_MS)
        oldest = first_ulid(max(0, query.created_from_ms - _ID_MARGIN_MS))
        cursor = request.query_params.get("cursor") or newest
        if not is_ulid(cursor):
            raise bad_request("cursor is not a next_cursor of an earlier page")
        pages = await asyncio.gather(
            *(
                self._store.jobs.page(
                    market,
                    query,
                    service=owner_of(principal),
                    limit=limit,
                    cursor=f"job_{market}.{min(cursor, newest)}",
                    oldest=f"job_{market}.{oldest}",
                )
                for market in self._markets_of(request.query_params.get("market"), principal)
            )
        )
        jobs, next_cursor = merged(pages, limit)
        found = await asyncio.gather(*(open_transfer(self._store, job) for job in jobs))
        carriers = {job.id: it for job, it in zip(jobs, found, strict=True) if it is not None}
        names = await names_for(principal, self._store, *jobs, *carriers.values())
        with_code = principal.role is Role.OPERATOR
        url = self._public_url
        views = views_of(
            jobs,
            lambda job: job_view(
                job, names, None, carriers.get(job.id), with_code=with_code, public_url=url
            ),
            lambda job: job.id,
        )
        return JsonResponse(resources.JobList(views, next_cursor))

    def _markets_of(self, market: str | None, principal: Principal) -> tuple[str, ...]:
        if market is None:
            return tuple(filter(principal.reaches, self._markets))
        if market not in self._markets:
            raise bad_request("no such market")
        return (market,)


def _query_of(request: Request) -> JobQuery:
    """Parse the filters of a request."""
    external_id = request.query_params.get("external_id")
    if external_id is not None and not is_id(external_id):
        raise bad_request("external_id is 1-64 of A-Z a-z 0-9 _ . : -")
    created_from_ms = instant_ms(request, "created_from", default=EARLIEST_MS)
    created_to_ms = instant_ms(request, "created_to", default=LATEST_MS)
    if created_from_ms > created_to_ms:
        raise bad_request("created_from is after created_to")
    return JobQuery(
        states=_states(request.query_params.get("state")),
        external_id=external_id,
        created_from_ms=created_from_ms,
        created_to_ms=created_to_ms,
        updated_since_ms=instant_ms(request, "updated_since", default=EARLIEST_MS),
    )


def _states(text: str | None) -> frozenset[str]:
    """Parse a comma-separated list of states; empty means any state."""
    if text is None:
        return frozenset()
    states = frozenset(text.split(","))
    if not states <= set(JobState):
        raise bad_request(f"state is one or more of {','.join(JobState)}, separated by commas")
    return states


def merged(pages: list[JobPage], limit: int) -> tuple[list[Job], str | None]:
    """Merge one page of each market into one page; return it with its cursor.

    A market's page may end before it is full, since the store scans a bounded number of jobs per
    call. Jobs of other markets that are older than that point are left to the next page; otherwise
    newer jobs of the first market would follow them.
    """
    horizons = [ulid_of_job(page.next_cursor) for page in pages if page.next_cursor]
    horizon = max(horizons, default="")
    jobs = [job for page in pages for job in page.jobs if ulid_of_job(job.id) >= horizon]
    jobs.sort(key=lambda job: ulid_of_job(job.id), reverse=True)
    page = jobs[:limit]
    cursor = ulid_of_job(page[-1].id) if len(jobs) > limit else horizon or None
    return page, cursor
