"""Event streams that resume by themselves, as steps without I/O.

A stream ends often: its node is replaced, its token expires, a proxy cuts it. `Resume` says what to
request next and how long to wait before, so that the iterators of the async and the sync client
yield every event at least once, in order, as one endless stream (a job's ends with the job).
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from mallard_client.backoff import FullJitter, bounded_s
from mallard_client.errors import BadAnswer
from mallard_client.http.request import may_pass, problem_of
from mallard_client.http.server_pool import Servers
from mallard_protocol.events import HEARTBEAT_S, Event

_FIRST_WAIT_S: Final = 0.2
_LONGEST_WAIT_S: Final = 10.0
# A stream that sends nothing for this long, not even a comment, is broken.
SILENT_S: Final = 3.0 * HEARTBEAT_S
CONNECT_S: Final = 10.0
_event = msgspec.json.Decoder(Event).decode


@dataclass(slots=True)
class Resume:
    """The state of one resumable stream.

    Args:
        servers: the nodes.
        rng: the source of jitter.
        path: the stream's path.
        params: its query.
        last: the id of the last event that the program has.
    """

    servers: Servers
    rng: random.Random
    path: str
    params: Mapping[str, str]
    last: str | None = None
    _base_url: str = ""
    _jitter: FullJitter = field(init=False)

    def __post_init__(self) -> None:
        self._jitter = FullJitter(self.rng, first_s=_FIRST_WAIT_S, max_s=_LONGEST_WAIT_S)

    def url(self) -> str:
        """Return the address of the next request."""
        self._base_url = self.servers.next()
        return self._base_url + self.path

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the next request."""
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        return headers if self.last is None else headers | {"Last-Event-ID": self.last}

    def begins(self, event_id: str | None) -> None:
        """Note the event after which a stream begins: events before it are not a gap."""
        self.last = self.last or event_id

    def read(self, data: str, event_id: str) -> Event:
        """Read an event. Raises `BadAnswer` for anything else."""
        try:
            event = _event(data)
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise BadAnswer(f"an event that is not the engine's: {error}") from None
        self.last = event_id or event.id
        self._jitter.reset()
        return event

    def failed(self) -> float:
        """Note that the node did not answer, or broke off; return how long to wait, in seconds."""
        self.servers.note(self._base_url, answered=False)
        return self._jitter.next_s()

    def refused(self, status: int, body: bytes, retry_after_s: float | None) -> float:
        """Note an answer that is no stream; return how long to wait, in seconds.

        Raises:
            ApiProblem: waiting does not help. With ``events_trimmed``, only the program knows what
                to read instead.
        """
        problem = problem_of(status, body, retry_after_s)
        if not may_pass(problem):
            raise problem
        self.servers.note(self._base_url, answered=bool(problem.code))
        return self._jitter.next_s() + bounded_s(retry_after_s)

    def closed(self) -> float:
        """Note that the stream ended in good order; return how long to wait, in seconds."""
        self.servers.note(self._base_url, answered=True)
        return self._jitter.next_s()


def event_params(market: str, types: Sequence[str] | None) -> dict[str, str]:
    """Return the query of a market's stream."""
    return {"market": market} | ({} if types is None else {"types": ",".join(types)})
