"""Generates the OpenAPI 3.1 document of the HTTP API."""

import re
from itertools import groupby
from typing import Any, Final

from mallard_engine.contract.advice import PROBLEMS
from mallard_engine.contract.info import HOST, HOST_IS, LICENSE, VERSION
from mallard_engine.contract.json_schema import REF, schemas
from mallard_engine.contract.limits import HTTP_LIMITS, as_object
from mallard_engine.contract.operations.operation import Operation, Parameter
from mallard_engine.contract.operations.shapes import ID, IF_NONE_MATCH
from mallard_engine.contract.operations.table import OPERATIONS, TAGS
from mallard_protocol.codes import ProblemCode, Role
from mallard_protocol.resources import Problem

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
            "license": LICENSE,
        },
        "servers": [{"url": f"http://{HOST}", "description": HOST_IS}],
        "tags": [{"name": name, "description": meaning} for name, meaning in TAGS],
        "paths": paths,
        "components": {
            "schemas": schemas(tuple(sorted(structs, key=lambda struct: struct.__name__))),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
            },
        },
        "x-roles": [role.value for role in Role],
        "x-limits": as_object(HTTP_LIMITS),
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
            "content": {
                media_type: {"schema": {"$ref": REF + operation.body.__name__}}
                for media_type in operation.body_types
            },
        }
    if operation.media_types:
        content = {kind: {"schema": _FILE} for kind in operation.media_types}
        document["requestBody"] = {"required": True, "content": content}
    return document


def _security(operation: Operation) -> list[dict[str, Any]]:
    """Return one alternative per role."""
    alternatives: list[dict[str, Any]] = [{"bearer": [role.value]} for role in operation.roles]
    # The socket also takes its token in `hello`.
    return [*alternatives, {}] if operation.status == 101 else alternatives


def _path_parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": ID}


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
        good["content"] = {operation.answer: {"schema": _schema_of(operation.answer)}}
    elif operation.answer is not None:
        schema = {"$ref": REF + operation.answer.__name__}
        good["content"] = {"application/json": {"schema": schema}}
    accepted = {"202": {**good, "description": "Accepted: see the state"}}
    return {
        str(operation.status): good,
        **(accepted if operation.accepted else {}),
        **(_NOT_MODIFIED if IF_NONE_MATCH in operation.parameters else {}),
        **_problem_responses(operation),
    }


_FILE: Final = {"type": "string", "format": "binary"}


def _schema_of(media_type: str) -> dict[str, Any]:
    if media_type.startswith("image/"):
        return _FILE
    return {"type": "object" if media_type == "application/json" else "string"}


_NOT_MODIFIED: Final = {"304": {"description": "Unchanged since the version in `If-None-Match`"}}
_GOOD: Final = {101: "The socket is open", 201: "Created, or created by an earlier equal request"}


def _problem_responses(operation: Operation) -> dict[str, Any]:
    codes = {*operation.problems, _P.INTERNAL}
    if operation.roles:
        codes |= {*_WITH_TOKEN}
        if Role.STORE not in operation.roles and operation.status != 101:
            codes.add(_P.NOT_FOUND)  # to a counter, nothing else exists
    if operation.body is not None or operation.media_types:
        codes |= {*_WITH_BODY}
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
