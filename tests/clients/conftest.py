"""A counterpart that listens, and clients of it that end with the test."""

import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from mallard_client.driver.client import DriverClient
from tests.clients.counterpart import JSON, MSGPACK, SERVER_TIME_MS, Counterpart
from tests.clients.waits import Waits

# The phone's clock is a quarter of an hour slow, so that a forgotten conversion shows.
CLOCK_MS = SERVER_TIME_MS - 900_000
# It was started half an hour ago.
UPTIME_MS = 1_800_000

MakeApp = Callable[..., DriverClient]


@pytest.fixture
async def engine() -> AsyncIterator[Counterpart]:
    async with Counterpart.listening() as counterpart:
        yield counterpart


@pytest.fixture(params=[MSGPACK, JSON])
def subprotocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def waits() -> Waits:
    return Waits()


@pytest.fixture
async def app_of(engine: Counterpart, waits: Waits) -> AsyncIterator[MakeApp]:
    """Make a started client of the counterpart."""
    async with AsyncExitStack() as stack:

        def make(token: Any = "a-token", **options: Any) -> DriverClient:
            app = DriverClient(
                options.pop("url", engine.url),
                token,
                **{
                    "rng": random.Random(1),
                    "now_ms": lambda: CLOCK_MS,
                    "uptime": lambda: UPTIME_MS,
                    "sleep": waits.sleep,
                    **options,
                },
            )
            app.start()
            stack.push_async_callback(app.stop)
            return app

        yield make
