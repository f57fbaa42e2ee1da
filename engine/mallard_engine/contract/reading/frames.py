"""Reads the frames of driver apps, in each subprotocol.

Decoding a client's frame is strict and cheap. Almost every frame is a message without nested maps.
msgspec decodes it into its struct, and if the frame has as many fields as the struct has values, it
holds no duplicate key and no unknown field, in whatever order its keys come and however wide its
numbers are. Every other frame goes through a strict parser, which takes about 10 µs for a frame of
an app and less than a millisecond for any 16 KiB.
"""

from collections.abc import Callable
from typing import Any, Final, Self, get_args

import msgspec
from msgspec import UNSET, structs

from mallard_engine.contract.reading.fixes import LooseLocation, keep_valid, read_position
from mallard_engine.contract.reading.strict import (
    Malformed,
    TooManyValues,
    parse_json,
    parse_msgpack,
    whole,
)
from mallard_engine.contract.reading.violations import violation
from mallard_protocol import codec
from mallard_protocol.codec import CLIENT_TYPES, Codec, FrameError, UndecodableFrame
from mallard_protocol.codes import MAX_CONTAINERS, MAX_DEPTH, MAX_FRAME_BYTES, ErrorCode
from mallard_protocol.fields import Token
from mallard_protocol.messages import (
    Accept,
    Auth,
    ClientMessage,
    Decline,
    Held,
    Hello,
    Location,
    OfferAck,
    Pong,
    Problem,
    Progress,
    Status,
)

_FlatMessage = Location | OfferAck | Accept | Decline | Status | Pong | Progress | Problem | Auth
_LooseMessage = (
    Status | LooseLocation | OfferAck | Accept | Decline | Progress | Problem | Auth | Pong
)

_FIELDS: Final[dict[Any, tuple[str, ...]]] = {
    struct.__struct_config__.tag: ("type", *struct.__struct_fields__)
    for struct in get_args(_LooseMessage)
}
_HELLO_FIELDS: Final = {field.name: field.type for field in structs.fields(Hello)}
_HELLO: Final = "hello"
_MAX_HOLDS: Final = 50
# The first byte of a MessagePack map of n entries is this plus n, for n up to 15.
_FIXMAP: Final = 0x80
_MAX_ID: Final = 2**53


class FrameTooBig(FrameError):
    """The frame is over `MAX_FRAME_BYTES`: the socket is closed with 1009."""


class BadMessage(FrameError):
    """A well-formed frame with invalid content: answered with `error`.

    `code` is `bad_field` or `unknown_type`. `request_id` is the frame's `id` if that is valid.
    """

    def __init__(self, code: ErrorCode, message: str, fields: dict[str, Any]) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.request_id = _request_id(fields)


class BadToken(BadMessage):
    """A `hello` whose token has an invalid form: the socket is closed with 4501."""


class Dropped(int):
    """The number of invalid optional fields of a `hello` that were ignored; `fields` names them."""

    fields: tuple[str, ...]

    def __new__(cls, fields: tuple[str, ...]) -> Self:
        """Count the fields."""
        self = super().__new__(cls, len(fields))
        self.fields = fields
        return self


class FrameReader:
    """Reads the frames of one subprotocol. Stateless: `MSGPACK` and `JSON` serve every socket."""

    def __init__(
        self,
        codec: Codec,
        *,
        flat: Callable[[bytes], ClientMessage],
        is_whole: Callable[[ClientMessage, bytes], bool],
        parse: Callable[[bytes], Any],
    ) -> None:
        self.codec: Final = codec
        self._flat = flat
        self._is_whole = is_whole
        self._parse = parse

    def read(self, data: bytes | str) -> tuple[ClientMessage, int]:
        """Decode a frame. Nil for an optional field counts as absent.

        Returns:
            The message, and the number of its invalid parts that were ignored: fixes of a
            `location` (possibly all of them) or optional fields of a `hello` (a `Dropped`).

        Raises:
            FrameTooBig: the frame is over `MAX_FRAME_BYTES`.
            UndecodableFrame: the frame is not well-formed.
            BadMessage: the content of the frame is invalid. Nothing else is raised.
        """
        payload = self.codec.payload(data)
        if len(payload) > MAX_FRAME_BYTES:
            raise FrameTooBig(f"over {MAX_FRAME_BYTES} bytes")
        try:
            message = self._flat(payload)
            if self._is_whole(message, payload):
                return message, 0
        except (msgspec.MsgspecError, RecursionError, UnicodeError):
            pass  # the strict parser below finds the error, if there is one
        return _message(self._map(payload))

    def _map(self, payload: bytes) -> dict[str, Any]:
        try:
            value = self._parse(payload)
        except Malformed as problem:
            raise UndecodableFrame(str(problem)) from None
        except TooManyValues:
            excess = f"more than {MAX_CONTAINERS} lists and maps"
            raise BadMessage(ErrorCode.BAD_FIELD, excess, {}) from None
        if not isinstance(value, dict):
            raise UndecodableFrame("not a map")
        return value


def _message(fields: dict[str, Any]) -> tuple[ClientMessage, int]:
    kind = fields.get("type")
    if kind == _HELLO:
        return _hello(fields)
    if isinstance(kind, str) and kind not in CLIENT_TYPES:
        raise BadMessage(ErrorCode.UNKNOWN_TYPE, "no such type of message", fields)
    known = _FIELDS.get(kind, ()) if isinstance(kind, str) else ("type",)
    try:
        message = msgspec.convert(_plain({name: fields.get(name) for name in known}), _LooseMessage)
    except msgspec.ValidationError as error:
        raise _bad_field(error, fields) from None
    if not isinstance(message, LooseLocation):
        return message, 0
    fixes, dropped = keep_valid(message.fixes)
    return Location(fixes, message.now_ms), dropped


def _hello(fields: dict[str, Any]) -> tuple[Hello, Dropped]:
    """Keep the valid fields: an app with one invalid field must still be able to connect."""
    good: dict[str, Any] = {}
    wrong: list[str] = []
    for name, kind in _HELLO_FIELDS.items():
        value = fields.get(name)
        if value is None:
            continue
        read, is_right = _hello_field(name, kind, value)
        if read is not None:
            good[name] = read
        if not is_right:
            wrong.append(name)
    return Hello(**good), Dropped(tuple(wrong))


def _hello_field(name: str, kind: Any, value: Any) -> tuple[Any, bool]:
    """Return the valid part of a field, None without one, and whether all of it is valid."""
    if name == "position":
        position = read_position(value)
        return position, position is not None
    if name == "holds":
        entries = value if isinstance(value, list) else [None]
        held = tuple(filter(None, (_converted(entry, Held) for entry in entries[:_MAX_HOLDS])))
        return held, len(held) == len(entries)
    if name == "token":
        token = _converted(value, Token)
        if token is None:
            raise BadToken(ErrorCode.BAD_FIELD, "/token: no token", {})
        return token, True
    read = _converted(value, kind)
    return read, read is not None


def _converted(value: Any, kind: Any) -> Any:
    try:
        return msgspec.convert(_plain(value), kind)
    except msgspec.ValidationError:
        return None


def _plain(value: Any) -> Any:
    """Convert whole floats to integers and drop nil fields, also in nested maps.

    Many encoders write nil for an absent field.
    """
    if type(value) is float:
        return whole(value)
    if type(value) is dict:
        return {name: _plain(inner) for name, inner in value.items() if inner is not None}
    return value


def _bad_field(error: msgspec.ValidationError, fields: dict[str, Any]) -> BadMessage:
    return BadMessage(ErrorCode.BAD_FIELD, str(violation(error)), fields)


def _request_id(fields: dict[str, Any]) -> int | None:
    request_id = fields.get("id")
    if type(request_id) is float:
        request_id = whole(request_id)
    if type(request_id) is int and abs(request_id) <= _MAX_ID:
        return request_id
    return None


def _is_whole_msgpack(message: ClientMessage, payload: bytes) -> bool:
    """Whether the frame has exactly the fields of a flat message."""
    if type(message) is Progress and message.proof is not UNSET:
        return False
    values = structs.astuple(message)
    return payload[0] == _FIXMAP + 1 + len(values) - values.count(UNSET)


def _is_whole_json(message: ClientMessage, payload: bytes) -> bool:
    """As `_is_whole_msgpack`: each key and each text of the message has two quotation marks."""
    if type(message) is Progress and message.proof is not UNSET:
        return False
    values = structs.astuple(message)
    texts = sum([isinstance(value, str) for value in values])
    names = len(values) - values.count(UNSET)
    return payload.count(b'"') == 2 * (2 + names + texts)


def _parse_msgpack(payload: bytes) -> Any:
    return parse_msgpack(payload, max_depth=MAX_DEPTH, max_containers=MAX_CONTAINERS)


def _parse_json(payload: bytes) -> Any:
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        raise Malformed("bad UTF-8") from None
    return parse_json(text, max_depth=MAX_DEPTH, max_containers=MAX_CONTAINERS)


MSGPACK: Final = FrameReader(
    codec.MSGPACK,
    flat=msgspec.msgpack.Decoder(_FlatMessage).decode,
    is_whole=_is_whole_msgpack,
    parse=_parse_msgpack,
)
JSON: Final = FrameReader(
    codec.JSON,
    flat=msgspec.json.Decoder(_FlatMessage).decode,
    is_whole=_is_whole_json,
    parse=_parse_json,
)
_BY_SUBPROTOCOL: Final = {it.codec.subprotocol: it for it in (MSGPACK, JSON)}


def for_subprotocol(name: str) -> FrameReader:
    """Return the reader of a negotiated subprotocol. Raises `KeyError` for any other name."""
    return _BY_SUBPROTOCOL[name]
