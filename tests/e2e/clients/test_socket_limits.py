"""Closes after a timeout; the tests wait for their limits concurrently."""

import asyncio
import time
from typing import Any

import pytest

from tests.e2e.conftest import NewApp
from tests.support import Standstill


async def no_hello(new_app: NewApp) -> dict[str, Any]:
    app = new_app()
    await app.open()
    started = time.monotonic()
    code = await app.close_code()
    return {"code": code, "after_s": time.monotonic() - started}


async def token_expired(new_app: NewApp) -> dict[str, Any]:
    app = new_app(exp=time.time() + 3)
    started = time.monotonic()
    await app.hello()
    expiring = await app.expect("auth_expiring")
    code = await app.close_code()
    return {"code": code, "after_s": time.monotonic() - started, "at_ms": expiring["at_ms"]}


async def too_many_frames(new_app: NewApp) -> dict[str, Any]:
    app = new_app()
    await app.hello()
    started = time.monotonic()
    while app.socket.close_code is None and time.monotonic() - started < 14:
        for _ in range(10):
            await app.send("pong")
        await asyncio.wait([asyncio.create_task(app.socket.wait_closed())], timeout=0.1)
    return {"code": app.socket.close_code, "after_s": time.monotonic() - started}


@pytest.mark.slow
async def test_timeouts_close_the_socket(new_app: NewApp, standstill: Standstill) -> None:
    silent, expired, chatty = await asyncio.gather(
        no_hello(new_app), token_expired(new_app), too_many_frames(new_app)
    )
    assert silent["code"] == 4008
    assert 4 < silent["after_s"] < 7 + standstill.ms / 1000
    assert expired["code"] == 4005
    assert expired["after_s"] < 6 + standstill.ms / 1000
    assert chatty["code"] == 4004
