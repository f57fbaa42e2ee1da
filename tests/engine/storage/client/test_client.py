"""The pipelining Redis client: order, errors, timeouts and reconnection."""

import asyncio
import contextlib
import itertools
import os
import signal
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from mallard_engine.ports import StoreFull, StoreUnavailable
from mallard_engine.storage.client import client
from mallard_engine.storage.client.client import Link
from mallard_engine.storage.client.connection import Wire
from mallard_engine.storage.client.errors import (
    LinkReplyError,
    StoreNotReady,
    StoreOutOfMemory,
    StoreTimeout,
)
from mallard_engine.storage.embedded.server import EmbeddedServer
from tests.engine.storage.proxy import store_proxy
from tests.support import GUARD_S, at_once, eventually


@pytest.fixture
async def link(redis_url: str) -> AsyncIterator[Link]:
    link = Link(redis_url)
    await link.connect()
    yield link
    await link.close()


class _Transport(asyncio.Transport):
    """Remembers what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))


@pytest.mark.finding("A9")
async def test_call_on_a_busy_connection_is_written_at_once() -> None:
    wire, transport = Wire(lambda *_: None), _Transport()
    wire.connection_made(transport)
    deadline_s = asyncio.get_running_loop().time() + GUARD_S
    calls = [wire.send(("ECHO", text), deadline_s) for text in ("a", "b", "c")]
    assert b"".join(transport.written).count(b"ECHO") == 3
    wire.data_received(b"$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n")
    assert await asyncio.gather(*calls) == [b"a", b"b", b"c"]
    wire.connection_lost(None)


@pytest.fixture
def server(redis_binary: Path | None, tmp_path: Path) -> EmbeddedServer:
    """A server that a test may kill; the test starts it."""
    return EmbeddedServer(tmp_path, binary=redis_binary, options={"enable-debug-command": "local"})


@contextlib.asynccontextmanager
async def serving(
    answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    **options: Any,
) -> AsyncIterator[int]:
    """Serve on a free port, which it gives; at the end wait until each connection is closed."""
    served: list[asyncio.Event] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended = asyncio.Event()
        served.append(ended)
        try:
            await answer(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            ended.set()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, **options) as server:
        yield server.sockets[0].getsockname()[1]
    async with asyncio.timeout(GUARD_S):
        for ended in served:
            await ended.wait()


async def test_replies_keep_their_types(link: Link) -> None:
    assert link.connected
    assert link.down_since is None
    assert await link.call("SET", "k", b"\x00v") == b"OK"
    assert await link.call("GET", "k") == b"\x00v"
    assert await link.call("GET", "none") is None
    assert await link.call("INCRBY", "n", 7) == 7
    assert await link.call("MGET", "k") == [b"\x00v"]


async def test_a_thousand_calls_at_once_keep_their_order(link: Link, redis_url: str) -> None:
    replies = await asyncio.gather(*(link.call("INCR", "n") for _ in range(1000)))
    assert replies == list(range(1, 1001))
    with redis.Redis.from_url(redis_url) as client:
        assert client.get("n") == b"1000"


async def test_error_reply_fails_only_its_call(link: Link) -> None:
    commands = (("SET", "k", "v"), ("INCR", "k"), ("GET", "k"))
    replies = await asyncio.gather(
        *(link.call(*command) for command in commands), return_exceptions=True
    )
    good, bad, also_good = replies
    assert (good, also_good) == (b"OK", b"v")
    assert isinstance(bad, LinkReplyError)
    assert bad.code == "ERR"
    with pytest.raises(LinkReplyError) as caught:
        await link.call("EVALSHA", "0" * 40, 0)
    assert caught.value.code == "NOSCRIPT"


async def test_unencodable_argument_is_refused(link: Link) -> None:
    with pytest.raises(TypeError):
        await link.call("SET", "k", None)  # type: ignore[arg-type]
    assert await link.call("PING") == b"PONG"


async def test_cancelled_call_does_not_shift_the_replies(link: Link) -> None:
    call = asyncio.ensure_future(link.call("ECHO", "first"))
    await asyncio.sleep(0)
    call.cancel()
    assert await link.call("ECHO", "second") == b"second"


async def test_full_store_raises_store_full(redis_binary: Path | None) -> None:
    with EmbeddedServer(persistent=False, maxmemory_bytes=1, binary=redis_binary) as server:
        link = Link(server.url)
        await link.connect()
        with pytest.raises(StoreOutOfMemory) as caught:
            await link.call("SET", "k", "v")
        assert isinstance(caught.value, StoreFull)
        await link.close()


async def test_busy_store_counts_as_unavailable(link: Link, redis_server: EmbeddedServer) -> None:
    other = Link(redis_server.url)
    await other.connect()
    await link.call("CONFIG", "SET", "busy-reply-threshold", 1)
    spinning = asyncio.ensure_future(link.call("EVAL", "while true do end", 0))

    async def refusal() -> StoreNotReady | None:
        try:
            await other.call("GET", "k")
        except StoreNotReady as error:
            return error
        return None

    refused = await eventually(refusal)
    assert isinstance(refused, StoreUnavailable)
    assert refused.code == "BUSY"
    await other.call("SCRIPT", "KILL")
    with pytest.raises(LinkReplyError):
        await spinning
    await link.call("CONFIG", "SET", "busy-reply-threshold", 5000)
    await other.close()


async def test_overdue_call_fails_and_reconnects(
    server: EmbeddedServer,
) -> None:
    with server:
        link = Link(server.url, deadline_s=0.2)
        await link.connect()
        late = asyncio.ensure_future(link.call("DEBUG", "SLEEP", 3))
        behind = asyncio.ensure_future(link.call("GET", "k"))
        with pytest.raises(StoreTimeout):
            await late
        with pytest.raises(StoreUnavailable):
            await behind
        await eventually(lambda: link.connected)
        assert await link.call("ECHO", "mine") == b"mine"
        await link.close()


async def test_blocked_loop_reads_its_replies_before_a_timeout(redis_url: str) -> None:
    link = Link(redis_url, deadline_s=0.1)
    await link.connect()
    call = asyncio.ensure_future(link.call("PING"))
    for _ in range(3):  # until it is written
        await asyncio.sleep(0)
    busy_until_s = time.monotonic() + 0.3
    while time.monotonic() < busy_until_s:
        pass  # as a stopped or busy process would
    assert await call == b"PONG"
    await link.close()


async def test_process_that_stood_still_while_it_connects_is_connected(redis_url: str) -> None:
    link = Link(redis_url, deadline_s=0.1)
    connecting = asyncio.ensure_future(link.connect())
    for _ in range(3):  # until it waits for the server
        await asyncio.sleep(0)
    time.sleep(0.5)
    await connecting
    assert await link.call("PING") == b"PONG"
    await link.close()


async def test_server_that_says_nothing_is_given_up_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "_ATTEMPT_S", 0.3)

    async def say_nothing(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with serving(say_nothing) as port:
        with pytest.raises(StoreUnavailable, match=r"in time|silent"):
            await Link(f"redis://127.0.0.1:{port}").connect()


async def test_broken_connection_fails_calls_and_reconnects(server: EmbeddedServer) -> None:
    changes: list[str] = []
    with server:
        link = Link(
            server.url,
            grace_s=GUARD_S,
            on_up=lambda: changes.append("up"),
            on_down=lambda: changes.append("down"),
        )
        await link.connect()
        await link.call("SET", "k", "v")
        waiting = asyncio.ensure_future(link.call("BLPOP", "empty", 0))
        await asyncio.sleep(0)
        os.kill(server.pid, 9)
        with pytest.raises(StoreUnavailable):
            await waiting
        await eventually(lambda: not link.connected)
        assert isinstance(link.down_since, float)
        held = asyncio.ensure_future(link.call("GET", "k"))
        await asyncio.sleep(0)
        await eventually(lambda: not server.running)
        assert server.revive()
        assert await held == b"v"
        assert link.down_since is None
        assert changes == ["up", "down", "up"]
        await link.close()


async def test_waiting_calls_are_bounded_while_down(server: EmbeddedServer) -> None:
    with server:
        link = Link(server.url, deadline_s=0.2, grace_s=2.5, max_waiting=2)
        await link.connect()
        os.kill(server.pid, 9)
        await eventually(lambda: not link.connected)
        outcomes = await asyncio.gather(
            *(link.call("GET", "k") for _ in range(3)), return_exceptions=True
        )
        away = f"the store at {link.address} cannot be reached"
        assert [str(outcome).partition(":")[0] for outcome in outcomes] == [
            away,
            away,
            "2 calls are already waiting for the store",
        ]
        assert all(isinstance(outcome, StoreUnavailable) for outcome in outcomes)
        await link.close()


async def test_waiting_calls_are_bounded_while_connected(redis_url: str) -> None:
    link = Link(redis_url, max_waiting=2)
    await link.connect()
    outcomes = await asyncio.gather(*(link.call("PING") for _ in range(3)), return_exceptions=True)
    assert outcomes[:2] == [b"PONG", b"PONG"]
    assert isinstance(outcomes[2], StoreUnavailable)
    await link.close()


async def test_close_fails_waiting_calls(server: EmbeddedServer) -> None:
    with server:
        link = Link(server.url)
        await link.connect()
        waiting = asyncio.ensure_future(link.call("BLPOP", "empty", 0))
        await asyncio.sleep(0)
        await link.close()
        with pytest.raises(StoreUnavailable, match="closed"):
            await waiting
        with pytest.raises(StoreUnavailable, match="closed"):
            await link.call("PING")


async def test_connect_without_a_server_fails() -> None:
    link = Link("unix:///nowhere/redis.sock")
    with pytest.raises(StoreUnavailable, match=r"/nowhere/redis\.sock"):
        await link.connect()
    await link.close()


async def test_server_of_another_protocol_is_refused() -> None:
    async def answer_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)  # unread bytes would turn the close into a reset and lose the answer
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()

    async with serving(answer_http) as port:
        link = Link(f"redis://127.0.0.1:{port}")
        with pytest.raises(StoreUnavailable, match="does not speak"):
            await link.connect()
        await link.close()


async def test_greeting_is_sent_on_every_connection(server: EmbeddedServer) -> None:
    with server:
        link = Link(server.url, name="node-7", greeting=[("INCR", "greeted")])
        await link.connect()
        assert b"name=node-7" in await link.call("CLIENT", "LIST")
        await link.call("CLIENT", "KILL", "SKIPME", "no", "TYPE", "normal")
        await eventually(lambda: not link.connected)
        assert await link.call("GET", "greeted") == b"2"
        await link.close()


async def test_url_sets_user_password_and_database(redis_binary: Path | None) -> None:
    with EmbeddedServer(persistent=False, binary=redis_binary, tcp=True) as server:
        place = server.url.removeprefix("redis://").removesuffix("/0")
        with redis.Redis.from_url(server.url) as client:
            client.config_set("requirepass", "s3cret")
        admin = Link(f"redis://:s3cret@{place}/3")
        await admin.connect()
        await admin.call("ACL", "SETUSER", "engine", "on", ">pa:ss", "~*", "+@all", "-client")
        await admin.call("SET", "k", "in three")

        engine = Link(
            f"redis://engine:pa%3Ass@{place}/3"
        )  # this user may not set a connection name
        await engine.connect()
        assert await engine.call("ACL", "WHOAMI") == b"engine"
        assert await engine.call("GET", "k") == b"in three"
        for wrong, code in ((f"redis://{place}", "NOAUTH"), (f"redis://:x@{place}", "WRONGPASS")):
            link = Link(wrong)
            with pytest.raises(LinkReplyError) as caught:
                await link.connect()
            assert caught.value.code == code
            await link.close()
        await engine.close()
        await admin.close()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed certificate for localhost and its key, in one file."""
    path = tmp_path / "both.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    made = ["-keyout", str(path), "-out", f"{path}.crt"]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    command = ["openssl", "req", "-x509", "-nodes", "-days", "2", *curve, *subject, *made]
    subprocess.run(command, check=True, capture_output=True)
    path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
    return path


async def test_tls_checks_the_certificate(redis_url: str, certificate: Path) -> None:
    """A TLS proxy in front of the server, as the bundled binary is built without TLS."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    port = redis_url.removesuffix("/0").rpartition(":")[2]

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        backward_reader, backward_writer = await asyncio.open_connection("127.0.0.1", int(port))

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65_536):
                sink.write(data)
            sink.close()

        await asyncio.gather(pump(reader, backward_writer), pump(backward_reader, writer))

    async with serving(forward, ssl=context) as front:
        url = f"rediss://localhost:{front}/0"
        trusting = Link(f"{url}?ssl_ca_certs={certificate}")
        await trusting.connect()
        assert await trusting.call("ECHO", "private") == b"private"
        await trusting.close()
        wary = Link(url)
        with pytest.raises(StoreUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
            await wary.connect()
        await wary.close()


@pytest.mark.finding("B2")
async def test_calls_fail_at_once_while_down(server: EmbeddedServer) -> None:
    with server:
        link = Link(server.url, grace_s=0.1)
        await link.connect()
        os.kill(server.pid, 9)
        await eventually(lambda: link.is_away)
        for _ in range(200):
            with pytest.raises(StoreUnavailable, match="cannot be reached"):
                at_once(link.call("GET", "k"))
        await link.close()


@pytest.mark.finding("B2")
async def test_stopped_store_is_noticed_without_a_call(server: EmbeddedServer) -> None:
    with server:
        link = Link(server.url)
        await link.connect()
        os.kill(server.pid, signal.SIGSTOP)
        try:
            await eventually(lambda: not link.connected, timeout_s=4)
            with pytest.raises(StoreUnavailable, match="is silent"):
                await link.call("GET", "k")
        finally:
            os.kill(server.pid, signal.SIGCONT)
        await eventually(lambda: link.connected)
        assert await link.call("ECHO", "back") == b"back"
        await link.close()


@pytest.mark.finding("B2")
async def test_half_open_connection_is_noticed(redis_url: str) -> None:
    async with store_proxy(redis_url) as proxy:
        link = Link(proxy.url, silence_s=0.3)
        await link.connect()
        proxy.silent = True
        with pytest.raises(StoreTimeout, match="is silent"):
            await link.call("GET", "k")
        assert not link.connected
        proxy.silent = False
        await eventually(lambda: link.connected)
        await link.close()


async def test_server_that_needs_seconds_to_open_a_connection_is_reached(redis_url: str) -> None:
    async with store_proxy(redis_url, late_s=2.5, once=True) as proxy:
        link = Link(proxy.url)
        await link.connect()
        opening = link.opening
        proxy.cut()
        await eventually(lambda: link.opening > opening, timeout_s=20)
        assert await link.call("ECHO", "late") == b"late"
        # The other attempts have been closed.
        await eventually(lambda: len(proxy.open) == 2, timeout_s=20)
        await link.close()


async def test_attempt_that_hangs_does_not_delay_the_next(redis_url: str) -> None:
    async with store_proxy(redis_url) as proxy:
        link = Link(proxy.url, silence_s=0.3)
        await link.connect()
        opening = link.opening
        proxy.silent = True
        await eventually(lambda: not link.connected)
        await eventually(lambda: len(proxy.open) >= 2)  # one whose greeting is discarded
        proxy.silent = False
        await eventually(lambda: link.opening > opening, timeout_s=6)
        await link.close()


@pytest.mark.finding("B11")
async def test_new_outage_is_retried_within_half_a_second() -> None:
    """The port closes and counts each connection."""
    attempts: list[float] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        attempts.append(time.monotonic())
        if len(attempts) == 1:
            await reader.read(65_536)
            writer.write(b"+OK\r\n*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n+PONG\r\n")

    async with serving(refuse) as port:
        link = Link(f"redis://127.0.0.1:{port}")
        with contextlib.suppress(StoreUnavailable):
            await link.connect()
        link._reconnecting = asyncio.create_task(link._reconnect())
        await eventually(lambda: len(attempts) >= 14)
        # The median, as a busy machine may delay some retries.
        pauses = sorted(b - a for a, b in itertools.pairwise(attempts[4:]))
        assert pauses[len(pauses) // 2] < 0.5
        await link.close()


@pytest.mark.finding("B12")
async def test_connection_to_a_demoted_master_is_closed(redis_binary: Path | None) -> None:
    with EmbeddedServer(persistent=False, tcp=True, binary=redis_binary) as server:
        link = Link(server.url)
        await link.connect()
        with redis.Redis.from_url(server.url) as client:
            client.replicaof("127.0.0.1", 1)
            with pytest.raises(StoreNotReady, match="READONLY"):
                await link.call("SET", "k", "v")
            await eventually(lambda: "replica" in link.why_down)
            assert not link.connected
            client.replicaof("NO", "ONE")
        await eventually(lambda: link.connected)
        await link.call("SET", "k", "v")
        await link.close()


@pytest.mark.finding("B12")
async def test_replica_is_refused_on_connecting(redis_binary: Path | None) -> None:
    with EmbeddedServer(
        persistent=False, tcp=True, binary=redis_binary, options={"replicaof": "127.0.0.1 1"}
    ) as server:
        link = Link(server.url)
        with pytest.raises(StoreUnavailable, match="it is a replica"):
            await link.connect()
        await link.close()
