"""What a driver app does when its socket ends: advice, waiting, buffers, order, tokens."""

import asyncio
from collections.abc import Iterator

import msgspec
import pytest

from mallard_client.driver.reporting.fix_sender import BURST_EVERY_S, BURST_FRAMES
from mallard_client.errors import RequestRefused, Stopped
from mallard_protocol.codes import RATE_BURST_BYTES, RATE_BYTES_PER_S, RATE_FRAMES_PER_S
from mallard_protocol.lifecycle import Step, Wish
from mallard_protocol.messages import MAX_FIXES, Location, Proof
from tests.clients.conftest import CLOCK_MS, MakeApp
from tests.clients.counterpart import SERVER_TIME_MS, Counterpart, a_job
from tests.clients.waits import Waits
from tests.support import eventually

JOB = "job_phoenix.1"


async def test_offline_fixes_are_sent_first_after_reconnecting(
    engine: Counterpart, app_of: MakeApp, subprotocol: str
) -> None:
    app = app_of(subprotocol=subprotocol, fix_limit=150)
    for index in range(160):
        app.location(33.4, -111.9, acc_m=5, heading_deg=90, at_ms=CLOCK_MS + index)
    going = asyncio.create_task(app.status(Wish.AVAILABLE))
    socket = await engine.accepted()
    await socket.welcome(state="offline")

    first = (await socket.read("location"))["fixes"]
    second = (await socket.read("location"))["fixes"]
    assert (len(first), len(second)) == (100, 50)
    # The ten oldest made room; times are the server's now.
    assert first[0] == [SERVER_TIME_MS + 10, 33.4, -111.9, 5, 90, None]
    assert second[-1][0] == SERVER_TIME_MS + 159
    assert app.fixes_dropped == 10
    await socket.reply(await socket.read("status"))
    await going


async def test_many_stored_fixes_are_sent_as_fast_as_a_socket_may_send(
    engine: Counterpart, app_of: MakeApp, waits: Waits
) -> None:
    app = app_of(fix_limit=5_000)
    for index in range(4_500):
        app.location(33.4, -111.9, at_ms=CLOCK_MS + index)
    going = asyncio.create_task(app.status(Wish.AVAILABLE))
    waits.passing.clear()
    socket = await engine.accepted()
    await socket.welcome(state="offline", location_ms=2_500)
    for count in range(45):
        if count == 20:
            await eventually(lambda: 4.0 in waits.seconds)
            # Messages are read and answered meanwhile.
            await socket.send("ping")
            await socket.read("pong")
            waits.passing.set()
        assert len((await socket.read("location"))["fixes"]) == 100
    await socket.reply(await socket.read("status"))
    await going
    assert waits.seconds.count(4.0) == 2


def test_burst_of_stored_fixes_is_within_the_limits_of_a_socket() -> None:
    fix = (SERVER_TIME_MS, -33.1234567, -111.1234567, 12.345678901234567) + 2 * (123.456789012345,)
    frame = msgspec.json.encode(Location((fix,) * MAX_FIXES, now_ms=SERVER_TIME_MS))
    size = BURST_FRAMES * len(frame)
    assert size < 0.8 * RATE_BURST_BYTES  # the rest is for reports
    assert size / BURST_EVERY_S < RATE_BYTES_PER_S
    assert BURST_FRAMES / BURST_EVERY_S < RATE_FRAMES_PER_S


async def test_fixes_are_sent_at_the_advised_interval(
    engine: Counterpart, app_of: MakeApp, waits: Waits
) -> None:
    app = app_of()
    socket = await engine.accepted()
    await socket.welcome(location_ms=2_500)
    await app.online()
    app.location(33.4, -111.9, acc_m=5)
    await socket.read("location")
    await eventually(lambda: waits.seconds == [2.5])


async def test_offline_reports_keep_their_order_and_times(
    engine: Counterpart, app_of: MakeApp, waits: Waits, subprotocol: str
) -> None:
    app = app_of(subprotocol=subprotocol)
    socket = await engine.accepted()
    await socket.welcome(state="on_run", jobs=[a_job(attempt=3)])
    await app.online()
    waits.passing.clear()
    socket.abort()
    await eventually(lambda: not app.connected)

    arrived = app.progress(JOB, Step.AT_MALL, at_ms=CLOCK_MS + 1)
    collected = app.progress(JOB, Step.PICKED_UP, at_ms=CLOCK_MS + 2)
    handed_over = app.progress(
        JOB, Step.DELIVERED, at_ms=CLOCK_MS + 3, proof=Proof("photo", "p1"), reason="at the door"
    )
    waits.passing.set()
    socket = await engine.accepted()
    hello = await socket.welcome(state="on_run", jobs=[a_job(attempt=3)])
    assert hello["holds"] == [{"job": JOB, "attempt": 3, "state": "assigned"}]

    report = await socket.read("progress")
    assert (report["step"], report["attempt"]) == ("at_mall", 3)
    assert report["at_ms"] == SERVER_TIME_MS + 1
    # The link breaks before the answer: the report is sent again, and nothing overtakes it.
    socket.abort()
    socket = await engine.accepted()
    await socket.welcome(state="on_run", jobs=[a_job(attempt=3)])
    report = await socket.read("progress")
    assert report["step"] == "at_mall"
    await socket.reply(report, state="on_run", job=JOB, job_state="at_mall", attempt=3)
    assert (await arrived).job_state == "at_mall"

    report = await socket.read("progress")
    assert report["step"] == "picked_up"
    await socket.reply(report, state="on_run", job=JOB, job_state="picked_up", attempt=3)
    await collected
    assert app.jobs[JOB].state == "picked_up"

    report = await socket.read("progress")
    assert report["proof"] == {"kind": "photo", "value": "p1"}
    assert report["reason"] == "at the door"
    await socket.reply(report, job=JOB, job_state="delivered", attempt=3)
    await handed_over
    assert app.jobs == {}
    assert app.unreported == 0


@pytest.mark.parametrize("step", [Step.DELIVERED, Step.RETURNED])
async def test_confirmed_end_that_the_engine_has_lost_is_reported_again(
    engine: Counterpart, app_of: MakeApp, step: Step
) -> None:
    app = app_of()
    before = "returning" if step is Step.RETURNED else "picked_up"
    held = a_job(attempt=3, state=before)
    socket = await engine.accepted()
    await socket.welcome(state="on_run", jobs=[held])
    await app.online()
    ended = app.progress(JOB, step, at_ms=CLOCK_MS + 1, proof=Proof("code", "1234"))
    first = await socket.read("progress")
    await socket.reply(first, job=JOB, job_state=step, attempt=3)
    await ended
    # The node that has confirmed it died together with the store's server.
    socket.abort()
    socket = await engine.accepted()
    await socket.welcome(state="on_run", jobs=[a_job(attempt=4, state=before)])
    again = await socket.read("progress")
    assert again == {**first, "id": again["id"], "attempt": 4}
    await socket.reply(again, job=JOB, job_state=step, attempt=4)
    await eventually(lambda: app.jobs == {})
    assert app.unreported == 0


async def test_custody_raises_the_attempt_of_later_reports(
    engine: Counterpart, app_of: MakeApp, waits: Waits
) -> None:
    app = app_of()
    socket = await engine.accepted()
    await socket.welcome(state="on_run", jobs=[a_job(attempt=3)])
    await app.online()
    waits.passing.clear()
    socket.abort()
    await eventually(lambda: not app.connected)
    # In a basement, while the engine takes the driver for silent and offers the job to others.
    app.progress(JOB, Step.PICKED_UP)
    delivered = app.progress(JOB, Step.DELIVERED)
    waits.passing.set()
    socket = await engine.accepted()
    await socket.welcome(state="offline", jobs=[])
    report = await socket.read("progress")
    assert report["attempt"] == 3
    # The push may come before the reply, and must not hide that the attempt has risen.
    job = {"job": JOB, "attempt": 6, "state": "picked_up"}
    await socket.send("job", seq=1, **job, detail=a_job(attempt=6, state="picked_up"))
    await socket.reply(report, state="on_run", job=JOB, job_state="picked_up", attempt=6)
    report = await socket.read("progress")
    assert app.jobs[JOB].attempt == 6
    assert (report["step"], report["attempt"]) == ("delivered", 6)
    await socket.reply(report, job=JOB, job_state="delivered", attempt=6)
    await delivered


async def test_report_is_repeated_while_the_engine_asks_for_a_retry(
    engine: Counterpart, app_of: MakeApp
) -> None:
    app = app_of()
    socket = await engine.accepted()
    await socket.welcome(state="on_run", jobs=[a_job()])
    await app.online()
    arrived = app.progress(JOB, Step.AT_MALL)
    collected = app.progress(JOB, Step.PICKED_UP)
    await socket.refuse(await socket.read("progress"), "store_unavailable", retry=True)
    report = await socket.read("progress")
    assert report["step"] == "at_mall"
    await socket.refuse(report, "stale_attempt")
    with pytest.raises(RequestRefused) as refused:
        await arrived
    assert refused.value.code == "stale_attempt"
    assert (await socket.read("progress"))["step"] == "picked_up"
    await app.stop()
    with pytest.raises(Stopped):
        await collected
    assert app.unreported == 1


async def test_status_is_sent_again_after_the_engine_forgot_it(
    engine: Counterpart, app_of: MakeApp
) -> None:
    app = app_of()
    socket = await engine.accepted()
    await socket.welcome(state="offline")
    going = asyncio.create_task(app.status(Wish.AVAILABLE))
    await socket.reply(await socket.read("status"))
    await going
    socket.abort()

    socket = await engine.accepted()
    await socket.welcome(state="available")
    await app.online()
    socket.abort()

    socket = await engine.accepted()
    await socket.welcome(state="offline")
    assert (await socket.read("status"))["state"] == "available"


async def test_waits_are_drawn_with_full_jitter_and_grow(
    engine: Counterpart, app_of: MakeApp, waits: Waits
) -> None:
    app_of()
    for _ in range(8):
        await (await engine.accepted()).close(4006)
    await engine.accepted()
    limits = [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert len(waits.seconds) == len(limits)
    for wait_s, limit_s in zip(waits.seconds, limits, strict=True):
        assert 0 <= wait_s <= limit_s
    assert max(waits.seconds) > 4
    assert len(set(waits.seconds)) == len(limits)


async def test_drain_sets_the_time_to_reconnect(
    engine: Counterpart, app_of: MakeApp, waits: Waits
) -> None:
    app_of()
    socket = await engine.accepted()
    await socket.welcome()
    await socket.send("drain", reconnect_after_ms=3_210)
    await socket.close(4001)
    await engine.accepted()
    assert waits.seconds == [3.21]


async def test_dropped_socket_stays_away_as_long_as_asked(
    engine: Counterpart, app_of: MakeApp, waits: Waits
) -> None:
    app = app_of()
    await (await engine.accepted()).welcome()
    await app.online()
    app.drop(away_s=7.5)
    await (await engine.accepted()).welcome()
    assert waits.seconds == [7.5]
    assert app.url == engine.url


@pytest.mark.parametrize("code", [1009, 4500, 4501, 4503, 4506, 4507, 4599])
async def test_final_close_code_stops_the_client(
    engine: Counterpart, app_of: MakeApp, code: int
) -> None:
    app = app_of()
    socket = await engine.accepted()
    await socket.welcome()
    await app.online()
    await socket.close(code, "because")
    with pytest.raises(Stopped, match="because") as stopped:
        await anext(app.offers())
    assert stopped.value.close_code == code
    with pytest.raises(Stopped):
        await app.status(Wish.AVAILABLE)


@pytest.mark.parametrize("code", [1001, 1011, 1012, 4001, 4002, 4003, 4004, 4006, 4008])
async def test_transient_close_code_is_retried(
    engine: Counterpart, app_of: MakeApp, code: int
) -> None:
    app = app_of()
    socket = await engine.accepted()
    await socket.welcome()
    await socket.close(code)
    await (await engine.accepted()).welcome()
    await app.online()


async def test_several_addresses_are_tried_in_turn(engine: Counterpart, app_of: MakeApp) -> None:
    app = app_of(url=["ws://127.0.0.1:9", engine.url])
    await (await engine.accepted()).welcome()
    await app.online()


async def test_silent_server_is_disconnected(engine: Counterpart, app_of: MakeApp) -> None:
    app = app_of()
    socket = await engine.accepted()
    await socket.welcome(ping_ms=20)
    await app.online()
    await (await engine.accepted()).welcome()
    await eventually(lambda: app.connected)


async def test_invalid_frame_ends_the_socket(engine: Counterpart, app_of: MakeApp) -> None:
    app_of()
    socket = await engine.accepted()
    await socket.welcome()
    await socket.send_raw("not MessagePack")
    await (await engine.accepted()).welcome()


async def test_expiring_token_is_renewed_on_the_socket(
    engine: Counterpart, app_of: MakeApp
) -> None:
    app_of(_tokens())
    socket = await engine.accepted()
    assert (await socket.welcome())["token"] == "token 1"
    await socket.send("auth_expiring", at_ms=SERVER_TIME_MS + 60_000)
    request = await socket.read("auth")
    assert request["token"] == "token 2"
    await socket.reply(request)
    await socket.close(4001)
    assert (await (await engine.accepted()).welcome())["token"] == "token 2"


async def test_expired_token_is_replaced_before_the_next_socket(
    engine: Counterpart, app_of: MakeApp
) -> None:
    app_of(_tokens())
    socket = await engine.accepted()
    await socket.welcome()
    await socket.close(4005)
    assert (await (await engine.accepted()).welcome())["token"] == "token 2"


async def test_expired_fixed_token_stops_the_client(engine: Counterpart, app_of: MakeApp) -> None:
    app = app_of("the only one")
    await (await engine.accepted()).close(4005)
    with pytest.raises(Stopped) as stopped:
        await app.online()
    assert stopped.value.close_code == 4005


async def test_failed_token_provider_is_asked_again(engine: Counterpart, app_of: MakeApp) -> None:
    answers: Iterator[str | Exception] = iter([OSError("no network"), "a-token"])

    async def provider() -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    app_of(provider)
    assert (await (await engine.accepted()).welcome())["token"] == "a-token"


def _tokens() -> object:
    numbers = iter(range(1, 10))
    return lambda: f"token {next(numbers)}"
