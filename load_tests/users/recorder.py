"""Turns what drivers record into requests of locust."""

import time
from typing import Any, Final

from load_tests.drivers.offer_ledger import Ledger
from load_tests.drivers.recorder import EventKind
from load_tests.measurements import Measure, Report

# Locust's report has a row for each of these; other samples are the swarm's.
_REPORTED: Final = frozenset({Measure.ACCEPT})


class LocustRecorder:
    """Reports samples at once, and latencies as soon as the ledger has both ends of them."""

    def __init__(self, ledger: Ledger, report: Report) -> None:
        self._ledger = ledger
        self._report = report

    def sample(self, measure: Measure, began_s: float, ended_s: float) -> None:
        """Report a success."""
        if measure in _REPORTED:
            self._report(measure, ended_s - began_s, None)

    def failure(self, measure: Measure, began_s: float, why: str) -> None:
        """Report a failure."""
        if measure in _REPORTED:
            self._report(measure, time.monotonic() - began_s, RuntimeError(why))

    def count(self, what: str) -> None:
        """Do nothing: locust has no place for counts."""

    def event(self, at_s: float, kind: EventKind, *what: Any) -> None:
        """Enter an event into the ledger, and report the latency that it completes."""
        if completed := self._ledger.apply(at_s, kind, *what):
            self._report(*completed, None)
