"""The driver socket through `websocket-client`, which waits in greenlets where asyncio cannot."""

import contextlib
import itertools
from typing import Any, Final

from gevent.event import AsyncResult
from websocket import ABNF, WebSocket, WebSocketException

from load_tests.frames import SUBPROTOCOL, BadFrame, Frame, pack, unpack

_CONNECT_WITHIN_S: Final = 10.0
ABNORMAL: Final = 1006


class Offline(Exception):
    """The socket was lost before the answer came."""


class Closed(Exception):
    """The socket has ended: with the server's close code, or 1006 when it was lost."""

    def __init__(self, code: int) -> None:
        super().__init__(f"closed with {code}")
        self.code = code


class DriverSocket:
    """One connection. One greenlet reads it; any may send."""

    def __init__(self) -> None:
        self._socket = WebSocket()
        self._ids = itertools.count(1)
        self._asked: dict[int, AsyncResult] = {}
        # Others may send once the hello is out: it has to be the first frame.
        self._is_open = False

    def open(self, url: str, hello: bytes) -> Frame:
        """Connect, say hello and return the ``welcome``. Raises `Closed`."""
        try:
            self._socket.connect(
                url,
                timeout=_CONNECT_WITHIN_S,
                subprotocols=[SUBPROTOCOL],
                # An Origin is a browser's; no proxy of the environment may come between.
                suppress_origin=True,
                http_no_proxy=["*"],
            )
            self._socket.send_binary(hello)
            self._is_open = True
        except (WebSocketException, OSError) as error:
            raise Closed(ABNORMAL) from error
        while (frame := self.read())["type"] != "welcome":
            self.send("pong")
        self._socket.settimeout(None)
        return frame

    def read(self) -> Frame:
        """Wait for the next message that answers no request of `ask`. Raises `Closed`."""
        while True:
            try:
                opcode, data = self._socket.recv_data()
                if opcode == ABNF.OPCODE_CLOSE:
                    raise Closed(int.from_bytes(data[:2], "big") or ABNORMAL)
                frame = unpack(data)
            except (WebSocketException, OSError, BadFrame) as error:
                raise Closed(ABNORMAL) from error
            waiting = self._asked.pop(frame.get("id", 0), None)
            if waiting is None:
                return frame
            waiting.set(frame)

    def send(self, kind: str, /, **fields: Any) -> None:
        """Send a message; one that cannot be sent is lost with its socket."""
        if self._is_open:
            with contextlib.suppress(WebSocketException, OSError):
                self._socket.send_binary(pack(kind, **fields))

    def ask(self, kind: str, /, **fields: Any) -> Frame:
        """Send a request and wait for its ``reply`` or ``error``. Raises `Offline`."""
        if not self._is_open:
            raise Offline
        number = next(self._ids)
        self._asked[number] = waiting = AsyncResult()
        self.send(kind, id=number, **fields)
        answer: Frame = waiting.get()
        return answer

    def lose(self) -> None:
        """Cut the connection without a word; the reader finds it closed."""
        self._socket.abort()

    def hang_up(self) -> None:
        """Close it with a word, without waiting for the answer."""
        with contextlib.suppress(WebSocketException, OSError):
            self._socket.send_close()
        self.let_go()

    def let_go(self) -> None:
        """Free the connection and whoever waits for an answer on it."""
        self._is_open = False
        self._socket.shutdown()
        for waiting in self._asked.values():
            waiting.set_exception(Offline())
        self._asked.clear()
