"""What drivers report in their own words: a line of the log and a count for each.

The text is a driver's: bounded and on one line. Repeats of a report are neither logged nor counted.
"""

from typing import Final

import structlog

from engine.gateway.session import Session
from engine.logs import RateLimitedLog
from engine.metrics import Metrics

_MAX_CHARS: Final = 200
_ALERTS: Final = frozenset({"unsafe", "accident"})

# A driver may report many times a second; the lines of all of them are bounded.
_log = RateLimitedLog(structlog.get_logger(__name__))


def one_line(text: str) -> str:
    """The text without control characters and line breaks, at most 200 characters of it."""
    shown = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(shown.split())[:_MAX_CHARS]


def problem_reported(
    metrics: Metrics, session: Session, *, kind: str, job: str, store: str, text: str
) -> None:
    """A driver has reported a problem."""
    metrics.problem(kind)
    _log.write(
        "warning" if kind in _ALERTS else "info",
        "problem reported",
        market=session.market,
        driver=session.driver,
        kind=kind,
        job=job,
        store=store,
        said=one_line(text),
    )


def reason_given(
    metrics: Metrics, session: Session, *, step: str, text: str, job: str = "", offer: str = ""
) -> None:
    """A driver has declined, given up or turned back; ``text`` says why, if it did."""
    metrics.reason(step, given=bool(text))
    _log.info(
        "reason given" if text else "no reason given",
        market=session.market,
        driver=session.driver,
        step=step,
        job=job,
        offer=offer,
        said=one_line(text),
    )
