"""The measures of a run, by the names that reports show."""

from collections.abc import Callable
from enum import StrEnum
from typing import Final

# The `request_type` column of locust's report.
HTTP: Final = "HTTP"
SOCKET: Final = "WS"


class Measure(StrEnum):
    """A row of the report; times in milliseconds."""

    POST_JOB = "POST /v1/jobs"
    """The intended start of a submission to its answer."""
    POST_BURST = "POST /v1/jobs, flash sale"
    """The same for the orders of a flash sale."""
    OFFER = "offer latency"
    """The intended start of a submission to the first offer of its job at a driver."""
    OFFER_BURST = "offer latency, flash sale"
    """The same for the orders of a flash sale."""
    ACCEPT = "accept round trip"
    """``accept`` sent to its reply."""
    PROGRESS = "progress round trip"
    """``progress`` sent to its reply."""
    EXPIRY = "expiry lateness"
    """The limit of an unanswered offer to the arrival of ``offer_closed``."""
    VISIBLE = "location → visible"
    """A fix sent to the operators' API showing it."""
    REASSIGN_DECLINED = "reassign after decline"
    """``decline`` sent to the next driver's offer."""
    REASSIGN_LATENESS = "reassign lateness"
    """The limit of an unanswered offer to the next driver's offer."""
    RECONNECT = "reconnect"
    """The moment an app tries to reconnect to its ``welcome``, further tries included."""

    @property
    def request_type(self) -> str:
        """The `request_type` that locust shows beside the name."""
        return HTTP if self in {Measure.POST_JOB, Measure.POST_BURST} else SOCKET


Report = Callable[[Measure, float, Exception | None], None]
"""Takes what was measured, its seconds, and why it failed (None: it went well)."""
