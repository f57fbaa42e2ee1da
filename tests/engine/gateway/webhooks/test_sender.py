"""Posts go to checked addresses, within bounds of time and size."""

import asyncio
import datetime as dt
import ipaddress
import ssl
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import httpcore2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mallard_engine.core.webhooks.destinations import Address, BadUrl, Destinations
from mallard_engine.gateway.webhooks.network import AddressRefused, CheckedNetwork, NameNotFound
from mallard_engine.gateway.webhooks.sender import Message, Sender
from mallard_protocol.webhooks import DeliveryError
from tests.engine.core.webhooks.test_destinations import PRIVATE_URLS
from tests.engine.gateway.webhooks.receiver import Heard, Receiver, always, answer, receiving

LOOPBACK = Destinations.of(["127.0.0.0/8"])
MESSAGE = Message("evt_1", b"{}")
SECRETS = ("whsec_" + "A" * 44,)
PUBLIC, PRIVATE = ipaddress.ip_address("8.8.8.8"), ipaddress.ip_address("10.0.0.1")


class Names:
    """A resolver: each look-up gives the next answer, the last one for ever."""

    def __init__(self, *answers: Sequence[Address]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str) -> Sequence[Address]:
        self.asked.append(host)
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if not found:
            raise NameNotFound(host)
        return found


class NoNetwork(httpcore2.AsyncNetworkBackend):
    """Notes where a connection would go."""

    def __init__(self) -> None:
        self.reached: list[str] = []

    async def connect_tcp(
        self, host: str, *_: object, **__: object
    ) -> httpcore2.AsyncNetworkStream:
        self.reached.append(host)
        raise httpcore2.ConnectError


@pytest.fixture
async def sender() -> AsyncIterator[Sender]:
    sender = Sender(LOOPBACK)
    yield sender
    await sender.close()


@pytest.mark.parametrize("url", PRIVATE_URLS)
async def test_private_url_is_not_even_connected_to(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = NoNetwork()
    monkeypatch.setattr(httpcore2, "AnyIOBackend", lambda: network)
    sender = Sender(Destinations(), resolve=Names([PRIVATE]))
    got = await sender.post(url, MESSAGE, SECRETS)
    assert got.error is DeliveryError.ADDRESS
    assert not network.reached
    with pytest.raises(BadUrl):
        await sender.check(url)
    await sender.close()


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "169.254.169.254", "10.0.0.1", "::1", "::ffff:10.0.0.1", "fd00::1", "64:ff9b::1"],
)
async def test_name_with_a_private_address_is_not_connected_to(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = NoNetwork()
    monkeypatch.setattr(httpcore2, "AnyIOBackend", lambda: network)
    sender = Sender(Destinations(), resolve=Names([ipaddress.ip_address(address)]))
    got = await sender.post("https://evil.example/", MESSAGE, SECRETS)
    assert got.error is DeliveryError.ADDRESS
    with pytest.raises(BadUrl):
        await sender.check("https://evil.example/")
    assert not network.reached
    await sender.close()


async def test_connection_goes_to_the_address_that_was_checked() -> None:
    names, network = Names([PUBLIC], [PRIVATE]), NoNetwork()
    checked = CheckedNetwork("https", Destinations(), names, network)
    with pytest.raises(httpcore2.ConnectError):
        await checked.connect_tcp("rebind.example", 443)
    assert network.reached == ["8.8.8.8"]
    assert names.asked == ["rebind.example"]
    with pytest.raises(AddressRefused):
        await checked.connect_tcp("rebind.example", 443)
    assert network.reached == ["8.8.8.8"]


async def test_only_admitted_addresses_of_a_name_are_tried() -> None:
    network = NoNetwork()
    names = Names([PRIVATE, PUBLIC, ipaddress.ip_address("::1")])
    with pytest.raises(httpcore2.ConnectError):
        await CheckedNetwork("https", Destinations(), names, network).connect_tcp("a.example", 443)
    assert network.reached == ["8.8.8.8"]


async def test_name_that_changes_its_address_reaches_nothing(receiver: Receiver) -> None:
    """At its check it is public, when it is posted to it is this machine."""
    loopback = ipaddress.ip_address("127.0.0.1")
    sender = Sender(Destinations(), resolve=Names([PUBLIC], [loopback]))
    url = f"https://rebind.example:{receiver.port}/"
    await sender.check(url)
    got = await sender.post(url, MESSAGE, SECRETS)
    assert got.error is DeliveryError.ADDRESS
    assert receiver.connections == 0
    await sender.close()


async def test_http_goes_to_configured_networks_only(receiver: Receiver) -> None:
    sender = Sender(LOOPBACK, resolve=Names([PUBLIC]))
    with pytest.raises(BadUrl):
        await sender.check("http://public.example:8080/")
    got = await sender.post("http://public.example:8080/", MESSAGE, SECRETS)
    assert got.error is DeliveryError.ADDRESS
    await sender.close()


async def test_unknown_name_is_a_failure_of_its_own() -> None:
    sender = Sender(Destinations(), resolve=Names([]))
    await sender.check("https://not-yet.example/")
    got = await sender.post("https://not-yet.example/", MESSAGE, SECRETS)
    assert (got.status, got.error) == (None, DeliveryError.NAME)
    await sender.close()


async def test_host_header_names_the_url_and_connections_are_kept(
    sender: Sender, receiver: Receiver
) -> None:
    for _ in range(3):
        assert (await sender.post(receiver.url, MESSAGE, SECRETS)).error is None
    assert receiver.heard[0].headers["host"] == f"127.0.0.1:{receiver.port}"
    assert receiver.connections == 1


@pytest.mark.parametrize(
    ("status", "error"),
    [
        *((200, None), (202, None), (204, None), (299, None)),
        *((301, DeliveryError.REDIRECT), (308, DeliveryError.REDIRECT)),
        *((400, DeliveryError.STATUS), (404, DeliveryError.STATUS), (410, DeliveryError.STATUS)),
        *((429, DeliveryError.STATUS), (500, DeliveryError.STATUS), (503, DeliveryError.STATUS)),
    ],
)
async def test_only_2xx_is_a_success(
    sender: Sender, receiver: Receiver, status: int, error: DeliveryError | None
) -> None:
    receiver.reply = always(answer(status, "location: http://127.0.0.1:1/"))
    got = await sender.post(receiver.url, MESSAGE, SECRETS)
    assert (got.status, got.error) == (status, error)
    assert len(receiver.heard) == 1


async def test_no_answer_in_time_is_a_failure(receiver: Receiver) -> None:
    async def hang(_heard: Heard) -> bytes:
        await asyncio.sleep(3_600)
        return b""

    receiver.reply = hang
    sender = Sender(LOOPBACK, within_s=0.2)
    got = await sender.post(receiver.url, MESSAGE, SECRETS)
    assert (got.status, got.error) == (None, DeliveryError.TIMEOUT)
    await sender.close()


async def test_head_that_trickles_is_a_failure(receiver: Receiver) -> None:
    receiver.reply = always(b"HTTP/1.1 200 OK\r\nx: ")
    sender = Sender(LOOPBACK, within_s=0.2)
    got = await sender.post(receiver.url, MESSAGE, SECRETS)
    assert got.error is DeliveryError.TIMEOUT
    await sender.close()


@pytest.mark.parametrize(
    "text",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"a" * 300_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
    ],
    ids=["no-http", "long-head", "two-lengths"],
)
async def test_answer_that_is_no_http_is_a_failure(
    sender: Sender, receiver: Receiver, text: bytes
) -> None:
    receiver.reply = always(text)
    got = await sender.post(receiver.url, MESSAGE, SECRETS)
    assert got.error in {DeliveryError.PROTOCOL, DeliveryError.CONNECTION}


async def test_endless_body_is_cut_after_its_status(sender: Sender, receiver: Receiver) -> None:
    receiver.reply = always(answer(200, body=b"a" * 5_000_000))
    assert (await sender.post(receiver.url, MESSAGE, SECRETS)).error is None
    receiver.reply = always(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\na")
    assert (await sender.post(receiver.url, MESSAGE, SECRETS)).error is None


async def test_closed_port_is_a_failure(sender: Sender) -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    got = await sender.post(f"http://127.0.0.1:{port}/", MESSAGE, SECRETS)
    assert got.error is DeliveryError.CONNECTION


def certificate(folder: Path, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return a server's and a client's side of a certificate for a name."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (folder / "both.pem").write_bytes(private + pem)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "both.pem")
    return server, ssl.create_default_context(cadata=pem.decode())


async def test_certificate_is_checked_by_the_urls_name(tmp_path: Path) -> None:
    server, client = certificate(tmp_path, "hook.example")
    names = Names([ipaddress.ip_address("127.0.0.1")])
    sender = Sender(LOOPBACK, resolve=names, tls=client)
    async with receiving(server) as receiver:
        good = await sender.post(f"https://hook.example:{receiver.port}/", MESSAGE, SECRETS)
        assert good.error is None
        bad = await sender.post(f"https://other.example:{receiver.port}/", MESSAGE, SECRETS)
        assert bad.error is DeliveryError.TLS
        untrusting = Sender(LOOPBACK, resolve=names)
        url = f"https://hook.example:{receiver.port}/"
        assert (await untrusting.post(url, MESSAGE, SECRETS)).error is DeliveryError.TLS
        await untrusting.close()
        assert len(receiver.heard) == 1
    await sender.close()


@pytest.mark.parametrize(
    ("text", "status", "connections"),
    [
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 X\r\n\r\n", 204, 1),
        (
            b"HTTP/1.1 103 Early\r\nlink: x\r\n\r\nHTTP/1.1 200 X\r\ncontent-length: 0\r\n\r\n",
            200,
            1,
        ),
        (b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", 200, 1),
        (b"HTTP/1.1 200 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", 200, 3),
        (b"HTTP/1.0 200 X\r\ncontent-length: 0\r\n\r\n", 200, 3),
        # The rest belongs to no request: it must not be taken for the next one's answer.
        (b"HTTP/1.1 204 X\r\n\r\nHTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n", 204, 3),
        (b"HTTP/1.1 204 X\r\n\r\nnonsense", 204, 3),
    ],
    ids=["continue", "early", "chunked", "close", "old", "another-answer", "rest"],
)
async def test_connection_stays_where_its_answer_is_whole(
    sender: Sender, receiver: Receiver, text: bytes, status: int, connections: int
) -> None:
    receiver.reply = always(text)
    for _ in range(3):
        got = await sender.post(receiver.url, MESSAGE, SECRETS)
        assert (got.status, got.error) == (status, None)
    assert receiver.connections == connections


async def test_connection_that_the_other_side_closed_is_not_used(
    sender: Sender, receiver: Receiver
) -> None:
    assert (await sender.post(receiver.url, MESSAGE, SECRETS)).error is None
    await receiver.close_all()
    assert (await sender.post(receiver.url, MESSAGE, SECRETS)).error is None
    assert receiver.connections == 2


async def test_head_has_the_urls_path_and_query(sender: Sender, receiver: Receiver) -> None:
    url = f"http://127.0.0.1:{receiver.port}?a=1&b=%20"
    assert (await sender.post(url, MESSAGE, SECRETS)).error is None
    assert receiver.heard[0].path == "/?a=1&b=%20"
