"""How the Redis client opens its connection: URL, TLS, handshake, and what it refuses."""

import asyncio
import ssl
import subprocess
import time
from pathlib import Path

import pytest
import redis

from mallard_engine.ports import StoreUnavailable
from mallard_engine.storage.client import client
from mallard_engine.storage.client.client import Link
from mallard_engine.storage.client.errors import LinkReplyError
from mallard_engine.storage.embedded.server import EmbeddedServer
from tests.engine.storage.client.serving import serving
from tests.support import eventually


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


async def test_handshake_is_sent_on_every_connection(server: EmbeddedServer) -> None:
    with server:
        link = Link(server.url, name="node-7", handshake=[("INCR", "handshakes")])
        await link.connect()
        assert b"name=node-7" in await link.call("CLIENT", "LIST")
        await link.call("CLIENT", "KILL", "SKIPME", "no", "TYPE", "normal")
        await eventually(lambda: not link.connected)
        assert await link.call("GET", "handshakes") == b"2"
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


async def test_connect_without_a_server_fails() -> None:
    link = Link("unix:///nowhere/redis.sock")
    with pytest.raises(StoreUnavailable, match=r"/nowhere/redis\.sock"):
        await link.connect()
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


@pytest.mark.finding("B12")
async def test_replica_is_refused_on_connecting(redis_binary: Path | None) -> None:
    with EmbeddedServer(
        persistent=False, tcp=True, binary=redis_binary, options={"replicaof": "127.0.0.1 1"}
    ) as server:
        link = Link(server.url)
        with pytest.raises(StoreUnavailable, match="it is a replica"):
            await link.connect()
        await link.close()
