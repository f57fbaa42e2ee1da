"""Logs and counts the problems and reasons that drivers report.

The driver's text is not logged, since it may name a customer; `GET /v1/jobs/{id}` and `explain`
show it. A repeated report is neither logged nor counted.
"""

import structlog

from mallard_engine.gateway.socket.session import Session
from mallard_engine.logs import RateLimitedLog
from mallard_engine.metrics import Metrics
from mallard_protocol.codes import DANGERS

# A driver may report many times a second.
_log = RateLimitedLog(structlog.get_logger(__name__))


def problem_reported(
    metrics: Metrics, session: Session, *, kind: str, job: str, store: str
) -> None:
    """Log and count a problem that a driver has reported."""
    metrics.problem(kind)
    _log.write(
        "warning" if kind in DANGERS else "info",
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
    """Log and count the reason of a decline, a give-up or a return.

    Args:
        metrics: counts the reason.
        session: the driver's session.
        step: what the driver did.
        text: the reason; empty if none was given.
        job: the id of the job, if there is one.
        offer: the id of the offer, if there is one.
    """
    metrics.reason(step, given=bool(text))
    _log.info(
        "reason given" if text else "no reason given",
        market=session.market,
        driver=session.driver,
        step=step,
        job=job,
        offer=offer,
    )
