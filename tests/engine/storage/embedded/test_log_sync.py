"""Periodic syncs of the embedded server's log, including disk errors."""

import errno
import os
import threading
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from mallard_engine.storage.embedded import log_sync
from mallard_engine.storage.embedded.log_sync import LOG_FOLDER, LogSync, sync_log
from tests.support import eventually


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A server's log folder after a rewrite: a base and the increment that follows it."""
    folder = tmp_path / LOG_FOLDER
    folder.mkdir()
    (folder / "appendonly.aof.2.base.rdb").write_bytes(b"base")
    (folder / "appendonly.aof.2.incr.aof").write_bytes(b"increment")
    return folder


class Disk:
    """Records the synced files; raises an I/O error while `refuses` is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.synced: list[str] = []
        self.refused = 0
        self.refuses = threading.Event()
        self._sync = log_sync._sync_data
        monkeypatch.setattr(log_sync, "_sync_data", self.sync)

    def sync(self, descriptor: int) -> None:
        if self.refuses.is_set():
            self.refused += 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self._sync(descriptor)
        self.synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def test_increments_of_the_log_are_synced(log: Path, disk: Disk) -> None:
    sync_log(log)
    assert disk.synced == ["appendonly.aof.2.incr.aof"]


def test_increment_removed_by_a_rewrite_is_skipped(
    log: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = [log / "appendonly.aof.1.incr.aof", *log.glob("*.incr.aof")]
    monkeypatch.setattr(Path, "glob", lambda *_: iter(gone))
    sync_log(log)
    assert disk.synced == ["appendonly.aof.2.incr.aof"]


async def test_sync_repeats_until_stopped(log: Path, disk: Disk) -> None:
    syncs = LogSync(log.parent, interval_s=0.01)
    syncs.start()
    await eventually(lambda: len(disk.synced) > 2)
    syncs.stop()
    assert not any(thread.name == "log-sync" for thread in threading.enumerate())


async def test_disk_error_is_logged_once_and_retried(log: Path, disk: Disk) -> None:
    disk.refuses.set()
    syncs = LogSync(log.parent, interval_s=0.01)
    with capture_logs() as logged:
        syncs.start()
        try:
            await eventually(lambda: disk.refused > 2)
            disk.refuses.clear()
            await eventually(lambda: disk.synced)
        finally:
            syncs.stop()
    assert [(entry["log_level"], entry["reason"]) for entry in logged] == [
        ("error", "Input/output error")
    ]
