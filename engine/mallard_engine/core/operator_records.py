"""What a market keeps for its operators: alerts and dead letters."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that an operator should look at.

    Attributes:
        id: Its id, which holds its market and sorts by age.
        what: What has happened, such as `accident`.
        at_ms: When it was raised.
        by: The operator who acknowledged it; empty: not acknowledged.
        acknowledged_ms: When; None: not acknowledged.
        details: What it is about: `job`, `driver` and others.
    """

    id: str
    what: str
    at_ms: int
    by: str = ""
    acknowledged_ms: int | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Work that was given up, and that an operator may retry.

    Attributes:
        id: Its id, which holds its market.
        kind: What it is: `job` (it broke its rounds), `webhook` (an endpoint was disabled).
        at_ms: When it was given up.
        error: Why.
        tries: How often it was tried: the rounds of a job.
        job: The job.
        service: The order service.
        mall: The job's mall; empty for other kinds.
        attempt: The job's attempt.
        webhook: The endpoint.
    """

    id: str
    kind: str
    at_ms: int
    error: str
    tries: int
    job: str = ""
    service: str = ""
    mall: str = ""
    attempt: int = 0
    webhook: str = ""
