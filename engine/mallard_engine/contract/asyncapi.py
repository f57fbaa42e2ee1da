"""Generates the AsyncAPI 3 document of the driver socket and of the event streams."""

from typing import Any, Final, get_args

from mallard_engine.contract.advice import ERROR_ADVICE
from mallard_engine.contract.events import EVENT_MEANING, OPERATORS_ONLY
from mallard_engine.contract.info import HOST, HOST_IS, LICENSE, VERSION
from mallard_engine.contract.json_schema import REF, schemas
from mallard_engine.contract.limits import SOCKET_LIMITS, as_object
from mallard_protocol.codes import (
    CLOSE_ADVICE,
    SUBPROTOCOL_JSON,
    SUBPROTOCOL_MSGPACK,
    SUBPROTOCOLS,
    Advice,
)
from mallard_protocol.events import Event
from mallard_protocol.messages import ClientMessage, ServerMessage

# Suffix of the schema names of messages: `Error` and `Location` alone would clash with built-in
# types in generated code.
_MESSAGE: Final = "Message"


_EVENT_MESSAGE: Final = {
    "name": "event",
    "summary": "One event; `x-event-types` lists the types",
    "contentType": "application/json",
    "payload": {"$ref": f"{REF}{Event.__name__}{_MESSAGE}"},
}
_EVENT_CHANNELS: Final[dict[str, dict[str, Any]]] = {
    "marketEvents": {
        "address": "/v1/events",
        "description": "The events of a market, as server-sent events: `id` is the event's id,"
        " `event` its type, `data` the message. The OpenAPI document has the parameters.",
        "servers": [{"$ref": "#/servers/api"}],
        "messages": {"event": {"$ref": "#/components/messages/event"}},
        "bindings": {"http": {}},
    },
    "jobEvents": {
        "address": "/v1/jobs/{id}/events",
        "description": "The events of a job, likewise; the stream ends after its last one.",
        "servers": [{"$ref": "#/servers/api"}],
        "parameters": {"id": {"description": "The job's id"}},
        "messages": {"event": {"$ref": "#/components/messages/event"}},
        "bindings": {"http": {}},
    },
}


def asyncapi() -> dict[str, Any]:
    """Return the AsyncAPI 3 document: every message both ways, codes, advice and limits."""
    from_driver, to_driver = get_args(ClientMessage), get_args(ServerMessage)
    requests = tuple(it for it in from_driver if "id" in it.__struct_fields__)
    others = tuple(it for it in from_driver if it not in requests)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Mallard driver socket and events",
            "version": VERSION,
            "description": "The messages between a driver app and the engine, and the events that"
            " order services and operators get. Ignore fields, types and enum values that you do"
            " not know.",
            "license": LICENSE,
            "tags": [
                {"name": "Drivers", "description": "What a driver app and the engine say"},
                {"name": "Events", "description": "What happens in a market, as it happens"},
            ],
        },
        "servers": {
            "node": {"host": HOST, "protocol": "ws", "description": HOST_IS},
            "api": {"host": HOST, "protocol": "http", "description": HOST_IS},
        },
        "defaultContentType": "application/json",
        "channels": {"driver": _channel((*from_driver, *to_driver)), **_EVENT_CHANNELS},
        "operations": {
            "receiveRequests": {
                **_socket_operation("receive", "Answered by one `reply` or `error`", requests),
                "reply": {
                    "channel": {"$ref": "#/channels/driver"},
                    "messages": [_channel_message("reply"), _channel_message("error")],
                },
            },
            "receive": _socket_operation("receive", "Not answered", others),
            "send": _socket_operation("send", "From the server", to_driver),
            **{name: _event_operation(name) for name in _EVENT_CHANNELS},
        },
        "components": {
            "messages": {
                **{_tag(it): _message(it) for it in (*from_driver, *to_driver)},
                "event": _EVENT_MESSAGE,
            },
            "schemas": schemas(
                (*from_driver, *to_driver, Event),
                draft="07",
                names={it.__name__: _schema_of(it) for it in (*from_driver, *to_driver, Event)},
            ),
        },
        "x-subprotocols": [
            {"name": SUBPROTOCOL_MSGPACK, "frames": "binary", "content": "application/vnd.msgpack"},
            {"name": SUBPROTOCOL_JSON, "frames": "text", "content": "application/json"},
        ],
        "x-close-codes": [
            {"code": int(code), "name": code.name.lower(), **_advice(advice)}
            for code, advice in CLOSE_ADVICE.items()
        ],
        "x-error-codes": [
            {"code": code.value, **_advice(advice)} for code, advice in ERROR_ADVICE.items()
        ],
        "x-event-types": [
            {
                "type": kind.value,
                "meaning": meaning,
                "operators_only": kind in OPERATORS_ONLY,
            }
            for kind, meaning in EVENT_MEANING.items()
        ],
        "x-limits": as_object(SOCKET_LIMITS),
    }


def _channel(messages: tuple[Any, ...]) -> dict[str, Any]:
    headers = {
        "Sec-WebSocket-Protocol": {"type": "string", "enum": list(SUBPROTOCOLS)},
        "Authorization": {"type": "string", "description": "`Bearer` and a token of role `driver`"},
    }
    return {
        "address": "/v1/driver",
        "description": "The subprotocols carry the same fields. The token may also be in `hello`.",
        "messages": {_tag(it): {"$ref": f"#/components/messages/{_tag(it)}"} for it in messages},
        "bindings": {"ws": {"method": "GET", "headers": {"type": "object", "properties": headers}}},
    }


def _event_operation(channel: str) -> dict[str, Any]:
    return {
        "action": "send",
        "channel": {"$ref": f"#/channels/{channel}"},
        "summary": "At least once, in the order of `sequence` for each job",
        "messages": [{"$ref": f"#/channels/{channel}/messages/event"}],
        "bindings": {"http": {"method": "GET"}},
    }


def _socket_operation(action: str, summary: str, messages: tuple[Any, ...]) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": "#/channels/driver"},
        "summary": summary,
        "messages": [_channel_message(_tag(it)) for it in messages],
    }


def _channel_message(tag: str) -> dict[str, Any]:
    return {"$ref": f"#/channels/driver/messages/{tag}"}


def _message(struct: Any) -> dict[str, Any]:
    message = {
        "name": _tag(struct),
        "summary": (struct.__doc__ or "").split("\n", 1)[0].replace("``", "`"),
        "payload": {"$ref": REF + _schema_of(struct)},
    }
    if "id" in struct.__struct_fields__:
        message["correlationId"] = {"location": "$message.payload#/id"}
    return message


def _schema_of(struct: Any) -> str:
    return f"{struct.__name__}{_MESSAGE}"


def _tag(struct: Any) -> str:
    return str(struct.__struct_config__.tag)


def _advice(advice: Advice) -> dict[str, Any]:
    return {"meaning": advice.meaning, "retry": advice.retry}
