"""Posts one signed message to an endpoint, within bounds of time and size.

Standard Webhooks (standardwebhooks.com): the package of that project makes the signatures.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import httpcore2
from standardwebhooks import Webhook

from mallard_engine.contract.webhooks import ANSWER_WITHIN_S
from mallard_engine.core.webhooks.destinations import BadUrl, Destinations
from mallard_engine.gateway.webhooks.connections import Connections
from mallard_engine.gateway.webhooks.network import (
    AddressRefused,
    CheckedNetwork,
    NameNotFound,
    Resolve,
    Resolver,
    admitted,
)
from mallard_protocol.webhooks import DeliveryError

_LOOK_UP_WITHIN_S: Final = 2.0
USER_AGENT: Final = "Mallard-Webhooks/1"
_GONE: Final = 410


class Message(NamedTuple):
    """What is posted: `webhook-id`, and the body."""

    id: str
    body: bytes


class Answer(NamedTuple):
    """How a post ended. `error`: None if it is a success. `status`: None without an answer."""

    status: int | None
    error: DeliveryError | None
    duration_ms: int

    @property
    def is_gone(self) -> bool:
        """Whether the endpoint has answered that it is gone."""
        return self.status == _GONE


class Sender:
    """The client of all deliveries of a node.

    Args:
        destinations: where they may go.
        resolve: resolves a name; by default the system's resolver.
        within_s: the time for a delivery, from the name's resolution to the answer's head.
        tls: certificates to trust; by default the system's.
        now: the clock of the signatures.
    """

    def __init__(
        self,
        destinations: Destinations,
        *,
        resolve: Resolve | None = None,
        within_s: float = ANSWER_WITHIN_S,
        tls: ssl.SSLContext | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.destinations = destinations
        self._own = None if resolve else Resolver()
        self._resolve: Resolve = resolve or self._own or Resolver()
        self._within_s = within_s
        self._now = now
        networks = {
            scheme: CheckedNetwork(scheme, destinations, self._resolve)
            for scheme in ("https", "http")
        }
        self._connections = Connections(networks, tls)

    async def close(self) -> None:
        """Close all connections."""
        await self._connections.aclose()
        if self._own is not None:
            self._own.close()

    async def check(self, url: str) -> None:
        """Check that deliveries may go to a URL. A host that has no address now is not refused.

        Raises:
            BadUrl: they may not.
        """
        found = self.destinations.check(url)
        with contextlib.suppress(NameNotFound, TimeoutError):
            try:
                async with asyncio.timeout(_LOOK_UP_WITHIN_S):
                    await admitted(found.host, found.scheme, self.destinations, self._resolve)
            except AddressRefused:
                raise BadUrl("deliveries may not go to the address of this host") from None

    async def post(self, url: str, message: Message, secrets: Sequence[str]) -> Answer:
        """Post a message, signed with each secret. It never raises for what the endpoint does."""
        clock = asyncio.get_running_loop().time
        began_s = clock()
        status, error = None, None
        try:
            async with asyncio.timeout(self._within_s):
                status = await self._post(url, message, secrets)
        except (TimeoutError, httpcore2.TimeoutException):
            error = DeliveryError.TIMEOUT
        except (BadUrl, AddressRefused):
            error = DeliveryError.ADDRESS
        except NameNotFound:
            error = DeliveryError.NAME
        except httpcore2.NetworkError as failure:
            error = DeliveryError.TLS if _is_of_tls(failure) else DeliveryError.CONNECTION
        except (httpcore2.ProtocolError, httpcore2.UnsupportedProtocol, ValueError):
            error = DeliveryError.PROTOCOL
        if status is not None and not 200 <= status < 300:
            error = DeliveryError.REDIRECT if 300 <= status < 400 else DeliveryError.STATUS
        return Answer(status, error, round((clock() - began_s) * 1000))

    async def _post(self, url: str, message: Message, secrets: Sequence[str]) -> int:
        to = self.destinations.check(url)
        return await self._connections.ask(to, _request(url, message, secrets, self._now()))


@lru_cache(maxsize=1_024)
def _head(url: str) -> str:
    """Return the head of requests to a URL, but for what is of one message."""
    parts = urlsplit(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return (
        f"POST {path} HTTP/1.1\r\nhost: {parts.netloc}\r\nuser-agent: {USER_AGENT}\r\n"
        "content-type: application/json\r\naccept: */*\r\n"
    )


def _request(url: str, message: Message, secrets: Sequence[str], now: datetime) -> bytes:
    text = message.body.decode()
    signatures = " ".join(Webhook(secret).sign(message.id, now, text) for secret in secrets)
    head = (
        f"{_head(url)}content-length: {len(message.body)}\r\nwebhook-id: {message.id}\r\n"
        f"webhook-timestamp: {int(now.timestamp())}\r\nwebhook-signature: {signatures}\r\n\r\n"
    )
    return head.encode() + message.body


def _is_of_tls(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False
