"""A driver socket by `websocket-client`, whose blocking calls gevent turns into switches."""

import contextlib
from typing import Final

from websocket import ABNF, WebSocket, WebSocketException

from load_tests.frames import SUBPROTOCOL, BadFrame, Frame, unpack

_CONNECT_WITHIN_S: Final = 10.0
ABNORMAL: Final = 1006


class Closed(Exception):
    """The socket has ended, with the server's close code, or 1006 when it was lost."""

    def __init__(self, code: int) -> None:
        super().__init__(f"closed with {code}")
        self.code = code


class DriverSocket:
    """One connection. One greenlet reads it; any greenlet may send."""

    def __init__(self) -> None:
        self._socket = WebSocket()
        # The hello must be the first frame: nothing else is sent before it.
        self._is_open = False

    def open(self, url: str, hello: bytes) -> None:
        """Connect and send the hello. Raises `Closed`."""
        try:
            self._socket.connect(
                url,
                timeout=_CONNECT_WITHIN_S,
                subprotocols=[SUBPROTOCOL],
                # Only browsers send an Origin; and no proxy of the environment may be used.
                suppress_origin=True,
                http_no_proxy=["*"],
            )
            self._socket.send_binary(hello)
            self._is_open = True
        except (WebSocketException, OSError) as error:
            raise Closed(ABNORMAL) from error

    def wait_without_limit(self) -> None:
        """Lift the time limit of reads, which holds until the ``welcome``."""
        self._socket.settimeout(None)

    def read(self) -> Frame:
        """Wait for the next message. Raises `Closed`."""
        try:
            opcode, data = self._socket.recv_data()
            if opcode == ABNF.OPCODE_CLOSE:
                raise Closed(int.from_bytes(data[:2], "big") or ABNORMAL)
            return unpack(data)
        except (WebSocketException, OSError, BadFrame) as error:
            raise Closed(ABNORMAL) from error

    def send(self, payload: bytes) -> None:
        """Send a message; one that cannot be sent is lost with its socket."""
        if self._is_open:
            with contextlib.suppress(WebSocketException, OSError):
                self._socket.send_binary(payload)

    def lose(self) -> None:
        """Cut the connection without a close frame; the reader finds it closed."""
        self._socket.abort()

    def hang_up(self) -> None:
        """Send a close frame, without waiting for the answer, and close."""
        with contextlib.suppress(WebSocketException, OSError):
            self._socket.send_close()
        self.close()

    def close(self) -> None:
        """Free the connection."""
        self._is_open = False
        self._socket.shutdown()
