"""An HTTP client like an order service: one request at a time on a keep-alive connection."""

import asyncio
import json
from typing import Any, Final

from load_tests.attacks.registry import Streams, Victim

_WITHIN_S: Final = 30.0


class Caller:
    """One connection to the victim, opened by the first request and reopened after it is closed."""

    def __init__(self, victim: Victim, token: str) -> None:
        self.token = token
        self._victim = victim
        self._streams: Streams | None = None

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        """Send a request; return the status and the body of its answer. Raises `OSError`.

        The status is counted.
        """
        if self._streams is None:
            self._streams = await self._victim.connect()
        reader, writer = self._streams
        writer.write(self._request(method, path, body))
        try:
            async with asyncio.timeout(_WITHIN_S):
                head = await reader.readuntil(b"\r\n\r\n")
                answer = await reader.readexactly(_content_length(head))
        except BaseException:
            self.hang_up()
            raise
        status = head[9:12].decode()
        self._victim.done[status] += 1
        if b"\r\nconnection: close" in head.lower():
            self.hang_up()
        return int(status), answer

    def hang_up(self) -> None:
        """Close the connection at once."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None

    def _request(self, method: str, path: str, body: Any) -> bytes:
        payload = b"" if body is None else json.dumps(body, ensure_ascii=False).encode()
        key = f"Idempotency-Key: {self._victim.rng.getrandbits(128):x}\r\n"
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {self._victim.host}:{self._victim.port}\r\n"
            f"Authorization: Bearer {self.token}\r\n{key if path == '/v1/jobs' else ''}"
            f"Content-Type: application/json\r\nContent-Length: {len(payload)}\r\n\r\n"
        )
        return head.encode() + payload


def _content_length(head: bytes) -> int:
    _, found, rest = head.lower().partition(b"\r\ncontent-length:")
    return int(rest.partition(b"\r\n")[0]) if found else 0
