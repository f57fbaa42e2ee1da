"""Generates the OpenAPI 3.1 document of the HTTP API and the AsyncAPI 3 document of the socket."""

import re
from itertools import groupby
from typing import Any, Final, get_args

from mallard_protocol.codes import (
    CLOSE_ADVICE,
    ERROR_ADVICE,
    PROBLEMS,
    SUBPROTOCOL_JSON,
    SUBPROTOCOL_MSGPACK,
    SUBPROTOCOLS,
    Advice,
    ProblemCode,
    Role,
)
from mallard_protocol.components import HTTP_LIMITS, REF, SOCKET_LIMITS, schemas
from mallard_protocol.messages import ClientMessage, ServerMessage
from mallard_protocol.operations import OPERATIONS, TAGS, Operation, Parameter
from mallard_protocol.resources import Problem

VERSION: Final = "1.0.0"
_LICENSE: Final = {
    "name": "Apache-2.0",
    "url": "https://www.apache.org/licenses/LICENSE-2.0",
}
_HOST: Final = "127.0.0.1:8000"
_HOST_IS: Final = "A node on this machine, where `mallard serve` listens by default"
# Suffix of the schema names of messages: `Error` and `Location` alone would clash with built-in
# types in generated code.
_MESSAGE: Final = "Message"
_P = ProblemCode
_WITH_TOKEN: Final = (
    _P.BAD_REQUEST,
    _P.UNAUTHORIZED,
    _P.FORBIDDEN,
    _P.RATE_LIMITED,
    _P.STORE_UNAVAILABLE,
)
_WITH_BODY: Final = (
    _P.MALFORMED_JSON,
    _P.BODY_TOO_LARGE,
    _P.UNSUPPORTED_MEDIA_TYPE,
    _P.INVALID_FIELDS,
)


def openapi() -> dict[str, Any]:
    """Return the OpenAPI 3.1 document: every path, parameter, header and problem code."""
    structs: set[type] = {Problem}
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        structs |= {it for it in (operation.body, operation.answer) if isinstance(it, type)}
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Mallard order API",
            "version": VERSION,
            "description": "Jobs for drivers who collect at malls. Ignore fields and enum values"
            " that you do not know; unknown fields in a request are refused.",
            "license": _LICENSE,
        },
        "servers": [{"url": f"http://{_HOST}", "description": _HOST_IS}],
        "tags": [{"name": name, "description": meaning} for name, meaning in TAGS],
        "paths": paths,
        "components": {
            "schemas": schemas(tuple(sorted(structs, key=lambda struct: struct.__name__))),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
            },
        },
        "x-roles": [role.value for role in Role],
        "x-limits": _limits(HTTP_LIMITS),
        "x-problem-codes": [
            {"code": code.value, "status": kind.status, "title": kind.title, "retry": kind.retry}
            for code, kind in PROBLEMS.items()
        ],
    }


def _operation(operation: Operation) -> dict[str, Any]:
    document: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.tag],
        "security": _security(operation),
        "parameters": [
            *(_path_parameter(name) for name in re.findall(r"{(\w+)}", operation.path)),
            *(_parameter(parameter) for parameter in operation.parameters),
        ],
        "responses": _responses(operation),
    }
    if operation.body is not None:
        document["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": REF + operation.body.__name__}}},
        }
    if not operation.served:
        document["description"] = "Not served yet: answers 501 `not_implemented`."
    return document


def _security(operation: Operation) -> list[dict[str, Any]]:
    """Return one alternative per role."""
    alternatives: list[dict[str, Any]] = [{"bearer": [role.value]} for role in operation.roles]
    # The socket also takes its token in `hello`.
    return [*alternatives, {}] if operation.status == 101 else alternatives


def _path_parameter(name: str) -> dict[str, Any]:
    schema = {"type": "string", "pattern": "^[A-Za-z0-9_.:-]{1,64}$"}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.description,
        "required": parameter.required,
        "schema": parameter.schema,
    }


def _responses(operation: Operation) -> dict[str, Any]:
    good: dict[str, Any] = {"description": _GOOD.get(operation.status, "Fine")}
    if operation.headers:
        good["headers"] = {
            name: {"description": meaning, "schema": {"type": "string"}}
            for name, meaning in operation.headers
        }
    if isinstance(operation.answer, str):
        kind = "object" if operation.answer == "application/json" else "string"
        good["content"] = {operation.answer: {"schema": {"type": kind}}}
    elif operation.answer is not None:
        schema = {"$ref": REF + operation.answer.__name__}
        good["content"] = {"application/json": {"schema": schema}}
    accepted = {"202": {**good, "description": "Accepted: see the state"}}
    return {
        str(operation.status): good,
        **(accepted if operation.accepted else {}),
        **_problem_responses(operation),
    }


_GOOD: Final = {101: "The socket is open", 201: "Created, or created by an earlier equal request"}


def _problem_responses(operation: Operation) -> dict[str, Any]:
    codes = {*operation.problems, _P.INTERNAL}
    if operation.roles:
        codes |= {*_WITH_TOKEN}
    if operation.body is not None:
        codes |= {*_WITH_BODY}
    if not operation.served:
        codes |= {_P.NOT_IMPLEMENTED}
    ordered = sorted(codes, key=lambda code: (PROBLEMS[code].status, code.value))
    return {
        str(status): _problem_response(list(of_status))
        for status, of_status in groupby(ordered, key=lambda code: PROBLEMS[code].status)
    }


def _problem_response(codes: list[ProblemCode]) -> dict[str, Any]:
    response: dict[str, Any] = {
        "description": "; ".join(f"`{code.value}`: {PROBLEMS[code].title}" for code in codes),
        "content": {
            "application/problem+json": {
                "schema": {"$ref": REF + "Problem"},
            }
        },
        # Listed here, because a schema per response would become a class in generated code.
        "x-problem-codes": [code.value for code in codes],
    }
    if any(PROBLEMS[code].retry for code in codes):
        response["headers"] = {
            "Retry-After": {"description": "Seconds to wait", "schema": {"type": "integer"}}
        }
    return response


def _limits(limits: tuple[tuple[str, float, str], ...]) -> dict[str, Any]:
    return {name: {"value": value, "meaning": meaning} for name, value, meaning in limits}


def asyncapi() -> dict[str, Any]:
    """Return the AsyncAPI 3 document: every message both ways, codes, advice and limits."""
    from_driver, to_driver = get_args(ClientMessage), get_args(ServerMessage)
    requests = tuple(it for it in from_driver if "id" in it.__struct_fields__)
    others = tuple(it for it in from_driver if it not in requests)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Mallard driver socket",
            "version": VERSION,
            "description": "The messages between a driver app and the engine. Ignore fields,"
            " types and enum values that you do not know.",
            "license": _LICENSE,
            "tags": [{"name": "Drivers", "description": "What a driver app and the engine say"}],
        },
        "servers": {"node": {"host": _HOST, "protocol": "ws", "description": _HOST_IS}},
        "defaultContentType": "application/json",
        "channels": {"driver": _channel((*from_driver, *to_driver))},
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
        },
        "components": {
            "messages": {_tag(it): _message(it) for it in (*from_driver, *to_driver)},
            "schemas": schemas(
                (*from_driver, *to_driver),
                draft="07",
                names={it.__name__: _schema_of(it) for it in (*from_driver, *to_driver)},
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
        "x-limits": _limits(SOCKET_LIMITS),
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
