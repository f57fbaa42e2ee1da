"""Syncs the server's append-only log to the disk, from a thread of this process.

With `appendfsync everysec` a server whose last sync is still running postpones the *write* to its
log for up to two seconds, but replies at once: if it is killed then, acknowledged writes are lost.
So the server runs with `appendfsync no`, where each write reaches the kernel before its reply is
sent, and this thread syncs the file.
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
    """A thread that syncs the log in the server's folder `home` each second until `stop`.

    A power cut loses what was written since the last sync. A kill of the server or of this process
    loses nothing. If the disk fails, the sync is retried, and only the first error in a row is
    logged.
    """

    def __init__(self, home: Path, *, interval_s: float = _INTERVAL_S) -> None:
        self._folder = home / LOG_FOLDER
        self._interval_s = interval_s
        self._stopped = threading.Event()
        self._fault: str | None = None
        self._thread = threading.Thread(target=self._run, name="log-sync", daemon=True)

    @property
    def fault(self) -> str | None:
        """Why the last sync failed; None if it succeeded."""
        return self._fault

    def start(self) -> None:
        """Start the thread. Call it once."""
        self._thread.start()

    def stop(self) -> None:
        """Stop after the current sync. The server syncs the rest when it ends."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(self._interval_s):
            try:
                sync_log(self._folder)
            except OSError as error:
                if self._fault is None:
                    _log.error("the store's log cannot be synced", reason=error.strerror)
                self._fault = f"the store's log cannot be synced: {error.strerror}"
            else:
                self._fault = None


def sync_log(folder: Path) -> None:
    """Sync the incremental files of the log in `folder`. The server syncs each base file itself.

    Raises:
        OSError: The disk failed.
    """
    for increment in folder.glob("*.incr.aof"):
        try:
            descriptor = os.open(increment, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:  # a log rewrite has replaced it
            continue
        try:
            _sync_data(descriptor)
        finally:
            os.close(descriptor)
