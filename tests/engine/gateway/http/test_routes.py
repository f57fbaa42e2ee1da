"""The routes of a node and the contract's table of operations are the same set."""

import pytest
from starlette.requests import Request
from starlette.responses import Response

from mallard_engine.contract.operations.operation import Operation
from mallard_engine.contract.operations.table import OPERATIONS
from mallard_engine.gateway.auth import Principal, Tokens
from mallard_engine.gateway.http.routes import api_routes, ops_routes
from mallard_engine.gateway.http.routing import bind
from mallard_engine.gateway.token_keys import TokenKeys
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
