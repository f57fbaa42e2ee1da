"""Encodes the messages of the driver socket and decodes the server's, for each subprotocol."""

from collections.abc import Callable
from typing import Any, Final, get_args

import msgspec

from mallard_protocol.codes import SUBPROTOCOL_JSON, SUBPROTOCOL_MSGPACK
from mallard_protocol.messages import ClientMessage, ServerMessage


def _tags(union: Any) -> frozenset[str]:
    return frozenset(str(struct.__struct_config__.tag) for struct in get_args(union))


CLIENT_TYPES: Final = _tags(ClientMessage)
SERVER_TYPES: Final = _tags(ServerMessage)


class FrameError(Exception):
    """A frame that is not a valid message. The text never quotes the frame."""


class UndecodableFrame(FrameError):
    """The frame is not well-formed or not a map: the socket is closed with 4500."""


class BadFrame(FrameError):
    """A well-formed frame of the server with invalid content."""


class _Typed(msgspec.Struct):
    """The type of any message."""

    type: Any = None


class Codec:
    """One subprotocol. Stateless: `MSGPACK` and `JSON` below serve every socket."""

    def __init__(
        self,
        subprotocol: str,
        *,
        server: Callable[[bytes], ServerMessage],
        typed: Callable[[bytes], _Typed],
        dump: Callable[[object], bytes],
        binary: bool,
    ) -> None:
        self.subprotocol: Final = subprotocol
        self.binary: Final = binary
        self._server = server
        self._typed = typed
        self._dump = dump

    def encode(self, message: ClientMessage | ServerMessage) -> bytes | str:
        """Return the payload of one frame: bytes for a binary frame, str for a text frame."""
        payload = self._dump(message)
        return payload if self.binary else payload.decode()

    def payload(self, data: bytes | str) -> bytes:
        """Return the bytes of a frame. Raises `UndecodableFrame` for the wrong type of frame."""
        if self.binary != isinstance(data, bytes):
            raise UndecodableFrame("text frames are JSON, binary frames MessagePack")
        try:
            return data if isinstance(data, bytes) else data.encode()
        except UnicodeEncodeError:
            raise UndecodableFrame("half a surrogate pair") from None

    def decode_server(self, data: bytes | str) -> ServerMessage | None:
        """Decode a server's frame; return None for a type that this version does not know.

        Unknown fields are ignored; unknown enum values are passed on.

        Raises:
            UndecodableFrame: the frame is not well-formed.
            BadFrame: a known type has invalid fields.
        """
        payload = self.payload(data)
        try:
            return self._server(payload)
        except msgspec.ValidationError:
            kind = self._type(payload)
            if isinstance(kind, str) and kind not in SERVER_TYPES:
                return None
            raise BadFrame("no type" if not isinstance(kind, str) else f"{kind}: invalid") from None
        except (msgspec.MsgspecError, RecursionError, UnicodeError):
            raise UndecodableFrame("malformed") from None

    def _type(self, payload: bytes) -> Any:
        try:
            return self._typed(payload).type
        except msgspec.ValidationError:
            raise UndecodableFrame("not a map") from None
        except (msgspec.MsgspecError, RecursionError, UnicodeError):
            raise UndecodableFrame("malformed") from None


MSGPACK: Final = Codec(
    SUBPROTOCOL_MSGPACK,
    server=msgspec.msgpack.Decoder(ServerMessage).decode,
    typed=msgspec.msgpack.Decoder(_Typed).decode,
    dump=msgspec.msgpack.Encoder().encode,
    binary=True,
)
JSON: Final = Codec(
    SUBPROTOCOL_JSON,
    server=msgspec.json.Decoder(ServerMessage).decode,
    typed=msgspec.json.Decoder(_Typed).decode,
    dump=msgspec.json.Encoder().encode,
    binary=False,
)
_BY_SUBPROTOCOL: Final = {codec.subprotocol: codec for codec in (MSGPACK, JSON)}


def for_subprotocol(name: str) -> Codec:
    """Return the codec of a negotiated subprotocol. Raises `KeyError` for any other name."""
    return _BY_SUBPROTOCOL[name]
