"""A driver app over real sockets, against a counterpart that speaks the contract by hand."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from mallard_client.driver.events import Ended
from mallard_client.errors import NoAnswer, RequestRefused, Stopped
from mallard_protocol.lifecycle import Wish
from mallard_protocol.messages import (
    App,
    Device,
    Offer,
    OfferClosed,
    StateChanged,
    Vehicle,
    Welcome,
)
from tests.clients.conftest import CLOCK_MS, MakeApp
from tests.clients.counterpart import SERVER_TIME_MS, Counterpart, a_job, an_offer
from tests.support import eventually


async def test_hello_is_sent_and_welcome_applied(
    engine: Counterpart, app_of: MakeApp, subprotocol: str
) -> None:
    app = app_of(
        subprotocol=subprotocol,
        vehicle=Vehicle(kind="van", max_jobs=3),
        app=App("courier", "7"),
        device=Device("fcm", "wake-me"),
    )
    socket = await engine.accepted()
    hello = await socket.welcome(state="on_run", jobs=[a_job(state="at_mall", attempt=4)])
    await app.online()

    assert hello["token"] == "a-token"
    assert hello["now_ms"] == CLOCK_MS
    assert hello["vehicle"]["kind"] == "van"
    assert hello["vehicle"]["max_jobs"] == 3
    assert hello["app"] == {"name": "courier", "version": "7"}
    assert hello["device"] == {"kind": "fcm", "token": "wake-me"}
    assert app.connected
    assert app.state == "on_run"
    assert app.jobs["job_phoenix.1"].attempt == 4
    assert app.server_now_ms() == SERVER_TIME_MS


async def test_offer_is_acknowledged_surfaced_and_accepted(
    engine: Counterpart, app_of: MakeApp, subprotocol: str
) -> None:
    app = app_of(subprotocol=subprotocol)
    socket = await engine.accepted()
    await socket.welcome()
    await socket.send("offer", **an_offer())
    assert (await socket.read("offer_ack"))["offer"] == "o1"

    offer = await anext(app.offers())
    assert offer.offer == "o1"
    assert offer.mall.gate == "north"
    accepting = asyncio.create_task(app.accept(offer))
    request = await socket.read("accept")
    assert request["offer"] == "o1"
    await socket.reply(request, state="on_run", jobs=[a_job()])

    (held,) = await accepting
    assert held.job == "job_phoenix.1"
    assert app.state == "on_run"
    assert app.jobs == {held.job: held}


async def test_without_auto_acknowledge_the_app_acknowledges(
    engine: Counterpart, app_of: MakeApp
) -> None:
    app = app_of(auto_acknowledge=False)
    socket = await engine.accepted()
    await socket.welcome()
    await socket.send("offer", **an_offer())
    offer = await anext(app.offers())
    await socket.send("ping")
    await socket.read("pong")
    await app.acknowledge(offer)
    await socket.read("offer_ack")


async def test_offer_of_the_welcome_is_surfaced(engine: Counterpart, app_of: MakeApp) -> None:
    app = app_of()
    socket = await engine.accepted()
    await socket.welcome(state="offered", offer={"type": "offer", **an_offer("o7")})
    await socket.read("offer_ack")
    assert (await anext(app.offers())).offer == "o7"


async def test_repeated_offer_is_surfaced_once(engine: Counterpart, app_of: MakeApp) -> None:
    app = app_of()
    socket = await engine.accepted()
    await socket.welcome()
    await socket.send("offer", **an_offer("o1"))
    await socket.read("offer_ack")
    socket.abort()
    socket = await engine.accepted()
    await socket.welcome(state="offered", seq=1, offer={"type": "offer", **an_offer("o1")})
    assert (await socket.read("offer_ack"))["offer"] == "o1"
    await socket.send("offer_closed", seq=2, offer="o1", why="withdrawn")
    await socket.send("offer", **an_offer("o2", seq=3))
    await socket.read("offer_ack")
    assert (await anext(app.offers())).offer == "o2"


async def test_expired_offer_is_not_surfaced(engine: Counterpart, app_of: MakeApp) -> None:
    app = app_of()
    socket = await engine.accepted()
    await socket.welcome()
    await socket.send("offer", **an_offer("late", seq=1, expires_ms=SERVER_TIME_MS - 1))
    await socket.send("offer", **an_offer("withdrawn", seq=2))
    await socket.send("offer_closed", seq=3, offer="withdrawn", why="withdrawn")
    await socket.send("offer", **an_offer("live", seq=4))
    for offer in ("late", "withdrawn", "live"):
        assert (await socket.read("offer_ack"))["offer"] == offer
    assert (await anext(app.offers())).offer == "live"


async def test_push_with_an_old_seq_is_ignored(engine: Counterpart, app_of: MakeApp) -> None:
    app = app_of()
    received: list[object] = []
    app.listen(received.append, Welcome, StateChanged)
    socket = await engine.accepted()
    await socket.welcome(seq=5)
    await socket.send("state", seq=5, state="paused", why="stated_by_the_welcome_already")
    await socket.send("state", seq=6, state="available", why="resumed")
    await eventually(lambda: len(received) == 2)
    assert isinstance(received[0], Welcome)
    assert isinstance(received[1], StateChanged)
    assert received[1].why == "resumed"


async def test_listeners_receive_every_event_until_removed(
    engine: Counterpart, app_of: MakeApp
) -> None:
    app = app_of()
    received: list[object] = []
    leave = app.listen(received.append, Welcome, Offer, OfferClosed, StateChanged)
    socket = await engine.accepted()
    await socket.welcome()
    await socket.send("offer", **an_offer())
    await socket.send("a_type_of_tomorrow", x=1)
    await socket.send("offer_closed", seq=2, offer="o1", why="a_reason_of_tomorrow")
    await eventually(lambda: len(received) == 3)
    assert [type(event) for event in received] == [Welcome, Offer, OfferClosed]
    leave()
    await socket.send("state", seq=3, state="paused", why="x")
    await eventually(lambda: app.state == "paused")
    assert len(received) == 3


async def test_decline_sends_its_reason(engine: Counterpart, app_of: MakeApp) -> None:
    app = app_of()
    socket = await engine.accepted()
    await socket.welcome()
    await socket.send("offer", **an_offer())
    await socket.read("offer_ack")
    declining = asyncio.create_task(app.decline(await anext(app.offers()), "too far"))
    request = await socket.read("decline")
    assert (request["offer"], request["reason"]) == ("o1", "too far")
    await socket.reply(request)
    await declining
    assert app.state == "available"


async def test_refused_request_raises_its_type(engine: Counterpart, app_of: MakeApp) -> None:
    app = app_of()
    socket = await engine.accepted()
    await socket.welcome(state="offline")
    going = asyncio.create_task(app.status(Wish.AVAILABLE, until_ms=CLOCK_MS + 60_000))
    request = await socket.read("status")
    assert request["until_ms"] == SERVER_TIME_MS + 60_000
    await socket.refuse(request, "no_position", retry=True)
    with pytest.raises(RequestRefused, match="no_position") as refused:
        await going
    assert refused.value.retry


async def test_missing_proof_is_named(engine: Counterpart, app_of: MakeApp) -> None:
    app = app_of()
    socket = await engine.accepted()
    await socket.welcome(state="on_run", jobs=[a_job(state="picked_up")])
    await app.online()
    report = app.progress("job_phoenix.1", "delivered")
    request = await socket.read("progress")
    refusal = {"code": "proof_needed", "message": "", "retry": False}
    await socket.send("error", id=request["id"], **refusal, missing=["photo"], tries_left=2)
    with pytest.raises(RequestRefused) as refused:
        await report
    assert (refused.value.missing, refused.value.tries_left) == (("photo",), 2)


async def test_request_is_repeated_on_the_next_socket(engine: Counterpart, app_of: MakeApp) -> None:
    app = app_of()
    socket = await engine.accepted()
    await socket.welcome()
    await socket.send("offer", **an_offer())
    await socket.read("offer_ack")
    accepting = asyncio.create_task(app.accept(await anext(app.offers())))
    await socket.read("accept")
    socket.abort()

    socket = await engine.accepted()
    await socket.welcome(state="on_run", jobs=[a_job()])
    await socket.reply(await socket.read("accept"), state="on_run", jobs=[a_job()])
    (held,) = await accepting
    assert held.job == "job_phoenix.1"


async def test_request_without_an_answer_times_out(engine: Counterpart, app_of: MakeApp) -> None:
    app = app_of(request_timeout_s=0.05)
    socket = await engine.accepted()
    await socket.welcome()
    with pytest.raises(NoAnswer):
        await app.problem("not_ready", store="lego", until_ms=CLOCK_MS + 1)
    problem = await socket.read("problem")
    assert problem["store"] == "lego"
    assert problem["until_ms"] == SERVER_TIME_MS + 1


async def test_stop_ends_offers_and_start_resumes_them(
    engine: Counterpart, app_of: MakeApp
) -> None:
    app = app_of()
    socket = await engine.accepted()
    await socket.welcome()
    await app.online()
    seen = asyncio.create_task(_all_of(app.offers()))
    await app.stop()
    assert await seen == []
    await socket.closed()
    with pytest.raises(Stopped):
        await app.accept(_an_offer_struct())

    app.start()
    socket = await engine.accepted()
    await socket.welcome()
    await app.online()


async def test_start_during_a_stop_follows_it(engine: Counterpart, app_of: MakeApp) -> None:
    app = app_of()
    socket = await engine.accepted()
    await socket.welcome()
    await app.online()
    stopping = [asyncio.create_task(app.stop()) for _ in range(2)]
    await asyncio.sleep(0)
    app.start()
    await asyncio.gather(*stopping)
    socket = await engine.accepted()
    await socket.welcome()
    await app.online()


async def test_stop_before_the_last_one_has_ended_stops_a_later_start(
    engine: Counterpart, app_of: MakeApp
) -> None:
    app = app_of()
    socket = await engine.accepted()
    await socket.welcome()
    await app.online()
    stopping = asyncio.create_task(app.stop())
    await asyncio.sleep(0)
    app.start()
    events = app.events(Ended)
    await app.stop()
    await stopping
    assert (await app.closed()).by_app
    (ended,) = [event async for event in events]
    assert isinstance(ended, Ended)
    assert ended.reason.by_app
    with pytest.raises(Stopped):
        await app.online()


async def _all_of(offers: AsyncIterator[Offer]) -> list[Offer]:
    return [offer async for offer in offers]


def _an_offer_struct() -> Offer:
    return msgspec.convert({"type": "offer", **an_offer()}, Offer)
