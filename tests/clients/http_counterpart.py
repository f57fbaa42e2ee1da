"""A small HTTP server in place of the engine that gives the answers a test has set."""

import json
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Seen:
    """A request as it came in."""

    method: str
    path: str
    params: dict[str, str]
    headers: dict[str, str]
    body: Any


@dataclass
class Answer:
    """What to answer; status 0: nothing, the connection is cut."""

    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


class HttpCounterpart:
    """Answers come in the order in which the test queued them."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.answers: deque[Answer] = deque()
        self.url = ""

    def will_answer(self, *answers: Answer) -> None:
        self.answers.extend(answers)

    @classmethod
    @contextmanager
    def listening(cls) -> Iterator["HttpCounterpart"]:
        counterpart = cls()

        class Handler(_Handler):
            owner = counterpart

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            counterpart.url = f"http://127.0.0.1:{server.server_port}"
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            try:
                yield counterpart
            finally:
                server.shutdown()
                thread.join()


class _Handler(BaseHTTPRequestHandler):
    owner: HttpCounterpart
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        raw = self.rfile.read(length)
        address = urlsplit(self.path)
        self.owner.seen.append(
            Seen(
                self.command,
                address.path,
                dict(parse_qsl(address.query)),
                {name.lower(): value for name, value in self.headers.items()},
                json.loads(raw) if raw else None,
            )
        )
        answer = self.owner.answers.popleft()
        if not answer.status:
            self.close_connection = True
            return
        body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_PATCH = _answer  # noqa: N815 - the standard library's names

    def log_message(self, *args: Any) -> None:
        """Say nothing: the tests' output is pytest's."""


def a_job_resource(job: str = "job_phoenix.1", state: str = "queued") -> dict[str, Any]:
    at = "2026-11-22T16:10:00-07:00"
    return {
        "id": job,
        "market": "phoenix",
        "state": state,
        "terminal": state in {"delivered", "returned", "cancelled", "expired", "lost"},
        "attempt": 0,
        "driver": None,
        "reason": None,
        "created_at": at,
        "updated_at": at,
        "expires_at": at,
        "eta": {"pickup": None, "dropoff": None},
        "timeline": [{"state": state, "at": at, "actor": "orders:shop", "cause": "submitted"}],
        "pickup": {"mall": "chandler-fashion-center", "stores": [{"store": "lego", "parcels": 1}]},
        "dropoff": {"lat": 33.3, "lon": -111.8, "a_field_of_tomorrow": True},
        "parcels": {"count": 1, "weight_g": 0, "volume_l": 0},
        "requires": [],
        "priority": 0,
        "a_field_of_tomorrow": True,
    }
