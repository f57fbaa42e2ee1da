"""A receiver of webhooks as an order service has one, which is away now and then."""

import asyncio
import random
from dataclasses import dataclass, field
from typing import Final

from load_tests.faults.heard import Heard
from mallard_client import BadWebhook, read_webhook

_HEAD_END: Final = b"\r\n\r\n"
_STATUS: Final = "HTTP/1.1 {} X\r\ncontent-length: 0\r\n\r\n"


@dataclass
class HookReceiver:
    """Verifies and notes what arrives. It answers 503 to a share of what arrives the first time.

    Attributes:
        secret: The endpoint's, known once it is made.
        fails: That share.
        heard: What it has answered with success.
        refused: How many requests were not signed with the secret.
    """

    fails: float = 0.0
    secret: str = ""
    heard: Heard = field(default_factory=Heard)
    failed: set[str] = field(default_factory=set)
    refused: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        try:
            while head := await reader.readuntil(_HEAD_END):
                lines = head.decode("latin-1").split("\r\n")[1:]
                headers = dict(line.split(": ", 1) for line in lines if line)
                body = await reader.readexactly(int(headers["content-length"]))
                writer.write(_STATUS.format(self._take(body, headers)).encode())
        except (asyncio.IncompleteReadError, asyncio.CancelledError, OSError):
            pass  # the engine has hung up, or the run is over
        finally:
            writer.close()

    def _take(self, body: bytes, headers: dict[str, str]) -> int:
        try:
            event = read_webhook(body, headers, self.secret)
        except BadWebhook:
            self.refused += 1
            return 400
        if event.id not in self.failed and random.random() < self.fails:
            self.failed.add(event.id)
            return 503
        self.heard.take(event)
        return 204
