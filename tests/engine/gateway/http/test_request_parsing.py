"""Whether the client of a request is still connected."""

import asyncio

import pytest
from starlette.requests import Request
from starlette.types import Message

from mallard_engine.gateway.http.request_parsing import is_disconnected

pytestmark = pytest.mark.finding("A9")


async def test_client_is_there_until_its_connection_ends() -> None:
    ended = asyncio.Event()

    async def receive() -> Message:
        await ended.wait()
        return {"type": "http.disconnect"}

    request = Request({"type": "http", "headers": []}, receive)
    assert not is_disconnected(request)
    assert not is_disconnected(request)
    ended.set()
    assert is_disconnected(request)


async def test_unread_body_is_no_disconnect() -> None:
    async def receive() -> Message:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    assert not is_disconnected(Request({"type": "http", "headers": []}, receive))
