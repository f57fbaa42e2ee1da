"""Saves the persistent state of a driver app to its `Storage`, and restores it."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from mallard_client.driver.clock import Clock, Moment
from mallard_client.driver.reporting.reports import Report
from mallard_client.driver.saved_state import (
    Saved,
    SavedReport,
    SavedTime,
    SavedWish,
    decode,
    encode,
)
from mallard_client.driver.storage import Storage
from mallard_protocol.lifecycle import Wish
from mallard_protocol.messages import Held, Welcome

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Intent:
    """What the driver wants, and until when."""

    wish: Wish
    until: Moment | None


@dataclass(frozen=True, slots=True)
class Kept:
    """The state that an earlier run of the app has saved."""

    intent: Intent | None
    reports: tuple[Report, ...]
    holds: tuple[Held, ...]


class Keeping:
    """One app's document. If the storage fails, the error is logged and nothing is saved."""

    def __init__(self, storage: Storage | None, clock: Clock) -> None:
        self._storage = storage
        self._clock = clock
        self._owner: tuple[str, str] | None = None
        self._written: bytes | None = None

    def recall(self) -> Kept:
        """Restore the saved state."""
        saved = self._read()
        self._owner = saved.owner
        wish = saved.wish
        return Kept(
            None if wish is None else Intent(wish.wish, self._moment(wish.until)),
            tuple(
                Report(
                    report.job,
                    report.attempt,
                    report.step,
                    self._moment(report.at) or self._clock.happened(None),
                    report.proof,
                    report.reason,
                    store=report.store,
                    parcels=report.parcels,
                    jobs=report.jobs,
                )
                for report in saved.reports
            ),
            saved.holds,
        )

    def belongs_to_another(self, welcome: Welcome) -> bool:
        """Note who the driver is; return whether the document belongs to another driver."""
        owner = (welcome.market, welcome.driver)
        before, self._owner = self._owner, owner
        return before is not None and before != owner

    def keep(
        self, intent: Intent | None, reports: Iterable[Report], holds: tuple[Held, ...]
    ) -> None:
        """Write the document if it has changed since the last write."""
        if self._storage is None:
            return
        document = encode(
            Saved(
                self._owner,
                None if intent is None else SavedWish(intent.wish, self._time(intent.until)),
                tuple(self._report(report) for report in reports),
                holds,
            )
        )
        if document == self._written:
            return
        try:
            self._storage.save(document)
        except Exception:
            _log.exception("the driver's unsent reports could not be saved")
        else:
            self._written = document

    def _read(self) -> Saved:
        if self._storage is None:
            return Saved()
        try:
            document = self._storage.load()
        except Exception:
            _log.exception("the driver's unsent reports could not be loaded")
            return Saved()
        return Saved() if document is None else decode(document)

    def _report(self, report: Report) -> SavedReport:
        # Use the server's time once it is known, as the device's clock may be set later.
        report.at = self._clock.lasting(report.at)
        return SavedReport(
            report.job,
            report.attempt,
            report.step,
            self._time(report.at) or SavedTime(0, by_server=False),
            report.proof,
            report.reason,
            report.store,
            report.parcels,
            report.jobs,
        )

    def _time(self, moment: Moment | None) -> SavedTime | None:
        if moment is None:
            return None
        lasting = self._clock.lasting(moment)
        if lasting.by_server:
            return SavedTime(lasting.ms, by_server=True)
        age_ms = self._clock.uptime_ms() - lasting.ms
        return SavedTime(self._clock.now_ms() - age_ms, by_server=False)

    def _moment(self, time: SavedTime | None) -> Moment | None:
        if time is None:
            return None
        return Moment(time.ms, by_server=True) if time.by_server else self._clock.at(time.ms)
