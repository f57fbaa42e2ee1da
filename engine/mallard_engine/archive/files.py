"""The archive in files: JSON lines in segments, rotated by UTC day and by size.

A batch is appended to one segment and synced before it is acknowledged. After a crash the last
segment may end within a line, which is cut off, and Redis delivers the batch again. The digests of
the last two segments tell which of its documents are there already: rotation happens only before a
batch, so an unacknowledged batch is never further back. A job that changes after its end gets a
further line; the last one of a job counts.
"""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
import structlog

from mallard_engine.archive.document import ArchivedJob, read_line
from mallard_engine.archive.segments import day_and_number, segment_name, segments_of
from mallard_engine.archive.targets import Target, TargetUnavailable

_log = structlog.get_logger(__name__)
_REMEMBERED_SEGMENTS: Final = 2
_TAIL_BYTES: Final = 1 << 16


class FileArchive(Target):
    """Segments in a folder, which only its owner can read. One process writes at a time.

    Args:
        folder: The folder; it is made if it is missing.
        segment_bytes: A segment of this size is not appended to.
    """

    def __init__(self, folder: Path, segment_bytes: int) -> None:
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._lock: int | None = None
        self._path: Path | None = None
        self._file: int | None = None
        # By segment, oldest first: the digest of the last line of each job.
        self._digests: list[dict[str, str]] = []

    async def open(self) -> None:
        """Lock the folder, repair its last segment and read the last digests."""
        await asyncio.to_thread(self._guarded, self._open)

    async def write(self, documents: Sequence[ArchivedJob]) -> None:
        """Append the documents that are not there yet, and sync."""
        await asyncio.to_thread(self._guarded, lambda: self._append(documents))

    async def close(self) -> None:
        """Close the segment and unlock the folder."""
        self._close_segment()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _guarded(self, act: Callable[[], None]) -> None:
        try:
            act()
        except OSError as error:
            name = error.filename or self._path or self._folder
            raise TargetUnavailable(f"{name}: {error.strerror or error}") from error

    def _open(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self._folder / ".lock", os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise TargetUnavailable(
                f"{self._folder}: another `mallard archive` writes to this folder"
            ) from None
        self._lock = lock
        self._resume()

    def _resume(self) -> None:
        """Continue the last segment, if there is one."""
        self._close_segment()
        last = segments_of(self._folder)[-_REMEMBERED_SEGMENTS:]
        if last:
            _repair(last[-1])
            self._path = last[-1]
            self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND)
            # A line that was written before a crash may be missing on disk.
            os.fsync(self._file)
        self._digests = [_digests_of(path) for path in last]

    def _append(self, documents: Sequence[ArchivedJob]) -> None:
        new = [it for it in documents if self._digest_of(it.id) != it.digest]
        if not new:
            return
        if self._file is None and self._path is not None:  # the last write has failed
            self._resume()
        file = self._segment()
        data = b"".join(it.encode() + b"\n" for it in new)
        before = os.fstat(file).st_size
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(file, view) :]
            os.fsync(file)
        except OSError:
            # What the file holds is not known now: it is read again before the next write.
            with contextlib.suppress(OSError):
                os.ftruncate(file, before)
            self._close_segment()
            raise
        self._digests[-1].update({it.id: str(it.digest) for it in new})

    def _digest_of(self, job: str) -> str | None:
        known = (digests[job] for digests in reversed(self._digests) if job in digests)
        return next(known, None)

    def _segment(self) -> int:
        """Return the open segment: a new one, unless the last one is of today and not full."""
        today = datetime.now(UTC).date().isoformat()
        day, number = (self._path and day_and_number(self._path)) or ("", 0)
        # The clock may have been set back: segments are in the order of their names.
        is_of_today = day >= today
        if self._file is not None and is_of_today and self._has_room(self._file):
            return self._file
        path = self._folder / segment_name(max(today, day), number + 1 if is_of_today else 1)
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
        self._close_segment()
        self._path, self._file = path, file
        _sync_folder(self._folder)
        self._digests = [*self._digests[1 - _REMEMBERED_SEGMENTS :], {}]
        return file

    def _has_room(self, file: int) -> bool:
        return os.fstat(file).st_size < self._segment_bytes

    def _close_segment(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _repair(path: Path) -> None:
    """Cut off a last line that has no end."""
    with path.open("r+b") as file:
        size = end = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - _TAIL_BYTES)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        if end < size:
            _log.warning("an unfinished line was cut off", file=str(path), bytes=size - end)
            file.truncate(end)
            file.flush()
            os.fsync(file.fileno())


def _digests_of(path: Path) -> dict[str, str]:
    digests = {}
    with path.open("rb") as file:
        for number, text in enumerate(file, start=1):
            try:
                line = read_line(text)
            except (msgspec.DecodeError, UnicodeError) as error:
                _log.error("line cannot be read", file=str(path), line=number, error=str(error))
                continue
            digests[line.id] = line.digest
    return digests


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
