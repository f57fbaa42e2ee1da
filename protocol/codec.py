"""Bytes ⇄ messages of the driver socket, for each subprotocol.

Decoding a client's frame is strict and cheap. msgspec decodes the frame into its struct; when that
struct encodes to the very same bytes, the frame can hold no duplicate key, unknown field or other
oddity (2 µs in all). The same holds when the fields are ours in another order and the plain map
encodes to the same bytes (4 µs). Every other frame goes through a strict parser in Python (50 µs).
"""

from collections.abc import Callable
from typing import Any, Final, get_args

import msgspec

from protocol.codes import (
    MAX_DEPTH,
    MAX_FRAME_BYTES,
    SUBPROTOCOL_JSON,
    SUBPROTOCOL_MSGPACK,
    ErrorCode,
)
from protocol.fixes import LooseLocation, keep_good
from protocol.messages import (
    Accept,
    Auth,
    ClientMessage,
    Decline,
    Hello,
    Location,
    OfferAck,
    Pong,
    Problem,
    Progress,
    ServerMessage,
    Status,
)
from protocol.strict import Malformed, parse_json, parse_msgpack
from protocol.violations import violation

_LooseMessage = (
    Hello | Status | LooseLocation | OfferAck | Accept | Decline | Progress | Problem | Auth | Pong
)


def _tags(union: Any) -> frozenset[str]:
    return frozenset(str(struct.__struct_config__.tag) for struct in get_args(union))


CLIENT_TYPES: Final = _tags(ClientMessage)
SERVER_TYPES: Final = _tags(ServerMessage)
# Messages without maps inside: what their typed decoding accepts can hide nothing.
_FLAT_FIELDS: Final[dict[type, frozenset[str]]] = {
    message: frozenset({"type", *message.__struct_fields__})
    for message in (Location, OfferAck, Accept, Decline, Status, Pong)
}
# A server of a later version may nest deeper than we do; its messages are ignored, not refused.
_MAX_SERVER_DEPTH: Final = 32
_MAX_ID: Final = 2**53


class FrameError(Exception):
    """A frame that cannot become a message. The text never quotes the frame."""


class UndecodableFrame(FrameError):
    """Not well-formed, or no map: the socket is closed with 4500."""


class FrameTooBig(FrameError):
    """Over ``MAX_FRAME_BYTES``: the socket is closed with 1009."""


class BadFrame(FrameError):
    """Well-formed but wrong: answered with ``error``.

    ``code`` is ``bad_field`` or ``unknown_type``; ``request_id`` is the frame's ``id`` and
    ``message_type`` its ``type``, if it has usable ones.
    """

    def __init__(self, code: ErrorCode, message: str, fields: dict[str, Any]) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.request_id = _request_id(fields)
        self.message_type = _message_type(fields)


class Codec:
    """One subprotocol. Stateless: ``MSGPACK`` and ``JSON`` below serve every socket."""

    def __init__(
        self,
        subprotocol: str,
        *,
        client: Callable[[bytes], ClientMessage],
        server: Callable[[bytes], ServerMessage],
        plain: Callable[[bytes], dict[str, Any]],
        dump: Callable[[object], bytes],
        parse: Callable[[bytes, int], Any],
        binary: bool,
    ) -> None:
        self.subprotocol: Final = subprotocol
        self.binary: Final = binary
        self._client = client
        self._server = server
        self._plain = plain
        self._dump = dump
        self._parse = parse

    def encode(self, message: ClientMessage | ServerMessage) -> bytes | str:
        """Return the payload of one frame: bytes for a binary frame, str for a text frame."""
        payload = self._dump(message)
        return payload if self.binary else payload.decode()

    def decode_client(self, data: bytes | str) -> tuple[ClientMessage, int]:
        """Decode a driver app's frame into a message and the number of its bad fixes.

        Bad fixes of a ``location`` are left out; if none is left, its ``fixes`` are empty. Nil for
        an optional field counts as absent. Raises ``FrameTooBig``, ``UndecodableFrame``,
        ``BadFrame`` and nothing else.
        """
        payload = self._payload(data)
        if len(payload) > MAX_FRAME_BYTES:
            raise FrameTooBig(f"over {MAX_FRAME_BYTES} bytes")
        try:
            message = self._client(payload)
            if self._dump(message) == payload or self._reordered(message, payload):
                return message, 0
        except (msgspec.MsgspecError, RecursionError, UnicodeError):
            pass  # the strict way below finds out what is wrong, if anything is
        return _message(self._map(payload, MAX_DEPTH))

    def _reordered(self, message: ClientMessage, payload: bytes) -> bool:
        """Whether the payload holds the fields of ``message`` and nothing else, in any order."""
        known = _FLAT_FIELDS.get(type(message))
        if known is None:
            return False
        fields = self._plain(payload)
        return fields.keys() <= known and self._dump(fields) == payload

    def decode_server(self, data: bytes | str) -> ServerMessage | None:
        """Decode a server's frame; None for a type that this version does not know.

        Unknown fields are ignored, unknown enum values are handed on. Raises ``UndecodableFrame``
        and, for a known type with wrong fields, ``BadFrame``.
        """
        payload = self._payload(data)
        try:
            return self._server(payload)
        except msgspec.ValidationError as error:
            fields = self._map(payload, _MAX_SERVER_DEPTH)
            kind = fields.get("type")
            if isinstance(kind, str) and kind not in SERVER_TYPES:
                return None
            raise _bad_field(error, fields) from None
        except (msgspec.MsgspecError, RecursionError, UnicodeError):
            raise UndecodableFrame("malformed") from None

    def _payload(self, data: bytes | str) -> bytes:
        if self.binary != isinstance(data, bytes):
            raise UndecodableFrame("text frames are JSON, binary frames MessagePack")
        try:
            return data if isinstance(data, bytes) else data.encode()
        except UnicodeEncodeError:
            raise UndecodableFrame("half a surrogate pair") from None

    def _map(self, payload: bytes, max_depth: int) -> dict[str, Any]:
        try:
            value = self._parse(payload, max_depth)
        except Malformed as problem:
            raise UndecodableFrame(str(problem)) from None
        if not isinstance(value, dict):
            raise UndecodableFrame("not a map")
        return value


def _message(fields: dict[str, Any]) -> tuple[ClientMessage, int]:
    kind = fields.get("type")
    if isinstance(kind, str) and kind not in CLIENT_TYPES:
        raise BadFrame(ErrorCode.UNKNOWN_TYPE, "no such type of message", fields)
    try:
        message = msgspec.convert(_without_nil(fields), _LooseMessage)
    except msgspec.ValidationError as error:
        raise _bad_field(error, fields) from None
    if not isinstance(message, LooseLocation):
        return message, 0
    fixes, dropped = keep_good(message.fixes)
    return Location(fixes, message.now_ms), dropped


def _without_nil(fields: dict[str, Any]) -> dict[str, Any]:
    """Drop nil fields: many apps' encoders write nil for what is absent."""
    return {
        name: _without_nil(value) if isinstance(value, dict) else value
        for name, value in fields.items()
        if value is not None
    }


def _bad_field(error: msgspec.ValidationError, fields: dict[str, Any]) -> BadFrame:
    return BadFrame(ErrorCode.BAD_FIELD, str(violation(error)), fields)


def _request_id(fields: dict[str, Any]) -> int | None:
    request_id = fields.get("id")
    if type(request_id) is int and abs(request_id) <= _MAX_ID:
        return request_id
    return None


def _message_type(fields: dict[str, Any]) -> str | None:
    kind = fields.get("type")
    return kind if isinstance(kind, str) else None


def _parse_msgpack(payload: bytes, max_depth: int) -> Any:
    return parse_msgpack(payload, max_depth=max_depth)


def _parse_json(payload: bytes, max_depth: int) -> Any:
    return parse_json(payload.decode(), max_depth=max_depth)


MSGPACK: Final = Codec(
    SUBPROTOCOL_MSGPACK,
    client=msgspec.msgpack.Decoder(ClientMessage).decode,
    server=msgspec.msgpack.Decoder(ServerMessage).decode,
    plain=msgspec.msgpack.Decoder(dict[str, Any]).decode,
    dump=msgspec.msgpack.Encoder().encode,
    parse=_parse_msgpack,
    binary=True,
)
JSON: Final = Codec(
    SUBPROTOCOL_JSON,
    client=msgspec.json.Decoder(ClientMessage).decode,
    server=msgspec.json.Decoder(ServerMessage).decode,
    plain=msgspec.json.Decoder(dict[str, Any]).decode,
    dump=msgspec.json.Encoder().encode,
    parse=_parse_json,
    binary=False,
)
_BY_SUBPROTOCOL: Final = {codec.subprotocol: codec for codec in (MSGPACK, JSON)}


def for_subprotocol(name: str) -> Codec:
    """Return the codec of a negotiated subprotocol. Raises ``KeyError`` for any other name."""
    return _BY_SUBPROTOCOL[name]
