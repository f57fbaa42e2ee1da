"""Reports, positions and times between an app and the engine: checked, bounded, converted."""

import asyncio
from typing import Any

import pytest

from mallard_client import QueueFull, ReportSettled
from mallard_client.errors import RequestRefused
from mallard_protocol.lifecycle import Step
from tests.clients.conftest import CLOCK_MS, MakeApp
from tests.clients.counterpart import SERVER_TIME_MS, Counterpart, a_job, an_offer
from tests.clients.waits import Waits
from tests.support import eventually

JOB = "job_phoenix.1"


@pytest.mark.finding("C19")
async def test_steps_and_statuses_may_be_text(engine: Counterpart, app_of: MakeApp) -> None:
    app = app_of()
    events = app.events(ReportSettled)
    socket = await engine.accepted()
    await socket.welcome(state="on_run", jobs=[a_job()])
    going = asyncio.create_task(app.status("paused"))
    await socket.reply(await socket.read("status"), state="on_run")
    await going
    report = app.progress(JOB, "picked_up")
    request = await socket.read("progress")
    assert request["step"] == "picked_up"
    await socket.reply(request, state="on_run", job=JOB, job_state="picked_up", attempt=1)
    await report
    settled = await anext(events)
    assert isinstance(settled, ReportSettled)
    assert (settled.job, settled.step, settled.refusal) == (JOB, Step.PICKED_UP, None)


@pytest.mark.finding("C11")
@pytest.mark.parametrize(
    "wrong",
    [{"step": "flown"}, {"reason": "x" * 501}, {"reason": 7}, {"attempt": -1}, {"proof": "photo"}],
)
async def test_invalid_report_is_refused_at_once(
    engine: Counterpart, app_of: MakeApp, wrong: dict[str, Any]
) -> None:
    app = app_of()
    await (await engine.accepted()).welcome(state="on_run", jobs=[a_job()])
    await app.online()
    with pytest.raises(ValueError, match=r".+"):
        app.progress(JOB, **{"step": "at_mall", **wrong})
    assert app.unreported == 0


async def test_reports_are_bounded_and_none_is_dropped(
    engine: Counterpart, app_of: MakeApp
) -> None:
    app = app_of()
    for _ in range(1_000):
        app.progress(JOB, "at_mall", attempt=1)
    with pytest.raises(QueueFull):
        app.progress(JOB, "at_mall", attempt=1)
    assert app.unreported == 1_000


@pytest.mark.finding("C2")
async def test_fix_without_heading_speed_and_accuracy_is_kept(
    engine: Counterpart, app_of: MakeApp
) -> None:
    app = app_of()
    nan, inf = float("nan"), float("inf")
    assert app.location(33.3, -111.9, acc_m=65, heading_deg=-1, speed_mps=-1, at_ms=CLOCK_MS + 0.9)
    assert app.location(33.3, -111.9, acc_m=5, heading_deg=nan, speed_mps=inf)
    assert app.location(33.3, -111.9, acc_m=-1, heading_deg=361, speed_mps=1_001)
    assert app.location(33.3, -111.9)
    for lat, lon in ((nan, 0), (91, 0), (0, -181), (inf, 0)):
        assert not app.location(lat, lon, acc_m=5)
    assert app.fixes_dropped == 4
    socket = await engine.accepted()
    await socket.welcome()
    fixes = (await socket.read("location"))["fixes"]
    assert [fix[1:] for fix in fixes] == [
        [33.3, -111.9, 65, None, None],
        [33.3, -111.9, 5, None, None],
        [33.3, -111.9, None, None, None],
        [33.3, -111.9, None, None, None],
    ]
    assert all(isinstance(fix[0], int) for fix in fixes)


@pytest.mark.finding("C13")
async def test_reading_from_the_future_counts_as_now(engine: Counterpart, app_of: MakeApp) -> None:
    app = app_of()
    app.location(33.3, -111.9, acc_m=5, at_ms=CLOCK_MS + 3_600_000)
    socket = await engine.accepted()
    await socket.welcome()
    assert (await socket.read("location"))["fixes"][0][0] == SERVER_TIME_MS


@pytest.mark.finding("C13")
async def test_seconds_left_are_by_the_servers_clock(engine: Counterpart, app_of: MakeApp) -> None:
    app = app_of()
    socket = await engine.accepted()
    await socket.welcome()
    await socket.send("offer", **an_offer(expires_ms=SERVER_TIME_MS + 12_000))
    offer = await anext(app.offers())
    assert app.seconds_left(offer) == 12
    # A later stamp shows that the phone slept meanwhile.
    fields = an_offer("o2", 2, server_time_ms=SERVER_TIME_MS + 5_000)
    await socket.send("offer", **{**fields, "expires_ms": SERVER_TIME_MS + 12_000})
    assert app.seconds_left(await anext(app.offers())) == 7
    assert app.seconds_left(offer) == 0


@pytest.mark.finding("C19")
async def test_pace_ends_the_wait_for_the_next_fix(
    engine: Counterpart, app_of: MakeApp, waits: Waits
) -> None:
    app = app_of()
    socket = await engine.accepted()
    await socket.welcome(location_ms=20_000)
    await app.online()
    waits.passing.clear()
    app.location(33.3, -111.9, acc_m=5)
    await socket.read("location")
    app.location(33.4, -111.9, acc_m=5)
    await socket.send("pace", location_ms=2_000)
    await eventually(lambda: app.location_ms == 2_000)
    assert (await socket.read("location"))["fixes"][0][1] == 33.4


async def test_return_elsewhere_does_not_block_later_reports(
    engine: Counterpart, app_of: MakeApp
) -> None:
    app = app_of()
    socket = await engine.accepted()
    await socket.welcome(state="on_run", jobs=[a_job(state="returning")])
    await app.online()
    back = app.returned(JOB, photo="p-1")
    round_again = app.resume(JOB)
    await socket.refuse(await socket.read("progress"), "no_position", retry=True)
    with pytest.raises(RequestRefused) as refused:
        await back
    assert refused.value.code == "no_position"
    request = await socket.read("progress")
    assert request["step"] == "resume"
    await socket.reply(request, state="on_run", job=JOB, job_state="picked_up", attempt=1)
    await round_again


async def test_fixes_precede_the_return_that_needs_them(
    engine: Counterpart, app_of: MakeApp
) -> None:
    app = app_of()
    socket = await engine.accepted()
    await socket.welcome(state="on_run", location_ms=3_600_000, jobs=[a_job(state="returning")])
    await app.online()
    app.location(33.3, -111.9, acc_m=5)
    await socket.read("location")
    app.location(33.31, -111.9, acc_m=5)
    app.returned(JOB, photo="p-1")
    assert (await socket.read("location"))["fixes"][0][1:3] == [33.31, -111.9]
    assert (await socket.read("progress"))["step"] == "returned"
