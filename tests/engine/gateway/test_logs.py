"""Logs hold no private data."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from mallard_engine.logs import REDACTED, configure_logging, redact
from tests.engine.gateway.conftest import HOME, NEAR, RunningNode
from tests.engine.gateway.driver_app import open_app

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJkMSJ9.c2lnbmF0dXJl"


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """JSON logs of this test; the loggers are as before afterwards."""
    root = logging.getLogger()
    before = root.handlers, root.level, logging.getLogger("uvicorn").level
    stream = io.StringIO()
    configure_logging("json", "debug", stream)
    structlog.configure(cache_logger_on_first_use=False)
    yield stream
    structlog.reset_defaults()
    root.handlers = before[0]
    root.setLevel(before[1])
    logging.getLogger("uvicorn").setLevel(before[2])


def events(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_private_fields_are_redacted() -> None:
    event = {
        "event": f"got {JWT} and Bearer abc",
        "token": "x",
        "address": "1 Main St",
        "job": {"name": "Ada", "lat": 33.3, "id": "j1"},
        "items": [f"Authorization: Bearer {JWT}"],
        "url": "redis://user:hunter2@host:6379/0",
        "count": 3,
    }
    clean = redact(None, "info", event)
    assert clean["event"] == f"got {REDACTED} and Bearer {REDACTED}"
    assert (clean["token"], clean["address"]) == (REDACTED, REDACTED)
    assert clean["job"] == {"name": REDACTED, "lat": REDACTED, "id": "j1"}
    assert JWT not in clean["items"][0]
    assert clean["url"] == f"redis://user:{REDACTED}@host:6379/0"
    assert clean["count"] == 3


def test_json_lines_of_the_engine_and_of_libraries(log: io.StringIO) -> None:
    structlog.get_logger("engine").info("socket open", session="s1", token="secret")
    logging.getLogger("asyncio").warning("slow %s", JWT)
    logging.getLogger("uvicorn.error").info("not of interest")
    ours, theirs = events(log)
    assert (ours["event"], ours["session"], ours["token"]) == ("socket open", "s1", REDACTED)
    assert (ours["level"], "timestamp" in ours) == ("info", True)
    assert theirs["event"] == f"slow {REDACTED}"


def test_traceback_is_redacted(log: io.StringIO) -> None:
    def fail(token: str) -> None:
        raise RuntimeError(f"cannot read {token}")

    try:
        fail(JWT)
    except RuntimeError:
        structlog.get_logger("engine").exception("failed")
    (event,) = events(log)
    assert "RuntimeError: cannot read" in str(event["exception"])
    assert JWT not in log.getvalue()


@pytest.fixture
def console() -> Iterator[io.StringIO]:
    """Console logs of this test."""
    stream = io.StringIO()
    root = logging.getLogger()
    before = root.handlers
    configure_logging("console", "info", stream)
    structlog.configure(cache_logger_on_first_use=False)
    yield stream
    structlog.reset_defaults()
    root.handlers = before


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[31mb", r"path=a\x1b[31mb"),
        ("a\x00\x9b\u2028\u202eb", r"path=a\x00\x9b\u2028\u202eb"),
        ("a\r\nnode down", "nnode down'"),
        ("/v1/é/\U0001f986", "path=/v1/é/\U0001f986"),
    ],
)
def test_console_escapes_what_a_terminal_obeys(console: io.StringIO, text: str, shown: str) -> None:
    structlog.get_logger("engine").info("operator call", path=text)
    logging.getLogger("asyncio").warning("two\nlines")
    written = console.getvalue()
    assert shown in written
    assert "two\nlines" in written
    assert written.replace("\n", "").isprintable()
    assert written.count("\n") == 3


def test_console_shows_no_local_variables(console: io.StringIO) -> None:
    _fail_with_a_local("hunter2")
    assert "ZeroDivisionError" in console.getvalue()
    assert "hunter2" not in console.getvalue()


def _fail_with_a_local(password: str) -> None:
    try:
        assert password
        1 / 0  # noqa: B018
    except ZeroDivisionError:
        structlog.get_logger("engine").exception("failed")


async def test_complete_run_logs_no_private_data(node: RunningNode, log: io.StringIO) -> None:
    token = node.token("d1")
    async with open_app(node.ws, token) as driver:
        await driver.go_online(position=NEAR)
        job = await node.submit()
        offer = await driver.receive("offer")
        accepted = await driver.ask("accept", offer=offer["offer"])
        await driver.progress(accepted["jobs"][0], "picked_up")
        await driver.ask("accept", offer="somebody-elses")
        await driver.ask("problem", kind="unsafe", job=job["id"], text="he said his name is Bob")
        await driver.progress(accepted["jobs"][0], "delivered")
    node.server.begin_exit()
    await node.task
    text = log.getvalue()
    assert {"socket open", "socket closed", "drain started"} <= {e["event"] for e in events(log)}
    private = ["Ada", "Main St", "Bob", token, str(HOME["lat"]), str(NEAR["lat"])]
    assert [word for word in private if word in text] == []
