import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from load_tests.swarm.wire.http_client import LOST, Done, HttpNode
from tests.support import eventually

Answers = list[tuple[int, bytes]]
Answer = Callable[[bytes, int], Awaitable[bytes | None]]
"""Takes a request's head and how many its connection has had; None: hang up."""
OK = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}"


def taking(answers: Answers) -> Done:
    return lambda status, body: answers.append((status, body))


def has(answers: Answers, count: int) -> Callable[[], bool]:
    return lambda: len(answers) == count


class Shop:
    """A server that gives the set answers, and counts."""

    def __init__(self, answer: Answer) -> None:
        self.connections = self.left = 0
        self.requests: list[bytes] = []
        self._answer = answer

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        had = 0
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(size))
                answer = await self._answer(head, had)
                if answer is None:
                    return
                writer.write(answer)
                had += 1
        except asyncio.IncompleteReadError:
            return
        finally:
            writer.close()
            await writer.wait_closed()
            self.left += 1


@asynccontextmanager
async def shop(answer: Answer) -> AsyncIterator[tuple[Shop, HttpNode, Answers]]:
    """A shop, a node of it, and the answers that came."""
    open_shop = Shop(answer)
    async with await asyncio.start_server(open_shop.serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        node = HttpNode(f"http://127.0.0.1:{port}", "the-token")
        try:
            yield open_shop, node, []
        finally:
            node.close()
            await eventually(lambda: open_shop.left == open_shop.connections)


async def fine(_head: bytes, _had: int) -> bytes:
    return OK


async def test_request_follows_the_contract() -> None:
    async with shop(fine) as (open_shop, node, answers):
        node.post("/v1/jobs", "key-1", b'{"a": 1}', taking(answers))
        await eventually(lambda: answers)
        assert answers == [(201, b"{}")]
        head, _, body = open_shop.requests[0].partition(b"\r\n\r\n")
        assert head.startswith(b"POST /v1/jobs HTTP/1.1\r\n")
        assert b"Authorization: Bearer the-token" in head
        assert b"Idempotency-Key: key-1" in head
        assert body == b'{"a": 1}'


async def test_one_connection_serves_one_request_after_another() -> None:
    async with shop(fine) as (open_shop, node, answers):
        for number in range(1, 4):
            node.post("/", f"k{number}", b"{}", taking(answers))
            await eventually(has(answers, number))
        assert open_shop.connections == 1


async def test_slow_answer_delays_no_other_request() -> None:
    release = asyncio.Event()

    async def slow_first(head: bytes, _had: int) -> bytes:
        if b"slow" in head:
            await release.wait()
        return OK

    async with shop(slow_first) as (_, node, answers):
        node.post("/", "slow", b"{}", lambda *_: answers.append((1, b"slow")))
        node.post("/", "quick", b"{}", lambda *_: answers.append((2, b"quick")))
        await eventually(lambda: answers)
        assert answers == [(2, b"quick")]
        release.set()
        await eventually(lambda: len(answers) == 2)


async def test_idle_closed_connection_costs_one_retry() -> None:
    async def once(_head: bytes, had: int) -> bytes | None:
        return None if had else OK

    async with shop(once) as (open_shop, node, answers):
        for number in (1, 2):
            node.post("/", f"k{number}", b"{}", taking(answers))
            await eventually(has(answers, number))
        assert answers == [(201, b"{}")] * 2
        assert open_shop.connections == 2


async def test_request_lost_twice_fails() -> None:
    async def never(_head: bytes, _had: int) -> None:
        return None

    async with shop(never) as (open_shop, node, answers):
        node.post("/", "k", b"{}", taking(answers))
        await eventually(lambda: answers)
        assert answers == [(LOST, b"")]
        assert len(open_shop.requests) == 2


async def test_missing_server_is_reported() -> None:
    answers: Answers = []
    async with await asyncio.start_server(lambda *_: None, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
    node = HttpNode(f"http://127.0.0.1:{port}", "t")
    node.post("/", "k", b"{}", taking(answers))
    await eventually(lambda: answers)
    assert answers == [(LOST, b"")]


@pytest.mark.parametrize("cut", [1, 20, len(OK) - 1])
async def test_answer_may_come_in_pieces(cut: int) -> None:
    left = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n{}")
        for piece in (OK[:cut], OK[cut:]):
            writer.write(piece)
            await asyncio.sleep(0.01)  # so that they are two reads
        await reader.read()
        writer.close()
        await writer.wait_closed()
        left.set()

    answers: Answers = []
    async with await asyncio.start_server(handler, "127.0.0.1", 0) as server:
        node = HttpNode(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", "t")
        node.post("/", "k", b"{}", taking(answers))
        await eventually(lambda: answers)
        node.close()
        await left.wait()
    assert answers == [(201, b"{}")]
