"""The routes of a node and the contract's table of operations are the same set."""

import re

import pytest
from starlette.requests import Request
from starlette.responses import Response

from mallard_engine.contract.operations.operation import Operation
from mallard_engine.contract.operations.table import OPERATIONS
from mallard_engine.gateway.auth.token_keys import TokenKeys
from mallard_engine.gateway.auth.tokens import Principal, Tokens
from mallard_engine.gateway.http.routes import api_routes, ops_routes
from mallard_engine.gateway.http.routing import bind
from mallard_protocol.codes import Role
from tests.engine.gateway.conftest import RunningNode

TOKENS = Tokens(TokenKeys())
READ = Operation(
    name="read", method="get", path="/x", summary="", tag="Jobs", roles=(Role.ORDERS,), status=200
)


async def handler(_request: Request, _principal: Principal) -> Response:
    return Response()


async def public(_request: Request) -> Response:
    return Response()


async def test_every_path_of_the_table_has_a_route_and_no_other(node: RunningNode) -> None:
    paths = sorted(route.path for route in api_routes(node.node.services, with_metrics=True))
    assert paths == sorted({operation.path for operation in OPERATIONS})


async def test_metrics_move_to_the_port_for_operators(node: RunningNode) -> None:
    api = {route.path for route in api_routes(node.node.services, with_metrics=False)}
    assert "/metrics" not in api
    assert {route.path for route in ops_routes(node.node.services)} == {
        "/livez",
        "/readyz",
        "/metrics",
    }


def test_operation_without_a_handler_is_refused() -> None:
    with pytest.raises(ValueError, match="differ: read"):
        bind([READ], TOKENS, {}, {})


def test_handler_without_an_operation_is_refused() -> None:
    with pytest.raises(ValueError, match="differ: write"):
        bind([READ], TOKENS, {"read": handler, "write": handler}, {})
    with pytest.raises(ValueError, match="differ: ping"):
        bind([READ], TOKENS, {"read": handler}, {"ping": public})


async def test_body_where_none_is_taken_is_refused(node: RunningNode) -> None:
    """It would be ignored in silence. An empty object says nothing, so it is no body."""
    takes_none = [
        it
        for it in OPERATIONS
        if it.roles and it.method != "get" and it.body is None and not it.media_types
    ]
    assert {"rotateWebhookSecret", "testWebhook", "acknowledgeAlert"} <= {
        it.name for it in takes_none
    }
    for operation in takes_none:
        path = re.sub(r"\{[^}]*\}", "x", operation.path)
        role = operation.roles[0]
        headers = node.bearer("who", role) | {"Content-Type": "application/json"}
        answers = [
            await node.http.request(operation.method, path, content=text, headers=headers)
            for text in (b'{"a": 1}', b"[", b" " * 70_000, b"{}")
        ]
        statuses = [it.status_code for it in answers]
        assert statuses[:3] == [422, 400, 413], (operation.name, statuses)
        assert statuses[3] not in {400, 413, 415}, (operation.name, answers[3].text)
