"""Where a driver app keeps what must outlive it."""

import contextlib
import os
from pathlib import Path
from typing import Protocol


class Storage(Protocol):
    """Keeps one small document of bytes (a few kilobytes). Both calls may block for a moment.

    `save` is called before the call that caused it returns, so that a kill right after it loses
    nothing. Exceptions of either are logged, and the client continues without the storage.
    """

    def load(self) -> bytes | None:
        """Return what was saved last; None if nothing was."""

    def save(self, document: bytes) -> None:
        """Replace the document atomically."""


class MemoryStorage:
    """Keeps it for as long as this object lives: for tests, and for apps that restart clients."""

    def __init__(self) -> None:
        self.document: bytes | None = None

    def load(self) -> bytes | None:
        """What was saved last."""
        return self.document

    def save(self, document: bytes) -> None:
        """Replace the document."""
        self.document = document


class FileStorage:
    """Keeps it in a file, which only its owner may read (it may hold codes of a delivery).

    A new version is written and synced next to it, then takes its place in one step.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)

    def load(self) -> bytes | None:
        """What was saved last; None when there is no file. Raises `OSError`."""
        try:
            return self._path.read_bytes()
        except FileNotFoundError:
            return None

    def save(self, document: bytes) -> None:
        """Replace the file. Raises `OSError`."""
        folder = self._path.parent
        folder.mkdir(parents=True, exist_ok=True)
        # One name for all drafts: the next draft overwrites what a kill left of one.
        draft = folder / f".{self._path.name}.draft"
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(document)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._path)
        except BaseException:
            with contextlib.suppress(OSError):
                draft.unlink()
            raise
        _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    """Make the renaming itself durable, where the platform can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
