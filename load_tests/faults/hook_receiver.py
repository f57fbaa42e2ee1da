"""A receiver of webhooks as an order service has one: its own process, which fails now and then."""

import asyncio
import os
import random
import socket
import subprocess
import sys
from pathlib import Path
from typing import Final, TextIO

import msgspec

from load_tests.faults.heard import Heard
from mallard_client import BadWebhook, read_webhook
from mallard_protocol.events import Event

_HEAD_END: Final = b"\r\n\r\n"
_STATUS: Final = "HTTP/1.1 {} X\r\ncontent-length: 0\r\n\r\n"
_REFUSED: Final = "refused"
_VARIABLE: Final = "HOOK_SECRET"
_event = msgspec.json.Decoder(Event).decode


class HookReceiver:
    """Verifies and notes what arrives.

    Args:
        secret: The endpoint's.
        fails: To what share of what arrives the first time it answers 503.
        notes: Where it notes the events that it has answered with success, as JSON.
    """

    def __init__(self, secret: str, fails: float, notes: TextIO) -> None:
        self._secret = secret
        self._fails = fails
        self._notes = notes
        self._failed: set[str] = set()

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
            event = read_webhook(body, headers, self._secret)
        except BadWebhook:
            self._note(_REFUSED)
            return 400
        if event.id not in self._failed and random.random() < self._fails:
            self._failed.add(event.id)
            return 503
        self._note(body.decode())
        return 204

    def _note(self, line: str) -> None:
        self._notes.write(f"{line}\n")
        self._notes.flush()


class HookProcess:
    """The process, and what it has noted so far. Until it starts, deliveries wait to be accepted.

    Args:
        folder: For its notes.
        fails: As of `HookReceiver`.
    """

    def __init__(self, folder: Path, fails: float) -> None:
        self.heard = Heard()
        self.refused = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url: Final = f"http://127.0.0.1:{self._listening.getsockname()[1]}/"
        self._fails = fails
        self._notes = folder / "hook.jsonl"
        self._notes.touch()
        self._read_to = 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, secret: str) -> None:
        """Start it with the endpoint's secret."""
        listening = self._listening.fileno()
        module = (sys.executable, "-m", "load_tests.faults.hook_receiver")
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            [*module, str(listening), str(self._notes), str(self._fails)],
            env={**os.environ, _VARIABLE: secret},
            pass_fds=(listening,),
        )

    def read(self) -> Heard:
        """Return what was heard up to now."""
        with self._notes.open("rb") as notes:
            notes.seek(self._read_to)
            for line in notes:
                if not line.endswith(b"\n"):
                    break
                self._read_to += len(line)
                if line.strip() == _REFUSED.encode():
                    self.refused += 1
                else:
                    self.heard.take(_event(line))
        return self.heard

    def close(self) -> None:
        """End it."""
        self._listening.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()


async def _serve(listening: int, notes: TextIO, fails: float) -> None:
    receiver = HookReceiver(os.environ[_VARIABLE], fails, notes)
    server = await asyncio.start_server(receiver.serve, sock=socket.socket(fileno=listening))
    await server.serve_forever()


if __name__ == "__main__":
    with Path(sys.argv[2]).open("a", encoding="utf-8") as output:
        asyncio.run(_serve(int(sys.argv[1]), output, float(sys.argv[3])))
