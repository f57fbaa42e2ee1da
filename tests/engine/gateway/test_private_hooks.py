"""The private parts of other packages that the gateway uses: a rename must fail here.

Each of these packages has an upper bound in `pyproject.toml`. To raise one, run these tests and
read what has changed around each hook.
"""

import asyncio
import inspect
import tomllib
from pathlib import Path
from typing import Any

import httptools
import pytest
import uvicorn
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.http11 import Request, Response
from websockets.protocol import Protocol
from websockets.server import ServerProtocol

from mallard_engine.gateway.http.transport.protocol import TimeoutHttpProtocol
from mallard_engine.gateway.server import Server, server_config
from mallard_engine.gateway.socket.transport.protocol import DriverSocketProtocol

pytestmark = pytest.mark.finding("A1", "A2", "A5")
ROOT = Path(__file__).parents[3]
BOUNDED = ("uvicorn", "websockets", "starlette", "httptools", "uvloop")


HTTP_HOOKS = """
    connection_made connection_lost data_received eof_received on_message_begin on_url on_header
    on_headers_complete on_body on_message_complete on_response_complete pause_writing
    resume_writing shutdown _should_upgrade _get_upgrade
"""
HTTP_ATTRIBUTES = """
    app app_state config connections cycle expect_100_continue flow headers logger access_logger
    loop parser pipeline scope server_state tasks transport ws_protocol_class client
"""
SOCKET_HOOKS = """
    connection_made connection_lost data_received send receive handle_connect handle_ping
    handle_pong handle_cont handle_text handle_bytes send_receive_event_to_app pause_writing
    resume_writing
"""
SOCKET_ATTRIBUTES = """
    close_sent close_timeout close_timer conn curr_msg_data_type disconnected frames
    handshake_complete handshake_initiated loop queue read_paused transport writable app_state
"""


async def _app(_scope: object, _receive: object, _send: object) -> None:
    raise AssertionError("not called")


def test_packages_used_privately_have_an_upper_bound() -> None:
    files = (ROOT / "engine/pyproject.toml", ROOT / "clients/python/pyproject.toml")
    needed = [
        it for file in files for it in tomllib.loads(file.read_text())["project"]["dependencies"]
    ]
    for name in BOUNDED:
        (line,) = (it for it in needed if it.startswith(name))
        assert ",<" in line, line


@pytest.mark.parametrize(
    ("owner", "names"),
    [
        (
            HttpToolsProtocol,
            HTTP_HOOKS,
        ),
        (RequestResponseCycle, "run_asgi send receive"),
        (FlowControl, "drain pause_reading resume_reading pause_writing resume_writing"),
        (
            WebSocketsSansIOProtocol,
            SOCKET_HOOKS,
        ),
        (
            uvicorn.Server,
            "startup shutdown handle_exit capture_signals _serve main_loop on_tick run",
        ),
        (
            ServerProtocol,
            "accept reject send_response data_to_send receive_data events_received send_close",
        ),
        (httptools.HttpRequestParser, "feed_data should_upgrade should_keep_alive get_method"),
        (httptools.HttpRequestParser, "get_http_version set_dangerous_leniencies"),
    ],
)
def test_overridden_and_called_methods_exist(owner: type, names: str) -> None:
    missing = [name for name in names.split() if not callable(getattr(owner, name, None))]
    assert not missing, owner


def test_every_override_has_a_base_method() -> None:
    ours = {
        TimeoutHttpProtocol: HttpToolsProtocol,
        DriverSocketProtocol: WebSocketsSansIOProtocol,
        Server: uvicorn.Server,
    }
    # Own methods; every other public method must override a hook of the base class.
    known = {
        *("read_messages", "end", "hang_up", "is_writable", "mark_authenticated", "refuse"),
        *("send_frames", "take_over", "begin_exit", "ops_port", "port"),
    }
    for cls, base in ours.items():
        public = {name for name in vars(cls) if not name.startswith("_")}
        own = {name for name in public if not hasattr(base, name)}
        assert own <= known, f"{cls.__name__} has methods that nothing calls"


async def test_used_instance_attributes_exist() -> None:
    config = server_config(_app, "127.0.0.1", 0)
    config.load()
    state = ServerState()
    http = HttpToolsProtocol(config, state, {})
    for name in HTTP_ATTRIBUTES.split():
        assert hasattr(http, name), name
    assert hasattr(FlowControl(asyncio.Transport()), "_is_writable_event")
    socket = WebSocketsSansIOProtocol(config, state, {})
    for name in SOCKET_ATTRIBUTES.split():
        assert hasattr(socket, name), name
    for name in ("handshake_exc", "parser", "parser_exc", "state", "close_rcvd"):
        assert hasattr(socket.conn, name), name
    assert {"tasks", "connections", "default_headers", "total_requests"} <= vars(state).keys()
    assert {"should_exit", "force_exit", "started"} <= vars(uvicorn.Server(config)).keys()
    assert isinstance(Config(_app).backlog, int)


def test_used_signatures_are_unchanged() -> None:
    wanted = {
        "scope",
        "transport",
        "flow",
        "logger",
        "access_logger",
        "access_log",
        "default_headers",
        "message_event",
        "expect_100_continue",
        "keep_alive",
        "on_response",
    }
    assert wanted <= inspect.signature(RequestResponseCycle.__init__).parameters.keys()
    fields = inspect.signature(RequestResponseCycle.__init__).parameters
    arguments: Any = {name: None for name in fields if name != "self"}
    cycle = RequestResponseCycle(**arguments)
    for name in ("body", "more_body", "disconnected", "response_started", "response_complete"):
        assert hasattr(cycle, name), name
    parameters = inspect.signature(HttpToolsProtocol.__init__).parameters
    assert list(parameters)[1:] == ["config", "server_state", "app_state", "_loop"]
    assert {"status_code", "reason_phrase", "headers", "body"} <= inspect.signature(
        Response
    ).parameters.keys()
    assert {"path", "headers"} <= inspect.signature(Request).parameters.keys()
    assert STATUS_LINE[431].startswith(b"HTTP/1.1 431 ")
    assert issubclass(ServerProtocol, Protocol)
    assert httptools.HttpParserCallbackError.__mro__.index(httptools.HttpParserError) > 0
