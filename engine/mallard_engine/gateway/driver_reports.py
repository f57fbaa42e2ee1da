"""What drivers report: a line of the log and a count for each problem and each reason.

Their own words stay out of the log, as they may name a customer: `GET /v1/jobs/{id}` and `explain`
show them. Repeats of a report are neither logged nor counted.
"""

from typing import Final

import structlog

from mallard_engine.gateway.socket.session import Session
from mallard_engine.logs import RateLimitedLog
from mallard_engine.metrics import Metrics

_ALERTS: Final = frozenset({"unsafe", "accident"})

# A driver may report many times a second; the lines of all of them are bounded.
_log = RateLimitedLog(structlog.get_logger(__name__))


def problem_reported(
    metrics: Metrics, session: Session, *, kind: str, job: str, store: str
) -> None:
    """Log and count a problem that a driver has reported."""
    metrics.problem(kind)
    _log.write(
        "warning" if kind in _ALERTS else "info",
        "problem reported",
        market=session.market,
        driver=session.driver,
        kind=kind,
        job=job,
        store=store,
    )


def reason_given(
    metrics: Metrics, session: Session, *, step: str, text: str, job: str = "", offer: str = ""
) -> None:
    """Log and count that a driver declined, gave up or turned back. `text`: why; empty: unsaid."""
    metrics.reason(step, given=bool(text))
    _log.info(
        "reason given" if text else "no reason given",
        market=session.market,
        driver=session.driver,
        step=step,
        job=job,
        offer=offer,
    )
