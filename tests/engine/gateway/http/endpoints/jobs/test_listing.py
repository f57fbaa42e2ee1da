from dataclasses import replace

import pytest

from mallard_engine.core.model import Job, Need, TimelineEntry
from mallard_engine.gateway.http.driver_names import IDS
from mallard_engine.gateway.http.endpoints.jobs.listing import merged
from mallard_engine.gateway.http.views.jobs import job_view
from mallard_engine.gateway.http.views.rows import views_of
from mallard_engine.ports import JobPage
from mallard_protocol.lifecycle import JobState

NEED = Need(("lego",), 0, 0, 0, 33.0, -111.0, 1, 0, 0.0, (), 0, 0)
BODY = (
    b'{"pickup":{"mall":"m","stores":[{"store":"lego","ready_at":"2026-11-23T19:00:00Z",'
    b'"parcels":1}],"window_end":"2026-11-24T19:00:00Z"},"dropoff":{"lat":33,"lon":-111,'
    b'"deadline":"2026-11-24T19:00:00Z"},"parcels":{"count":1},"requires":[],"priority":0}'
)


def job(market: str, minute: int) -> Job:
    return Job(
        id=job_id(market, minute),
        market=market,
        service="shop",
        mall="m",
        state=JobState.QUEUED,
        attempt=0,
        driver=None,
        offer=None,
        reason=None,
        created_ms=minute,
        updated_ms=minute,
        expires_ms=0,
        deadline_ms=0,
        release_ms=0,
        priority=0,
        external_id=None,
        body=BODY,
        card=b"",
        need=NEED,
        eta_pickup_ms=None,
        eta_dropoff_ms=None,
        timeline=(TimelineEntry("queued", minute, "shop", "submitted"),),
        asked=(),
    )


def job_id(market: str, minute: int) -> str:
    return f"job_{market}.{minute:026d}"


def page(market: str, *minutes: int, more_before: int | None = None) -> JobPage:
    cursor = None if more_before is None else job_id(market, more_before)
    return JobPage(tuple(job(market, minute) for minute in minutes), cursor)


def ids(pages: list[JobPage], limit: int) -> tuple[list[int], int | None]:
    jobs, cursor = merged(pages, limit)
    listed = views_of(jobs, lambda job: job_view(job, IDS), lambda job: job.id)
    minutes = [int(it.id.rpartition(".")[2]) for it in listed]
    return minutes, None if cursor is None else int(cursor)


def test_markets_are_merged_newest_first() -> None:
    assert ids([page("a", 9, 5), page("b", 8, 7, 1)], 10) == ([9, 8, 7, 5, 1], None)
    assert ids([page("a"), page("b")], 10) == ([], None)


def test_surplus_jobs_are_on_the_next_page() -> None:
    pages = [page("a", 9, 5), page("b", 8, 7, 1)]
    assert ids(pages, 3) == ([9, 8, 7], 7)
    assert ids(pages, 5) == ([9, 8, 7, 5, 1], None)


def test_full_page_of_one_market_has_a_cursor() -> None:
    assert ids([page("a", 9, 8, more_before=8), page("b")], 2) == ([9, 8], 8)


def test_partly_scanned_market_holds_back_older_jobs() -> None:
    """Redis scans a bounded number of jobs per call, so `a` has older matches left."""
    assert ids([page("a", 9, more_before=6), page("b", 8, 5, 4)], 10) == ([9, 8], 6)
    assert ids([page("a", more_before=6), page("b", 5)], 10) == ([], 6)


@pytest.mark.finding("D1")
def test_bad_row_does_not_hide_others(capsys: pytest.CaptureFixture[str]) -> None:
    odd = replace(job("a", 7), expires_ms=10**15)
    worse = replace(job("a", 6), body=b"{")
    pages = [JobPage((job("a", 9), odd, worse, job("a", 5)), None)]
    for _ in range(2):
        assert ids(pages, 10) == ([9, 5], None)
    # The page continues after a row that is left out.
    assert ids(pages, 2) == ([9], 7)
    assert capsys.readouterr().out.count(odd.id) == 1
