"""Syncs the append-only log beside the server, so that a reply never precedes its write.

With `appendfsync everysec` a server whose last sync is still running postpones the *write* of its
log, for up to two seconds, and replies all the same: if it is killed then, it loses what it has
acknowledged. With `no` each write has reached the kernel before its reply is sent, and we sync.
"""

import os
import threading
from pathlib import Path

import structlog

_log = structlog.get_logger(__name__)

LOG_FOLDER = "appendonlydir"
_INTERVAL_S = 1.0
_sync_data = getattr(os, "fdatasync", os.fsync)  # macOS has only the latter


class LogSync:
    """A thread that syncs a server's log to the disk each second, between `start` and `stop`.

    `home` is the server's folder. A power cut loses what was written since the last sync; a kill of
    the
    server, or of us, loses nothing. An error of the disk is logged once for each run of errors, and
    the
    sync is retried.
    """

    def __init__(self, home: Path, *, interval_s: float = _INTERVAL_S) -> None:
        self._folder = home / LOG_FOLDER
        self._interval_s = interval_s
        self._stopped = threading.Event()
        self._fault: str | None = None
        self._thread = threading.Thread(target=self._run, name="log-sync", daemon=True)

    @property
    def fault(self) -> str | None:
        """Why the last sync failed; None: it did not."""
        return self._fault

    def start(self) -> None:
        """Begin; once only."""
        self._thread.start()

    def stop(self) -> None:
        """Stop after the running sync. The server syncs the rest itself."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(self._interval_s):
            try:
                sync_log(self._folder)
            except OSError as error:
                if self._fault is None:
                    _log.error("the disk does not take the store's log", reason=error.strerror)
                self._fault = f"the disk does not take the store's log: {error.strerror}"
            else:
                self._fault = None


def sync_log(folder: Path) -> None:
    """Sync the increments of the log in `folder`; the server syncs each base once, itself.

    Raises `OSError` when the disk refuses.
    """
    for increment in folder.glob("*.incr.aof"):
        try:
            descriptor = os.open(increment, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:  # a rewrite has just replaced it
            continue
        try:
            _sync_data(descriptor)
        finally:
            os.close(descriptor)
