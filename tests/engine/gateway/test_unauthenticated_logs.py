"""Clients cause a few log lines per second, whatever they send and however often."""

import asyncio
import time
from collections import Counter
from collections.abc import MutableMapping, Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from mallard_protocol.codes import Role
from tests.engine.gateway.conftest import RunningNode
from tests.engine.gateway.driver_app import open_app
from tests.engine.gateway.http_support import Caller
from tests.engine.gateway.raw_client import HANDSHAKE, RawClient, client_frame
from tests.support import eventually

_ROUNDS = 6
_STRANGERS = {
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "large head": b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 20_000,
    "foreign page": HANDSHAKE + b"Origin: https://evil.example\r\n\r\n",
    "query": HANDSHAKE.replace(b"/v1/driver", b"/v1/driver?token=x") + b"\r\n",
    "bad key": HANDSHAKE.replace(b"A" * 22 + b"==", b"no key") + b"\r\n",
    "bad token": HANDSHAKE + b"Authorization: Bearer x\r\n\r\n",
    "no subprotocol": HANDSHAKE.replace(b"mallard.v1.msgpack", b"other") + b"\r\n",
    "no hello": HANDSHAKE + b"\r\n" + client_frame(b"\xc1"),
    "bad text": HANDSHAKE + b"\r\n" + client_frame(b"\xff", 0x81),
    "unmasked": HANDSHAKE + b"\r\n" + b"\x82\x01x",
    "upgrade": b"GET /livez HTTP/1.0\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
}


def shown(lines: Sequence[MutableMapping[str, Any]]) -> Counter[str]:
    """How often each event stands in a log at the level `info`."""
    return Counter(line["event"] for line in lines if line["log_level"] != "debug")


def _refusals(lines: Sequence[MutableMapping[str, Any]]) -> Counter[str]:
    """How many connections the lines of a log say were refused, by reason."""
    refused = Counter[str]()
    for line in lines:
        if line["event"] == "connections refused":
            refused.update(line["reasons"])
    return refused


async def _send(node: RunningNode, data: bytes) -> None:
    async with await RawClient.open(node.server.port) as client:
        client.send(data)
        await client.rest()


@pytest.mark.finding("A8", "B14", "C1")
async def test_unauthenticated_clients_cause_few_log_lines(
    node: RunningNode, caplog: pytest.LogCaptureFixture
) -> None:
    began_s = time.monotonic()
    with capture_logs() as lines:
        await asyncio.gather(
            *(_send(node, it) for it in _STRANGERS.values() for _ in range(_ROUNDS))
        )
        # Counted lines are written once a second.
        await eventually(lambda: _refusals(lines)["origin"] >= _ROUNDS)
    seconds = time.monotonic() - began_s
    counts = shown(lines)
    assert set(counts) <= {"connections refused", "sockets refused", "sockets closed"}
    assert max(counts.values()) <= seconds + 2
    refused = _refusals(lines)
    assert refused["bad_request"] >= _ROUNDS
    # The counter is global: lines of the previous test may be pending.
    assert refused["origin"] >= _ROUNDS
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.finding("A8")
async def test_service_that_guesses_jobs_causes_few_log_lines(node: RunningNode) -> None:
    job = (await Caller(node).submit()).json()["id"]
    thief = Caller(node, "thief", Role.ORDERS)
    with capture_logs() as lines:
        for _ in range(20):
            assert (await thief.get(f"/v1/jobs/{job}")).status_code == 404
    assert 1 <= shown(lines)["job of another service requested"] <= 5


@pytest.mark.finding("A8")
async def test_driver_that_guesses_offers_causes_few_log_lines(node: RunningNode) -> None:
    with capture_logs() as lines:
        async with open_app(node.ws, node.token("d1")) as app:
            await app.hello()
            for _ in range(20):
                await app.ask("accept", offer="somebody-elses")
    assert 1 <= shown(lines)["refused: job or offer of another driver"] <= 5
