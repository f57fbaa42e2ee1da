"""How a driver client asks its token provider, and what it does with a useless answer."""

import asyncio

import pytest

from mallard_client import TokenTrouble
from mallard_client.tokens import TokenSource
from tests.clients.conftest import MakeApp
from tests.clients.counterpart import Counterpart


@pytest.mark.finding("C11")
@pytest.mark.parametrize("given", [None, b"bytes", 7, ""])
async def test_provider_that_gives_no_token_is_asked_again(
    engine: Counterpart, app_of: MakeApp, given: object
) -> None:
    answers = iter([given, "a-token"])
    app = app_of(lambda: next(answers))
    troubles = app.events(TokenTrouble)
    assert (await (await engine.accepted()).welcome())["token"] == "a-token"
    assert isinstance(await anext(troubles), TokenTrouble)


@pytest.mark.finding("C11")
async def test_provider_that_is_cancelled_inside_is_asked_again(
    engine: Counterpart, app_of: MakeApp
) -> None:
    calls = 0

    async def provider() -> str:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise asyncio.CancelledError
        return "a-token"

    app_of(provider)
    assert (await (await engine.accepted()).welcome())["token"] == "a-token"


@pytest.mark.finding("C16")
async def test_interval_of_a_useless_provider_grows() -> None:
    waited: list[float] = []
    calls = 0

    class Clock:
        now_ms = 0

        def uptime_ms(self) -> int:
            return self.now_ms

    clock = Clock()

    async def sleep(seconds: float) -> None:
        waited.append(seconds)
        clock.now_ms += round(seconds * 1000)

    def provider() -> str:
        nonlocal calls
        calls += 1
        return "the same"

    source = TokenSource(provider, clock, sleep)  # type: ignore[arg-type]
    while clock.now_ms < 18_000:
        await source.fresh()
    assert calls <= 6
    for _ in range(8):
        await source.fresh()
    assert waited[:5] == [1, 2, 4, 8, 16]
    assert max(waited) == 30


@pytest.mark.finding("C16")
async def test_expired_token_given_again_is_reported_and_not_sent(
    engine: Counterpart, app_of: MakeApp
) -> None:
    answers = iter(["old", "old", "old", "new"])
    app = app_of(lambda: next(answers))
    troubles = app.events(TokenTrouble)
    socket = await engine.accepted()
    assert (await socket.welcome())["token"] == "old"
    await socket.close(4005)
    assert (await (await engine.accepted()).welcome())["token"] == "new"
    for _ in range(2):
        trouble = await anext(troubles)
        assert isinstance(trouble, TokenTrouble)
        assert "expired token again" in trouble.reason
